"""Training: data loading, the loop, checkpoints, resuming and monitoring."""
