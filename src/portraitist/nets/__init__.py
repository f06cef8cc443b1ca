"""Networks: modules with a forward pass. No loss, no optimiser, no file."""
