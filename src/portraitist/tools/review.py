"""Pages that show what stage clean kept, for a person to mark what is to go: `portraitist forget --marks` takes it out.

Each page is one file that asks the network for nothing and cannot: its policy allows its own style and script, and
pictures that stand in it. All that strangers wrote is escaped. The pictures are made anew, small, from clean ones.
"""

import base64
import hashlib
import io
import shutil
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from portraitist.clean.decode import CleanPicture
from portraitist.core import manifest
from portraitist.core.blend import alpha_composite
from portraitist.core.manifest import KINDS
from portraitist.core.outcome import Status
from portraitist.core.shards import Shards

PER_PAGE = 400
SIDE_PX = 192
BEHIND = (236, 236, 236)

STYLE = """
:root { color-scheme: light; font: 15px/1.4 system-ui, sans-serif; color: #1c1c1c; background: #fff }
body { margin: 0 }
header { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; gap: .4rem 1rem; align-items: center;
  padding: .6rem 1rem; background: #fff; border-bottom: 1px solid #c8c8c8 }
header p { margin: 0 }
h1 { font-size: 1.1rem; margin: 0 }
h2 { font-size: 1rem; margin: 1rem 1rem .5rem }
button, header a { font: inherit; padding: .45rem .8rem; border: 1px solid #1c1c1c; border-radius: 4px;
  background: #fff; color: inherit; text-decoration: none; min-height: 1.6rem }
button.main { background: #1c1c1c; color: #fff }
button:disabled { opacity: .4 }
.help { margin: .6rem 1rem 0; color: #555; font-size: .85rem }
ul { list-style: none; margin: 0; padding: 0 1rem; display: grid; gap: .6rem;
  grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)) }
label { display: block; border: 3px solid transparent; border-radius: 6px; padding: 3px; cursor: pointer;
  background: #f4f4f4; position: relative }
label:focus-within { border-color: #0b57d0 }
img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain }
input { position: absolute; top: .5rem; left: .5rem; width: 1.3rem; height: 1.3rem; accent-color: #b3261e }
label:has(:checked) { background: #b3261e; color: #fff }
label:has(:checked) img { opacity: .35 }
label span { display: block; font-size: .75rem; overflow-wrap: anywhere; padding: 2px }
details { margin: 1rem }
table { border-collapse: collapse; font-size: .8rem }
td, th { text-align: left; padding: .15rem .6rem .15rem 0; vertical-align: top }
td:nth-child(3), td:last-child { overflow-wrap: anywhere }
"""

SCRIPT = """
const key = document.body.id, boxes = [...document.querySelectorAll('input')];
let marked = new Set();
const kept = () => { try { return JSON.parse(localStorage.getItem(key)) || [] } catch { return [] } };
const show = () => {
  for (const box of boxes) box.checked = marked.has(box.value);
  document.getElementById('count').textContent = marked.size + ' marked';
  for (const button of document.querySelectorAll('button')) button.disabled = !marked.size;
};
const save = () => { try { localStorage.setItem(key, JSON.stringify([...marked])) } catch {} show() };
marked = new Set(kept());
document.addEventListener('change', event => {
  if (event.target.checked) marked.add(event.target.value); else marked.delete(event.target.value);
  save();
});
document.addEventListener('keydown', event => {
  const at = boxes.indexOf(document.activeElement), step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (event.key === 'x' && at >= 0) boxes[at].click();
  else if (step) boxes[Math.min(boxes.length - 1, Math.max(0, at + step))].focus();
  else if ((event.key === 'ArrowDown' || event.key === 'ArrowUp') && at >= 0) {
    const here = boxes[at].parentElement.getBoundingClientRect(), down = event.key === 'ArrowDown';
    const beside = boxes.map(box => [box, box.parentElement.getBoundingClientRect()])
      .filter(([, it]) => Math.abs(it.left - here.left) < 2 && (down ? it.top > here.top + 2 : it.top < here.top - 2));
    const next = down ? beside[0] : beside[beside.length - 1];
    if (next) next[0].focus();
  } else return;
  event.preventDefault();
});
document.getElementById('save').addEventListener('click', () => {
  const text = '# marked on the review pages\\n' + [...marked].sort().map(id => 'sha256:' + id + '\\n').join('');
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'text/plain' }));
  link.download = 'marks.txt';
  link.click();
});
document.getElementById('clear').addEventListener('click', () => { marked.clear(); save() });
window.addEventListener('storage', () => { marked = new Set(kept()); show() });
show();
"""


