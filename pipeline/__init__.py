"""One script per stage of dvc.yaml. A script opens its inputs, calls the package, and saves and counts the results.

The package `portraitist` is imported from the checkout that the stage runs in, not from where it is installed: a queued
experiment runs the queued code.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
