"""Build hook: complete the model in the package. All settings are in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT / "src"))

from portraitist.shipped import COMPLETE, complete_model  # noqa: E402


class BuildWithModel(build_py):
    """Complete the model in the source folder, for wheels and editable installs alike; git ignores the file."""

    def run(self) -> None:
        """Complete the model, then copy the package."""
        complete_model(COMPLETE, ROOT / "data" / "refiner" / "person_refiner.onnx")
        super().run()


setup(cmdclass={"build_py": BuildWithModel})
