"""Building blocks of training that name no method: tensors, losses, optimizer steps, EMA, image pool, processes."""
