"""Export of a trained method as ONNX, with its model card."""
