"""Networks: modules with a forward pass. They contain no losses, optimizers or file access."""
