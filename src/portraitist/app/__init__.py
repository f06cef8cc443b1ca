"""The product: avatars from selfies, in the shell, in Python, on a web server and in the browser."""

from pathlib import Path

DEFAULT_MODEL = Path(__file__).parents[1] / "shipped" / "portraitist.onnx"  # the model in the package
