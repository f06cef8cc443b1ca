"""Reports of the stages: how many pictures were kept or rejected, and contact sheets that show them."""
