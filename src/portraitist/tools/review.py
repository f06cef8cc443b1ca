"""Write web pages with thumbnails of all pictures that stage `clean` accepted. A person marks the pictures to remove.

`portraitist dataset forget --marks` then removes the marked pictures. Each page is one file without external resources.
Its content security policy allows only its own style, script and embedded pictures, and no network access. All text
about the pictures is escaped, because it comes from the web.
"""

import base64
import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from PIL import Image

from portraitist.clean.decode import CleanPicture
from portraitist.core import manifest
from portraitist.core.blend import alpha_composite
from portraitist.core.files import write_file
from portraitist.core.manifest import KINDS
from portraitist.core.outcome import Status
from portraitist.core.shards import Shards

PAGE_FILES = Path(__file__).parent / "review_page"
BASE_STYLE = Path(__file__).parents[1] / "base.css"
PER_PAGE = 400  # pictures on a page
PAGES = "review-[0-9]*.html"  # glob pattern of the pages' names
THUMBNAIL_PX = 192  # largest height and width of a thumbnail
BACKGROUND = (236, 236, 236)  # RGB colour behind transparent pixels
MAX_NAME_CHARS = 60

Row = dict[str, Any]


@dataclass(frozen=True)
class _Context:
    """Data about all pictures, from which the pages are written."""

    shards: Shards  # the accepted pictures
    collected: dict[tuple[str, str], Row]  # row of each picture in the manifest of stage `collect`, by source and id
    copies: dict[str, Counter[str]]  # numbers of rejected copies by kind of copy, by the id of the accepted picture

    def source_name(self, row: Row) -> str:
        """Return the name that the source gave to a picture; "" if there is none."""
        return str(self.collected.get((row["source"], row["id"]), {}).get("name", ""))


def write_pages(data: Path, out: Path) -> list[Path]:
    """Write the pages, and return their paths. The least sharp pictures come first.

    Args:
        data: the project's folder data/.
        out: folder of the pages. Pages that it already contains are deleted first; other files are kept.
    """
    rows = manifest.to_records(manifest.read(data / "clean" / "manifest.csv"))
    context = _Context(Shards(data / "clean"), _collected_rows(data / "raw"), _count_copies(rows))
    accepted = [row for row in rows if row["status"] == Status.KEPT.value]
    accepted.sort(key=lambda row: (KINDS.index(row["kind"]), float(row["sharpness"]), row["id"]))
    rejected = [row for row in rows if row["status"] != Status.KEPT.value]

    out.mkdir(parents=True, exist_ok=True)
    for earlier in out.glob(PAGES):
        earlier.unlink()
    pages = [accepted[start : start + PER_PAGE] for start in range(0, len(accepted), PER_PAGE)] or [[]]
    paths = [out / f"review-{number:03d}.html" for number in range(1, len(pages) + 1)]
    for index, page in enumerate(pages):
        body = _picture_lists(page, context)
        if index == len(pages) - 1:
            body += _rejected_table(rejected, context)
        text = _render_page(body, [path.name for path in paths], index, accepted)
        write_file(paths[index], text)
    return paths


def _collected_rows(raw: Path) -> dict[tuple[str, str], Row]:
    return {
        (path.parent.name, row["id"]): row
        for path in raw.glob("*/manifest.csv")
        for row in manifest.to_records(manifest.kept_rows(path))
    }


def _count_copies(rows: Sequence[Row]) -> dict[str, Counter[str]]:
    copies: dict[str, Counter[str]] = {}
    for row in rows:
        if row["same_as"]:
            copies.setdefault(row["same_as"], Counter())[row["relation"]] += 1
    return copies


def _picture_lists(rows: Sequence[Row], context: _Context) -> str:
    sections = []
    for kind in KINDS:
        items = [_picture_item(row, context) for row in rows if row["kind"] == kind]
        if items:
            sections.append(f"<h2>{kind}</h2>\n<ul>\n{''.join(items)}</ul>\n")
    return "".join(sections)


def _picture_item(row: Row, context: _Context) -> str:
    copies = [f"{count} {relation}" for relation, count in sorted(context.copies.get(row["id"], Counter()).items())]
    name = context.source_name(row) or str(row["id"])
    lines = [
        name if len(name) <= MAX_NAME_CHARS else f"…{name[-MAX_NAME_CHARS:]}",
        f"{row['source']} · {row['width']} × {row['height']} · sharpness {float(row['sharpness']):.0f}",
        *([f"dropped copies: {', '.join(copies)}"] if copies else []),
    ]
    caption = "".join(f"<span>{escape(str(line))}</span>" for line in lines)
    alt = escape(f"{row['kind']}, {lines[0]}")
    return (
        f'<li><label><input type="checkbox" value="{escape(row["id"])}">'
        f'<img alt="{alt}" src="data:image/jpeg;base64,{_thumbnail(context.shards.members(row["id"]))}">'
        f"{caption}</label></li>\n"
    )


def _thumbnail(members: dict[str, bytes]) -> str:
    """Return a small JPEG of a picture, encoded in base64."""
    cleaned = CleanPicture.from_members(members)
    picture = cleaned.picture if cleaned.alpha is None else alpha_composite(cleaned.picture, cleaned.alpha, BACKGROUND)
    thumbnail = Image.fromarray(picture)
    thumbnail.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    thumbnail.save(buffer, "JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode()


def _rejected_table(rows: Sequence[Row], context: _Context) -> str:
    if not rows:
        return ""
    counts = Counter(row["status"] for row in rows)
    summary = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    lines = []
    for row in rows:
        reason = row["reason"] or row["relation"]
        cells = (row["kind"], row["source"], context.source_name(row), row["status"], reason)
        lines.append(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in cells)}</tr>\n")
    head = "<tr><th>kind</th><th>source</th><th>name</th><th>status</th><th>reason</th></tr>\n"
    return (
        f"<details><summary>Rejected: {escape(summary)}</summary>\n"
        f"<table>\n{head}{''.join(lines)}</table>\n</details>\n"
    )


def _render_page(body: str, names: Sequence[str], index: int, accepted: Sequence[Row]) -> str:
    style = BASE_STYLE.read_text(encoding="utf-8") + (PAGE_FILES / "style.css").read_text(encoding="utf-8")
    script = (PAGE_FILES / "page.js").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_csp_hash(style)}'; script-src '{_csp_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    neighbours = [("Previous", index - 1), ("Next", index + 1)]
    links = "".join(
        f'<a class="button" href="{names[to]}">{label}</a>' for label, to in neighbours if 0 <= to < len(names)
    )
    storage_key = "marks-" + hashlib.sha256("".join(row["id"] for row in accepted).encode()).hexdigest()[:16]
    return Template((PAGE_FILES / "page.html").read_text(encoding="utf-8")).substitute(
        policy=policy,
        style=style,
        script=script,
        storage_key=storage_key,
        page=index + 1,
        pages=len(names),
        kept=len(accepted),
        links=links,
        body=body,
    )


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
