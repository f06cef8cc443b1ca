"""The contents of the source package and of the wheel, and ignored files."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
from reach import ROOT

PACKAGE = "src/portraitist/"


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


BUILD = """
import sys
sys.path.insert(0, "src")
from portraitist import shipped
shipped.complete_model = lambda path, refiner: path.touch()  # no download
from setuptools import build_meta
build_meta.build_sdist("made")
build_meta.build_wheel("made")
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A source package, the wheel of the same files, and the names of the files, relative to the repository."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("packages")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [
        name for name in tracked.split("\0") if name.startswith((PACKAGE, "docs/", "data/refiner/")) or "/" not in name
    ]
    for name in filter(None, names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / PACKAGE / "shipped" / "portraitist.onnx").touch()  # as an earlier build leaves it
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-c", BUILD], cwd=folder, capture_output=True, check=True)
    (source,), (wheel,) = ((folder / "made").glob(pattern) for pattern in ("*.tar.gz", "*.whl"))
    return source, wheel, names


@pytest.mark.slow
def test_source_package_has_the_package_and_no_tests(packages):
    source, _, names = packages
    with tarfile.open(source) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    top_level = {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "pyproject.toml"}
    documents = {name for name in names if name.startswith("docs/") and name.endswith(".md")}
    required = {name for name in names if name.startswith(PACKAGE)} | documents | top_level
    assert sorted(required - packed) == []
    assert not [name for name in packed if name.startswith("tests")]
    assert {"setup.py", "data/refiner/person_refiner.onnx"} <= packed
    assert f"{PACKAGE}shipped/portraitist.onnx" not in packed  # it holds models of others


@pytest.mark.slow
def test_wheel_has_the_package_without_the_parts_of_the_model(packages):
    _, wheel, names = packages
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if not re.match(r"portraitist-[^/]*\.dist-info/", name)}
    files = {name.removeprefix("src/") for name in names if name.startswith(PACKAGE)}
    parts = {f"portraitist/shipped/{name}" for name in ("generator.onnx", "example_generator.onnx", "generator.sha256")}
    assert parts < files
    assert packed == files - parts | {"portraitist/shipped/portraitist.onnx"}
