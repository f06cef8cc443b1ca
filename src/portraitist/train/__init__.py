"""Training: data loading, the training loop, resuming after an interruption, validation and logs."""
