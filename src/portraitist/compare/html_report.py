"""The report: one HTML file with all its figures inside. It runs no script and asks nothing of any server."""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from portraitist.compare.pipeline_graph import render_svg, stage_dependencies
from portraitist.compare.tables import MIN_GROUP_SIZE, MetricResults

HUE, APART = 212, 137.5  # degrees; by the golden angle no two methods look alike
PLOT = (110, 5)  # width, and height a method, px

STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --paper: #fff; --soft: #f3f3f5; --line: #d5d5da; --faint: #6b6b73 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececf0; --paper: #17171a; --soft: #222227; --line: #3a3a42; --faint: #a0a0aa }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 80rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.7rem; line-height: 1.2; overflow-wrap: anywhere } h2 { margin-top: 2.5rem; font-size: 1.25rem }
.wide { overflow-x: auto; margin: 1rem 0 } img { max-width: 100%; height: auto; border-radius: 6px; background: #fff }
.wide > img.full { max-width: none }
p { max-width: 60rem } p small, td small { color: var(--faint) }
.table { overflow: auto; max-height: 90vh; margin: 1rem 0 } td small { display: block }
table { border-collapse: separate; border-spacing: 0; font-size: .875rem; line-height: 1.35 }
th, td { padding: .35rem .4rem; text-align: left; vertical-align: top; background: var(--paper);
  border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums }
thead th { position: sticky; top: 0; z-index: 1; background: var(--soft); font-size: .8rem }
th:first-child { position: sticky; left: 0; min-width: 8.5rem; max-width: 15rem; overflow-wrap: anywhere }
thead th:first-child { z-index: 2 } th[scope=row] { font-weight: 600 }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; padding: .4rem .8rem }
th details { border: 0; margin: 0; padding: 0; font-weight: 400 } summary { cursor: pointer; font-weight: 600 }
pre { overflow-x: auto; background: var(--soft); padding: .8rem; border-radius: 6px; font-size: .8rem }
.flag { color: #b3261e; font-weight: 600 }
@media (prefers-color-scheme: dark) { .flag { color: #ff8a80 } }
.key { display: block; width: .7em; height: .7em; border-radius: 50% }
svg.dag { width: 100%; max-width: 44rem; height: auto } .dag path { fill: none; stroke: var(--line); stroke-width: 1.5 }
.dag rect { fill: var(--soft); stroke: var(--line) } .dag text { fill: var(--ink); font: 12px system-ui, sans-serif;
  text-anchor: middle } .plot line { stroke-width: 1.5 } .plot .goal { stroke: var(--line); stroke-dasharray: 3 3 }
@media (max-width: 40rem) { th:first-child { max-width: 8.5rem } }
@media print { .table { max-height: none } }
nav a { margin-right: 1rem; white-space: nowrap } a { color: inherit }
"""


@dataclass(frozen=True)
class Told:
    """What the run was told, and what its stages reported: params.yaml, the profile, dvc.yaml, metrics/<stage>.json."""

    params: Path
    profile: Path
    dvc: Path
    reports: list[Path]


@dataclass(frozen=True)
class Results:
    """What the comparison found."""

    ours: str
    measured: dict[str, MetricResults]
    segmenter: MetricResults
    shown: pd.DataFrame
    differences: pd.DataFrame
    gains: pd.DataFrame
    coverage: pd.DataFrame
    preferred: pd.DataFrame


def markdown(results: Results) -> str:
    """The table and the differences as compare.md, for git and for README."""
    held = results.segmenter["mask_iou_held"]
    rows = results.differences.set_index(["metric", "against"])
    return (
        f"{results.shown.to_markdown()}\n\n"
        f"{results.ours} minus each other, on the same faces:\n\n{rows.reset_index().to_markdown(index=False)}\n\n"
        "Each method minus the selfies as they are, on the same faces; nearer the goal, or farther, where the interval "
        f"leaves out 0:\n\n{results.gains.to_markdown()}\n\n"
        f"The segmenter, one for all methods, on {held['n']} pictures it never saw: "
        f"intersection over union {held['value']:.3g} [{held['low']:.3g}, {held['high']:.3g}].\n"
    )


def report(told: Told, results: Results, models: dict[str, Path], sheet: bytes) -> str:
    """The whole page; `models` are the folders that evaluate left, by their titles, `sheet` the contact sheet."""
    sections = {
        "Avatars": f'<img alt="Contact sheet" src="{_uri(sheet, "jpeg")}">',
        "Numbers": _numbers(results),
        "Differences": _differences(results),
        "Human eyes": _eyes(results.preferred),
        "Groups": _groups(results),
        "Best and worst faces": _extremes(results, models),
        "Learned masks": _masks(results, models),
        "Trained on": _trained(told),
        "Stages": f'<div class="wide">{render_svg(stage_dependencies(told.dvc, told.params))}</div>',
        "Again": _again(told, results),
    }
    names = {title: title.lower().replace(" ", "-") for title in sections}
    links = "".join(f'<a href="#{name}">{title}</a> ' for title, name in names.items())
    body = "".join(f'<section id="{names[title]}"><h2>{title}</h2>{part}</section>' for title, part in sections.items())
    count = max(found["n"] for found in results.measured[results.ours].values())
    others = ", ".join(escape(method) for method in results.measured if method != results.ours)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Portraitist: {escape(results.ours)} beside {others}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(results.ours)} beside {others}</h1>
<p>Measured on {count} test faces that no method was trained on. Every interval holds its number 95 times in 100,
were other faces drawn. <b>selfies</b> are the test selfies as they are: what a metric says of having done nothing.</p>
<nav>{links}</nav>
{body}
</body>
</html>
"""


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Cells are HTML; the first of a row names it, and stays in sight, as the heads do."""
    head = "".join(f'<th scope="col">{cell}</th>' for cell in heads)
    lines = []
    for first, *others in rows:
        cells = "".join(f"<td>{cell}</td>" for cell in others)
        lines.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<div class="table" tabindex="0"><table>{body}</table></div>'  # focus, so that a keyboard can scroll it


def _hue(place: int) -> str:
    return f"hsl({(HUE + APART * place) % 360:.0f} 60% 50%)"


def _methods(results: Results) -> list[str]:
    """Ours first, then the selfies and the others in their order."""
    return [results.ours, *(method for method in results.measured if method != results.ours)]


def _heads(results: Results, methods: Iterable[str]) -> list[str]:
    """Each method's name under its colour in the plots."""
    places = {method: place for place, method in enumerate(_methods(results))}
    return [f'<span class="key" style="background:{_hue(places[one])}"></span>{_name(one)}' for one in methods]


def _name(words: object) -> str:
    """A name that may be broken where it has an underscore."""
    return escape(str(words)).replace("_", "_<wbr>")


def _cell(shown: object) -> str:
    """A number, and in small type below it what is said of it: its interval, who is nearer."""
    value, _, said = escape(str(shown)).partition(" ")
    return f"{value}<small>{said.replace('] ', ']<br>')}</small>" if said else value


def _numbers(results: Results) -> str:
    methods = _methods(results)
    rows = []
    for metric, found in results.measured[results.ours].items():
        about = "; ".join(f"{key}: {value}" for key, value in found["about"].items())
        name = f'<details title="{escape(about)}"><summary>{_name(metric)}</summary>{escape(found["says"])}</details>'
        shown = [_cell(results.shown.loc[metric, method]) for method in methods]
        plot = _plot([results.measured[method].get(metric) for method in methods], found["goal"])
        rows.append([name, f"{found['goal']:g}", *shown, plot])
    held = results.segmenter["mask_iou_held"]
    return (
        "<p>A click on a metric opens what it says.</p>"
        + _table(["metric", "goal", *_heads(results, methods), "dashed: the goal"], rows)
        + f"<p>The segmenter, one for all methods: {held['value']:.3g} [{held['low']:.3g}, {held['high']:.3g}]. "
        + f"<small>{escape(held['says'])}</small></p>"
    )


def _plot(found: list[dict[str, Any] | None], goal: float) -> str:
    """One line a method from low to high, a dot at the value, and the goal dashed; who has no number has no line."""
    ends = [one[key] for one in found if one for key in ("low", "high")] + [goal]
    low, span = min(ends), max(max(ends) - min(ends), 1e-12)
    at = lambda value: 5 + (PLOT[0] - 10) * (value - low) / span
    parts = [f'<line class="goal" x1="{at(goal):.1f}" x2="{at(goal):.1f}" y1="0" y2="{PLOT[1] * len(found)}"/>']
    for place, one in enumerate(found):
        if one:
            y, hue = PLOT[1] * (place + 0.5), _hue(place)
            left, right = at(one["low"]), at(one["high"])
            parts.append(f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{y}" y2="{y}" stroke="{hue}"/>')
            parts.append(f'<circle cx="{at(one["value"]):.1f}" cy="{y}" r="2.2" fill="{hue}"/>')
    return f'<svg class="plot" width="{PLOT[0]}" height="{PLOT[1] * len(found)}">{"".join(parts)}</svg>'


def _differences(results: Results) -> str:
    words = {"": "", results.ours: " nearer,"}
    of = {
        (row.metric, row.against): f"{row.difference}{words.get(str(row.nearer), ' farther,')} chance\u00a0{row.chance}"
        for row in results.differences.itertuples()
    }
    ours, *others = _methods(results)
    apart = [
        [_name(metric), *(_cell(of.get((metric, other), "")) for other in others)]
        for metric in dict.fromkeys(results.differences["metric"])
    ]
    painters = [method for method in (ours, *others) if method in results.gains]
    gained = [[_name(metric), *map(_cell, row)] for metric, *row in results.gains[painters].itertuples()]
    return (
        f"<p>{escape(ours)} minus each other method, on the same faces and portraits; <i>nearer</i> the goal than the "
        "other, or <i>farther</i>, where the interval leaves out 0. <i>chance</i>: how often so large a difference "
        f"would come up were there none. {len(of)} differences are {len(of)} chances to be fooled: "
        f"about {len(of) / 20:.0f} would look real by luck.</p>"
        + _table(["metric", *_heads(results, others)], apart)
        + "<p>Each method minus the selfies as they are: a method that is no nearer has not been shown to paint.</p>"
        + _table(["metric", *_heads(results, painters)], gained)
    )


def _eyes(preferred: pd.DataFrame) -> str:
    if preferred.empty:
        return "<p>Nobody has been asked yet: <code>portraitist judge</code> asks, <code>dvc repro</code> counts.</p>"
    rows = [
        [
            f"{escape(str(row.method))} to {escape(str(row.against))}",
            f"{row.preferred:.0%} [{row.low:.0%}, {row.high:.0%}]",
            f"{row.answers}",
            f"{row.faces}",
        ]
        for row in preferred.itertuples()
    ]
    return "<p>How often people prefer one (Bradley and Terry), two avatars of one face shown blind.</p>" + _table(
        ["preferred", "chance", "answers", "faces"], rows
    )


def _groups(results: Results) -> str:
    parts = [
        f"<p>As far as the pictures tell. Tone is the typology angle of the selfie's skin, light and camera included; "
        f'nobody\'s origin is guessed. <span class="flag">few</span> marks groups of fewer than {MIN_GROUP_SIZE} faces: a mean '
        "of these says little.</p>"
    ]
    for by, rows in results.coverage.groupby("by", sort=False):
        methods = [method for method in _methods(results) if method in set(rows["method"])]
        lines = []
        for (metric, group), some in rows.groupby(["metric", "group"], sort=False):
            few = ' <span class="flag">few</span>' if some["few"].any() else ""
            seen = some[some["n"] > 0]
            of = {row.method: f"{row.value:.3g} [{row.low:.3g}, {row.high:.3g}]" for row in seen.itertuples()}
            lines.append([f"{_name(metric)}, {escape(str(group))}", f"{some['n'].max()}{few}"])
            lines[-1] += [_cell(of.get(method, "")) for method in methods]
        lines.sort(key=lambda line: line[0])
        table = _table([f"metric, {escape(str(by))}", "n", *_heads(results, methods)], lines)
        parts.append(f"<details><summary>By {escape(str(by))}</summary>{table}</details>")
    return "".join(parts)


def _extremes(results: Results, models: dict[str, Path]) -> str:
    parts = ["<p>Of each metric the ten faces nearest its goal, then the ten farthest: selfie above, avatar below.</p>"]
    for metric in results.measured[results.ours]:
        shown = {
            name: model / f"{metric}.jpg"
            for name, model in models.items()
            if (model / f"{metric}.jpg").exists() and name != "selfies"
        }
        images = "".join(
            f'<p>{escape(name)}</p><div class="wide"><img class="full" alt="Best, worst of {escape(name)} '
            f'by {escape(metric)}" src="{_uri(picture.read_bytes(), "jpeg")}"></div>'
            for name, picture in shown.items()
        )
        if images:
            parts.append(f"<details><summary>{escape(metric)}</summary>{images}</details>")
    return "".join(parts)


def _masks(results: Results, models: dict[str, Path]) -> str:
    parts = ["<p>Who the segmenter takes for a person in what each method painted.</p>"]
    for title, model in models.items():
        strips = "".join(
            f'<img alt="{name} of {escape(title)}" src="{_uri((model / f"{name}.png").read_bytes(), "png")}">'
            for name in ("painted", "learned mask")
        )
        parts.append(f"<details><summary>{escape(title)}</summary>{strips}</details>")
    return "".join(parts)


def _trained(told: Told) -> str:
    parts = []
    for path in told.reports:
        content = json.loads(path.read_text(encoding="utf-8"))
        parts.append(f"<h3>{escape(path.stem)}</h3><pre>{escape(json.dumps(content, indent=1))}</pre>")
    chosen = yaml.safe_load(told.params.read_text(encoding="utf-8"))
    texts = {path.name: path.read_text(encoding="utf-8") for path in (told.params, told.profile)}
    files = "".join(
        f"<details><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>" for name, text in texts.items()
    )
    return (
        f"<p>Profile {escape(str(chosen['profile']))}, seed {escape(str(chosen['seed']))}.</p>{files}{''.join(parts)}"
    )


def _again(told: Told, results: Results) -> str:
    chosen = yaml.safe_load(told.params.read_text(encoding="utf-8"))
    profile, seed = escape(str(chosen["profile"])), escape(str(chosen["seed"]))
    code = {found["about"]["code"] for metrics in results.measured.values() for found in metrics.values()}
    return (
        "<p>From the commit whose dvc.lock made this report (<code>git log -1 dvc.lock</code>):</p>"
        f"<pre>make repro\ndvc exp run -S profile={profile} -S seed={seed}\n"
        "dvc metrics diff --targets metrics/summary.json --no-path</pre>"
        f"<p>Metrics' code {escape(', '.join(sorted(code)))}: the first digits of the SHA-256 of evaluate/. "
        "Network, resize and versions stand in each metric's JSON, and here under the pointer on its name.</p>"
    )
