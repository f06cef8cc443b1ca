"""The pages of `portraitist dataset review`: their content and policy, and their behaviour in a browser."""

import base64
import hashlib
import io
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accessibility import small_controls, violations
from browser import tab
from drawn import smooth
from PIL import Image
from tool_helpers import HOSTILE, IDS, write_data
from typer.testing import CliRunner

from portraitist.cli import app
from portraitist.collect.blocklist import Blocklist
from portraitist.tools import review


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path)


class Page(HTMLParser):
    """The tags and the text of an HTML page."""

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


def test_each_accepted_picture_is_shown_least_sharp_first(data: Path, tmp_path: Path):
    (path,) = review.write_pages(data, tmp_path / "out")
    page = Page(path.read_text(encoding="utf-8"))
    assert [box["value"] for box in page.of("input")] == [IDS[n] for n in (1, 3, 0, 4, 2)]
    jpegs = [base64.b64decode(img["src"].removeprefix("data:image/jpeg;base64,")) for img in page.of("img")]
    for jpeg, number in zip(jpegs, (1, 3, 0, 4, 2), strict=True):
        with Image.open(io.BytesIO(jpeg)) as picture:
            assert picture.size == (56, 40)
            if number:
                assert abs(np.asarray(picture).astype(int) - smooth(number)).mean() < 6
    assert "dropped copies: 1 near, 1 trimmed" in page.inside["span"]
    assert "Rejected: 2 duplicate, 1 unreadable" in page.inside["summary"]


def test_untrusted_metadata_is_escaped(data: Path, tmp_path: Path):
    (path,) = review.write_pages(data, tmp_path / "out")
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.of("script")) == 1
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert HOSTILE[-60:] in page.inside["span"]
    assert HOSTILE in page.inside["td"]
    assert page.of("img")[0]["alt"] == f"selfies, …{HOSTILE[-60:]}"
    assert all(img["src"].startswith("data:image/jpeg;base64,") for img in page.of("img"))
    assert not [attrs for _, attrs in page.tags if str(attrs.get("href", "")).startswith(("http", "//"))]


def test_policy_allows_only_the_pages_script_and_style(data: Path, tmp_path: Path):
    (path,) = review.write_pages(data, tmp_path / "out")
    page = Page(path.read_text(encoding="utf-8"))
    policy = next(meta["content"] for meta in page.of("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        digest = base64.b64encode(hashlib.sha256(page.inside[tag].encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


def test_pages_are_linked_and_share_their_marks(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(review, "PER_PAGE", 2)
    paths = review.write_pages(data, tmp_path / "out")
    pages = [Page(path.read_text(encoding="utf-8")) for path in paths]
    assert [len(page.of("input")) for page in pages] == [2, 2, 1]
    names = [path.name for path in paths]
    assert [[link["href"] for link in page.of("a")] for page in pages] == [[names[1]], [names[0], names[2]], [names[1]]]
    assert len({page.of("body")[0]["id"] for page in pages}) == 1
    assert ["details" in dict(page.tags) for page in pages] == [False, False, True]


@pytest.mark.slow
@pytest.mark.parametrize("width", [1366, 390])
def test_browser_marks_by_key_persist_and_download(data: Path, tmp_path: Path, width: int):
    (path,) = review.write_pages(data, tmp_path / "out")
    with tab(width, 800, accept_downloads=True) as page:
        check_marks(page, path)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_accessible(data: Path, tmp_path: Path, scheme: str):
    (path,) = review.write_pages(data, tmp_path / "out")
    with tab(390, 844, color_scheme=scheme) as page:
        page.goto(path.as_uri())
        assert violations(page) == []
        assert small_controls(page) == []


def check_marks(page: Any, path: Path) -> None:
    errors: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    for key in ("ArrowRight", "x", "ArrowRight", "ArrowRight", "Space", "ArrowRight", "x", "x"):
        page.keyboard.press(key)
    assert page.inner_text("#count") == "2 marked"
    assert page.evaluate("[...document.images].every(img => img.complete && img.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.wait_for_timeout(1000)  # the browser writes localStorage with a delay
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
    assert errors == []  # violations of the content security policy are errors
    assert {url for url in requests if not url.startswith(("data:", "blob:"))} == {path.as_uri()}


def test_command_prints_the_page_count(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for per_page, count in ((10, "1 page;"), (2, "3 pages;")):
        monkeypatch.setattr(review, "PER_PAGE", per_page)
        output = CliRunner().invoke(app, ["dataset", "review", "--force"]).output
        assert output.startswith(count)
        assert "review/review-001.html" in output


def test_other_files_in_the_folder_are_kept(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "notes"
    (out / "deep").mkdir(parents=True)
    (out / "deep" / "keep.txt").write_text("mine", encoding="utf-8")
    monkeypatch.setattr(review, "PER_PAGE", 2)
    assert CliRunner().invoke(app, ["dataset", "review", "-o", str(out)]).exit_code == 0
    again = CliRunner().invoke(app, ["dataset", "review", "-o", str(out)])
    assert (again.exit_code, "contains review pages; --force overwrites them" in again.output) == (2, True)
    monkeypatch.setattr(review, "PER_PAGE", 10)
    assert CliRunner().invoke(app, ["dataset", "review", "-o", str(out), "--force"]).exit_code == 0
    assert sorted(path.name for path in out.rglob("*.*")) == ["keep.txt", "review-001.html"]


def test_pages_and_marks_are_ignored_by_git():
    listed = (Path(__file__).resolve().parents[2] / ".gitignore").read_text(encoding="utf-8").split()
    assert {"/review*/", "/marks*.txt"} <= set(listed)
