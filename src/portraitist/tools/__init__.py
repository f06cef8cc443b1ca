"""Tools around the pipeline: review and remove training pictures, compare methods by preference, follow a training."""
