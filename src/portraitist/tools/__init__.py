"""Tools around the pipeline: review and remove training pictures, compare methods blindly, show logs in TensorBoard."""
