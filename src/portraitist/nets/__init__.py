"""Networks: modules with a forward pass. No losses, optimizers or files of their own."""
