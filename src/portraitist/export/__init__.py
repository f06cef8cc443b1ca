"""Export of a trained method to ONNX, with a model card."""
