"""The pages of `portraitist review`: what stands in them, and that a browser shows and keeps it."""

import base64
import hashlib
import io
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from drawn import smooth
from PIL import Image
from typer.testing import CliRunner

from portraitist.clean.decode import CleanPicture
from portraitist.cli import app
from portraitist.collect.blocklist import Blocklist
from portraitist.core import manifest
from portraitist.core.shards import ShardWriter
from portraitist.tools import review

NASTY = "<script>alert('x')</script>\"onerror=\"alert(1)' & <img src=https://evil.test/a.png>.jpg"
CLEAN = ["id", "kind", "source", "status", "reason", "width", "height", "sharpness", "same_as", "relation"]
KEPT = [("selfies", 30.0), ("selfies", 7.5), ("portraits", 900.0), ("selfies", 12.25), ("portraits", 5.0)]
IDS = [f"{number:016x}" for number in range(1, 6)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five kept pictures, one of them without its background, and three that were refused."""
    rows = [
        {"id": one, "kind": kind, "source": "web", "status": "kept", "width": 56, "height": 40, "sharpness": sharp}
        for one, (kind, sharp) in zip(IDS, KEPT, strict=True)
    ]
    gone = {"kind": "selfies", "source": "web"}
    rows += [
        gone | {"id": "a" * 16, "status": "duplicate", "same_as": IDS[0], "relation": "trimmed"},
        gone | {"id": "b" * 16, "status": "duplicate", "same_as": IDS[0], "relation": "near"},
        gone | {"id": "c" * 16, "status": "unreadable", "reason": NASTY},
    ]
    with ShardWriter(tmp_path / "data" / "clean", 2) as shards:
        for number, one in enumerate(IDS):
            alpha = None if number else np.tile(np.arange(56, dtype=np.uint8) * 4, (40, 1))
            shards.add(one, CleanPicture(smooth(number), alpha).members())
    manifest.write(rows, tmp_path / "data" / "clean" / "manifest.csv", CLEAN)
    (tmp_path / "data" / "raw" / "web").mkdir(parents=True)
    names = [
        {"id": row["id"], "name": NASTY if row["id"] in (IDS[1], "c" * 16) else "a.jpg", "status": "kept"}
        for row in rows
    ]
    manifest.write(names, tmp_path / "data" / "raw" / "web" / "manifest.csv", ["id", "name", "status"])
    return tmp_path / "data"


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, str] = {}
        self.open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open = tag

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def handle_data(self, data: str) -> None:
        self.inside[self.open] = self.inside.get(self.open, "") + data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def test_each_kept_picture_is_there_once_the_softest_of_each_kind_first(data: Path, tmp_path: Path):
    (path,) = review.write_pages(data, tmp_path / "out")
    page = Page(path.read_text(encoding="utf-8"))
    assert [box["value"] for box in page.of("input")] == [IDS[n] for n in (1, 3, 0, 4, 2)]
    shown = [base64.b64decode(img["src"].removeprefix("data:image/jpeg;base64,")) for img in page.of("img")]
    for jpeg, number in zip(shown, (1, 3, 0, 4, 2), strict=True):
        with Image.open(io.BytesIO(jpeg)) as picture:
            assert picture.size == (56, 40)
            if number:
                assert abs(np.asarray(picture).astype(int) - smooth(number)).mean() < 6
    assert "copies dropped: 1 near, 1 trimmed" in page.inside["span"]
    assert "Refused: 2 duplicate, 1 unreadable" in page.inside["summary"]


def test_what_strangers_wrote_is_text_and_nothing_else(data: Path, tmp_path: Path):
    (path,) = review.write_pages(data, tmp_path / "out")
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.of("script")) == 1
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert NASTY[-60:] in page.inside["span"]
    assert NASTY in page.inside["td"]
    assert page.of("img")[0]["alt"] == f"selfies, {NASTY[-60:]}"
    assert all(img["src"].startswith("data:image/jpeg;base64,") for img in page.of("img"))
    assert not [attrs for _, attrs in page.tags if str(attrs.get("href", "")).startswith(("http", "//"))]


def test_the_policy_allows_this_very_script_and_style_and_no_other(data: Path, tmp_path: Path):
    (path,) = review.write_pages(data, tmp_path / "out")
    page = Page(path.read_text(encoding="utf-8"))
    policy = next(meta["content"] for meta in page.of("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        digest = base64.b64encode(hashlib.sha256(page.inside[tag].encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


def test_many_pictures_are_several_pages_that_know_each_other(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(review, "PER_PAGE", 2)
    paths = review.write_pages(data, tmp_path / "out")
    pages = [Page(path.read_text(encoding="utf-8")) for path in paths]
    assert [len(page.of("input")) for page in pages] == [2, 2, 1]
    names = [path.name for path in paths]
    assert [[link["href"] for link in page.of("a")] for page in pages] == [[names[1]], [names[0], names[2]], [names[1]]]
    assert len({page.of("body")[0]["id"] for page in pages}) == 1
    assert ["details" in dict(page.tags) for page in pages] == [False, False, True]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not chromium:
        pytest.skip("no chromium here")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", [1366, 390])
def test_in_a_browser_marks_are_made_by_key_kept_and_saved(data: Path, tmp_path: Path, browser, width: int):
    (path,) = review.write_pages(data, tmp_path / "out")
    context = browser.new_context(viewport={"width": width, "height": 800}, accept_downloads=True)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    for key in ("ArrowRight", "x", "ArrowRight", "ArrowRight", "Space", "ArrowRight", "x", "x"):
        page.keyboard.press(key)
    assert page.inner_text("#count") == "2 marked"
    assert page.evaluate("[...document.images].every(img => img.complete && img.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.wait_for_timeout(1000)  # the browser stores what a page keeps a moment later
    page.reload()
    assert page.inner_text("#count") == "2 marked"
    with page.expect_download() as download:
        page.click("#save")
    assert download.value.suggested_filename == "marks.txt"
    marks = Blocklist.read(Path(download.value.path()))
    assert marks.entries == {f"sha256:{IDS[1]}", f"sha256:{IDS[0]}"}
    page.click("#clear")
    assert page.inner_text("#count") == "0 marked"
    assert page.is_disabled("#save")
    assert said == []  # a breach of the policy would stand here
    assert {url for url in asked if not url.startswith(("data:", "blob:"))} == {path.as_uri()}
    context.close()


def test_the_command_counts_the_pages(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for per_page, told in ((10, "1 page; open review/review-001.html"), (2, "3 pages; open review/review-001.html")):
        monkeypatch.setattr(review, "PER_PAGE", per_page)
        assert CliRunner().invoke(app, ["review", "--force"]).output.startswith(told)


def test_pages_and_marks_stay_out_of_git():
    listed = (Path(__file__).resolve().parents[2] / ".gitignore").read_text(encoding="utf-8").split()
    assert {"/review*/", "/marks*.txt"} <= set(listed)
