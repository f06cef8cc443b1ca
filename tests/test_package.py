"""The content of the source package, and ignored files."""

import os
import re
import shutil
import subprocess
import sys
import tarfile

import pytest
from reach import ROOT


def test_git_ignores_what_the_readme_commands_write():
    outputs = re.findall(r"portraitist [^\n`]* -o ([\w./-]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert {"avatars/", "page"} <= set(outputs)
    names = [
        f"{name.rstrip('/')}/x" for name in (*outputs, "dist", "crops", "me.jpg", "me.heic")
    ]  # as a folder or as a file
    ran = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"],
        cwd=ROOT, input="\n".join(names), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.stdout.split() == names


def test_readme_is_short_and_starts_with_commands():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert any(line.startswith("```sh") for line in lines[:20])


def test_required_setuptools_knows_spdx_licences():
    """setuptools reads `license` as an SPDX expression from version 77 on."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'^license = "[\w.-]+"$', text, re.MULTILINE)
    assert int(re.search(r'^requires = \[\s*"setuptools>=(\d+)"', text, re.MULTILINE)[1]) >= 77


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
def test_make_without_git_stops_before_installing(tmp_path):
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "python"  # runs nothing but the check of its own version
    python.write_text('#!/bin/sh\necho "$@" >> log\n[ "$1" = -c ]\n', encoding="utf-8")
    python.chmod(0o755)
    env = os.environ | {"GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    ran = subprocess.run(
        ["make", "test", f"PYTHON={python}"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("This folder is not a git repository, which DVC needs: clone it, or run git init")
    assert "-m venv" not in (tmp_path / "log").read_text(encoding="utf-8")


@pytest.mark.slow
def test_source_package_has_the_package_and_no_tests(tmp_path):
    pytest.importorskip("setuptools")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    package, top_level = "src/portraitist/", {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "pyproject.toml"}
    names = [
        name for name in tracked.split("\0") if name.startswith((package, "docs/", "data/refiner/")) or "/" not in name
    ]
    for name in filter(None, names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / package / "shipped" / "portraitist.onnx").touch()  # as an earlier build leaves it
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools import build_meta; build_meta.build_sdist('made')"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, capture_output=True, check=True)
    (archive_path,) = (tmp_path / "made").iterdir()
    with tarfile.open(archive_path) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    documents = {name for name in names if name.startswith("docs/") and name.endswith(".md")}
    required = {name for name in names if name.startswith(package)} | documents | top_level
    assert sorted(required - packed) == []
    assert not [name for name in packed if name.startswith("tests")]
    assert {"setup.py", "data/refiner/person_refiner.onnx"} <= packed
    assert f"{package}shipped/portraitist.onnx" not in packed  # it holds models of others