def write_pages(data: Path, out: Path) -> list[Path]:
    """The pages of data/clean, in a folder of their own; the softest pictures of each kind come first.

    What stood there before is gone.
    """
    frame = manifest.read(data / "clean" / "manifest.csv")
    rows = manifest.to_records(frame)
    known = {(row["source"], row["id"]): row for path in (data / "raw").glob("*/manifest.csv") for row in _of(path)}
    copies: dict[str, Counter[str]] = {}
    for row in rows:
        if row["same_as"]:
            copies.setdefault(row["same_as"], Counter())[row["relation"]] += 1
    kept = [row for row in rows if row["status"] == Status.KEPT.value]
    kept.sort(key=lambda row: (KINDS.index(row["kind"]), float(row["sharpness"]), row["id"]))
    shards = Shards(data / "clean")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    pages = [kept[start : start + PER_PAGE] for start in range(0, len(kept), PER_PAGE)] or [[]]
    names = [f"review-{number:03d}.html" for number in range(1, len(pages) + 1)]
    for number, page in enumerate(pages):
        body = _pictures(page, known, copies, shards) + (_refused(rows, known) if number == len(pages) - 1 else "")
        (out / names[number]).write_text(_page(body, names, number, kept), encoding="utf-8")
    return [out / name for name in names]


def _of(path: Path) -> list[dict[str, Any]]:
    return [row | {"source": path.parent.name} for row in manifest.to_records(manifest.kept_rows(path))]


def _told(row: dict[str, Any], known: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    return known.get((row["source"], row["id"]), {})


def _pictures(
    rows: Sequence[dict[str, Any]],
    known: dict[tuple[str, str], dict[str, Any]],
    copies: dict[str, Counter[str]],
    shards: Shards,
) -> str:
    parts = []
    for kind in KINDS:
        figures = [_figure(row, _told(row, known), copies, shards) for row in rows if row["kind"] == kind]
        if figures:
            parts.append(f"<h2>{kind}</h2>\n<ul>\n{''.join(figures)}</ul>\n")
    return "".join(parts)


def _figure(row: dict[str, Any], about: dict[str, Any], copies: dict[str, Counter[str]], shards: Shards) -> str:
    same = [f"{count} {how}" for how, count in sorted(copies.get(row["id"], Counter()).items())]
    lines = [
        about.get("name", "")[-60:] or row["id"],
        f"{row['source']} · {row['width']} × {row['height']} · sharpness {float(row['sharpness']):.0f}",
        *([f"copies dropped: {', '.join(same)}"] if same else []),
    ]
    shown = "".join(f"<span>{escape(str(line))}</span>" for line in lines)
    alt = escape(f"{row['kind']}, {lines[0]}")
    return (
        f'<li><label><input type="checkbox" value="{escape(row["id"])}">'
        f'<img alt="{alt}" src="data:image/jpeg;base64,{_small(shards.members(row["id"]))}">{shown}</label></li>\n'
    )


def _small(members: dict[str, bytes]) -> str:
    cleaned = CleanPicture.from_members(members)
    picture = cleaned.picture if cleaned.alpha is None else alpha_composite(cleaned.picture, cleaned.alpha, BEHIND)
    small = Image.fromarray(picture)
    small.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode()


def _refused(rows: Sequence[dict[str, Any]], known: dict[tuple[str, str], dict[str, Any]]) -> str:
    gone = [row for row in rows if row["status"] != Status.KEPT.value]
    if not gone:
        return ""
    counted = ", ".join(f"{count} {status}" for status, count in sorted(Counter(row["status"] for row in gone).items()))
    cells = (
        (
            row["kind"],
            row["source"],
            _told(row, known).get("name", ""),
            row["status"],
            row["reason"] or row["relation"],
        )
        for row in gone
    )
    lines = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in line)}</tr>\n" for line in cells)
    head = "<tr><th>kind</th><th>source</th><th>name</th><th>status</th><th>reason</th></tr>\n"
    return f"<details><summary>Refused: {escape(counted)}</summary>\n<table>\n{head}{lines}</table>\n</details>\n"


def _page(body: str, names: Sequence[str], number: int, kept: Sequence[dict[str, Any]]) -> str:
    marks = "marks-" + hashlib.sha256("".join(row["id"] for row in kept).encode()).hexdigest()[:16]
    policy = f"default-src 'none'; img-src data:; style-src '{_hash(STYLE)}'; script-src '{_hash(SCRIPT)}'"
    ways = [("Previous", number - 1), ("Next", number + 1)]
    links = "".join(f'<a href="{names[to]}">{word}</a>' for word, to in ways if 0 <= to < len(names))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>Review, page {number + 1} of {len(names)}</title>
<style>{STYLE}</style>
</head>
<body id="{marks}">
<header>
<h1>Review</h1>
<p>{len(kept)} kept, page {number + 1} of {len(names)}</p>
<p id="count" role="status">0 marked</p>
<button id="save" class="main" disabled>Download marks.txt</button>
<button id="clear" disabled>Clear all marks</button>
{links}
</header>
<main>
<p class="help">Mark what is to go: click, or arrows and x or space; the softest come first. Then, in the project's
folder: portraitist forget --marks marks.txt</p>
{body}</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
