"""Checks of a page in a browser: axe-core's rules, and the size of what is tapped."""

import functools
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

AXE = "axe-core@4.10.3"
ROOT = Path(__file__).resolve().parents[1]
MIN_TAP_PX = 44
# Every control that is shown, by its label if that is larger; links in running text are exempt, as in WCAG 2.5.8.
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
    """Return a line for each element that violates a rule, among them the contrast of text."""
    page.evaluate(f"{axe_source()}; undefined")
    found = page.evaluate("axe.run().then(result => result.violations)")
    return [f"{rule['id']}: {node['html'][:160]}" for rule in found for node in rule["nodes"]]


def small_controls(page: Any) -> list[str]:
    """Return the controls that are smaller than a finger."""
    return page.evaluate(SMALL_CONTROLS, MIN_TAP_PX)
