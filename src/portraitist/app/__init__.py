"""The product: avatars from selfies, in the shell, in Python, on a web server and in the browser."""

from pathlib import Path

DEFAULT_MODEL = Path("models/portraitist")  # the output folder of stage export
