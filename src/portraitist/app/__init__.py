"""The product: paints avatars from selfies, for the command line, Python, the web server and the static web page."""

from pathlib import Path

DEFAULT_MODEL = Path(__file__).parents[1] / "shipped" / "portraitist.onnx"  # the model in the package
