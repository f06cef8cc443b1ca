"""The documentation: all links are valid, and the built site requests nothing from other hosts."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from reach import ROOT

PAGES = [
    *sorted(path for path in ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "metrics" / "compare.md",
]
LINK = re.compile(r"\]\(<?([^)\s>]+)")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs create them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.*?)\s*$", text, re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower())).strip("-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """Return the relative links of a page that lead to no file, or to no heading of a page."""
    broken = []
    for link in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


def test_links_lead_to_files_and_headings():
    assert {page.name: broken for page in PAGES if (broken := broken_links(page))} == {}


def test_broken_links_and_anchors_are_found(tmp_path: Path):
    (tmp_path / "b.md").write_text("# One & two\n\n```sh\n# no heading\n```\n")
    page = tmp_path / "a.md"
    page.write_text("[a](b.md) [b](b.md#one-two) [c](none.md) [d](b.md#no-heading) [e](#f) `[g](h.md)` [i](http://j)\n")
    assert broken_links(page) == ["none.md", "b.md#no-heading", "#f"]


def test_site_lists_every_document():
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = set(re.findall(r"[\w/-]+\.md", str(config["nav"])))
    assert {page.relative_to(ROOT).as_posix() for page in PAGES} - listed == set()
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert [page.name for page in (ROOT / "docs").glob("*.md") if page.name not in index and page.stem != "index"] == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
def test_site_builds_and_requests_nothing_from_other_hosts(tmp_path: Path):
    clone = tmp_path / "clone"
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.md", "docs", "src", "*.yml",
         "data/sample/LICENSE"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(lambda name: (ROOT / name).is_file(), names):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    shutil.copy(ROOT / "Makefile", clone)
    subprocess.run(["git", "init", "--quiet"], cwd=clone, check=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = ["make", "--old-file", ".venv/ready", "docs"]
    ran = subprocess.run(
        command, cwd=clone, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    requested = {}
    for page in (clone / "build" / "site").rglob("*.html"):
        tags = re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page.read_text(encoding="utf-8"))
        foreign = [
            tag for tag in tags if re.search(r"(?:src|href)=[\"']?(?:https?:)?//", tag) and "canonical" not in tag
        ]
        if foreign:
            requested[page.name] = foreign
    assert requested == {}
    assert "Paint the largest face" in (clone / "build" / "site" / "docs" / "api.html").read_text(encoding="utf-8")

    (clone / "docs" / "gallery.md").write_text("# Gallery\n\n[none](none.md)\n", encoding="utf-8")
    ran = subprocess.run(
        command, cwd=clone, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert ran.returncode != 0
    assert "none.md" in ran.stdout + ran.stderr
