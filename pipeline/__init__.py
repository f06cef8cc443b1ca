"""The stages of dvc.yaml, each a clerk: it opens, calls, saves and counts.

The package is taken from the checkout that the stage runs in, not from where it was installed: a queued experiment
runs the queued code.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
