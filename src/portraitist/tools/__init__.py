"""Tools around the pipeline: review and remove training pictures, compare methods blind, show TensorBoard logs."""
