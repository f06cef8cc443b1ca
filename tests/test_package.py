"""What is handed out, and what must never be: the source package, and files that git would take."""

import re
import shutil
import subprocess
import sys
import tarfile

import pytest
from reach import ROOT


def test_git_takes_nothing_that_the_readmes_commands_leave():
    told = re.findall(r"portraitist [^\n`]* -o ([\w./-]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert {"avatar.png", "avatars/", "look"} <= set(told)
    for name in (*told, "dist"):
        ignored = ["git", "check-ignore", "--no-index", "--quiet", f"{name.rstrip('/')}/x"]  # as a folder or as a file
        assert subprocess.run(ignored, cwd=ROOT, check=False).returncode == 0, name


@pytest.mark.slow
def test_the_source_package_holds_the_package_and_no_tests(tmp_path):
    pytest.importorskip("setuptools")
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "src" / "portraitist", tmp_path / "src" / "portraitist")
    shutil.copytree(ROOT / "tests", tmp_path / "tests")
    build = "from setuptools import build_meta; build_meta.build_sdist('made')"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, capture_output=True, check=True)
    (made,) = (tmp_path / "made").iterdir()
    with tarfile.open(made) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "LICENSE",
        "src/portraitist/avatar.py",
        "src/portraitist/site/index.html",
        "src/portraitist/py.typed",
    } <= held
    assert not [name for name in held if name.startswith("tests")]
