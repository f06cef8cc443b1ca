"""One script per stage of dvc.yaml. A script opens its inputs, calls the package, and saves and counts the results.

The scripts import the package `portraitist` from the checkout in which they run, not from the installed package, so
that a queued experiment runs the code that was queued.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
