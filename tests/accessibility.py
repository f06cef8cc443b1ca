"""Accessibility checks of a page in a browser: axe-core's rules, and the size of controls."""

import functools
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

AXE = "axe-core@4.10.3"
ROOT = Path(__file__).resolve().parents[1]
MIN_TAP_PX = 44  # minimum width and height of a control on a touch screen
# JavaScript: the visible controls that, with their labels, are too small. Links in text are exempt, as in WCAG 2.5.8.
SMALL_CONTROLS = """minimum => [...document.querySelectorAll("button, input, select, summary, nav a, a.button")]
    .filter(control => control.checkVisibility({ opacityProperty: false }) && control.type !== "hidden")
    .map(control => [control, control.closest("label") ?? control])
    .filter(([control]) => control.type !== "file" || control.closest("label"))
    .filter(([, target]) => {
        const { width, height } = target.getBoundingClientRect();
        return width && Math.min(width, height) < minimum;
    }).map(([control]) => control.outerHTML.slice(0, 120))"""


@functools.cache
def axe_source() -> str:
    """Return the script of axe-core, downloaded once with npm."""
    path = ROOT / ".venv" / f"{AXE.replace('@', '-')}.tgz"
    if not path.exists():
        command = ["npm", "pack", AXE, "--silent", "--pack-destination", str(path.parent)]
        if shutil.which("npm") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip(f"npm could not download {AXE}")
    with tarfile.open(path) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()


def violations(page: Any) -> list[str]:
    """Return a line for each element that violates a rule of axe-core, such as too little contrast of text."""
    page.evaluate(f"{axe_source()}; undefined")
    found = page.evaluate("axe.run().then(result => result.violations)")
    return [f"{rule['id']}: {node['html'][:160]}" for rule in found for node in rule["nodes"]]


def small_controls(page: Any) -> list[str]:
    """Return the HTML of the controls that are smaller than `MIN_TAP_PX`."""
    return page.evaluate(SMALL_CONTROLS, MIN_TAP_PX)
