"""Statistics: bootstrap intervals, and strengths from pairwise preferences."""
