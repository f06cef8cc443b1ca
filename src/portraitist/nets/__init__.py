"""Neural networks: modules with a forward pass. Losses and optimizers are in methods/ and learning/."""
