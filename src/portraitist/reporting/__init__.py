"""Reports of the stages: outcome counts and contact sheets."""
