"""One script per stage of dvc.yaml. A script opens its inputs, calls the package, and saves and counts the results.

The package `portraitist` is imported from the checkout in which the stage runs, not from the installation: a queued
experiment must run the queued code.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
