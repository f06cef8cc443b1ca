"""The product: avatars from selfies, in the shell, in Python, on a web server and in the browser."""

from portraitist.shipped import COMPLETE

DEFAULT_MODEL = COMPLETE  # the model in the package
