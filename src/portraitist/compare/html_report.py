"""Write the comparison of all methods as compare.md and report.html. report.html needs no scripts or other files."""

import base64
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from portraitist.compare.pipeline_graph import render_svg, stage_dependencies
from portraitist.compare.tables import (
    CLASSIFIER_METRIC,
    MIN_GROUP_SIZE,
    SEGMENTER_METRIC,
    UNCHANGED,
    UNCHANGED_LABEL,
    Comparison,
    best_methods,
    conclusion,
    headline_table,
    interval_text,
    label,
    wide_table,
)
from portraitist.stats.headline import HEADLINES
from portraitist.stats.rounding import shown

TEMPLATES = Path(__file__).with_name("report")
BASE_STYLE = Path(__file__).parents[1] / "base.css"
STAGE_REPORTS = ("clean", "crop", "mask", "leakage")  # names of the JSON files that the report includes
FIRST_HUE, HUE_STEP = 212, 137.5  # in degrees; steps of the golden angle give every method a distinct hue
PLOT_WIDTH, PLOT_ROW = 110, 5  # width of a plot, and height of a method's row in it, in pixels
SIGNIFICANCE = 0.05  # p-value below which a difference is called significant


@dataclass(frozen=True)
class RunInputs:
    """Paths of the configuration and of the data stages' reports, which report.html shows."""

    params: Path  # params.yaml
    profile: Path  # profiles/<profile>.yaml
    dvc: Path  # dvc.yaml
    reports: Path  # folder with <name>.json for each of STAGE_REPORTS


def markdown(comparison: Comparison) -> str:
    """Return the text of compare.md: the headline metrics, a table of all values, and tables of differences.

    Each number is rounded to the precision that its confidence interval justifies, and there are no p-values. Small
    random differences, such as those between two types of CPU, therefore almost never change the file.
    """
    headlines = headline_table(comparison, [*comparison.results]).map(lambda text: text.partition(" ")[0])
    values = wide_table(comparison.table, [*comparison.results]).rename(columns=label)
    differences = comparison.differences.drop(columns="p_value").replace(UNCHANGED, UNCHANGED_LABEL)
    return (
        f"{conclusion(comparison)}\n\n{headlines.to_markdown(disable_numparse=True)}\n\n"
        f"All metrics, with 95 % confidence intervals:\n\n{values.to_markdown(disable_numparse=True)}\n\n"
        f"{comparison.ours} minus each other method, on the same faces:\n\n"
        f"{differences.to_markdown(index=False, disable_numparse=True)}\n\n"
        "Each method minus the unchanged selfies, on the same faces. Nearer to the optimum, or farther from it, if the "
        "interval excludes 0 before rounding:\n\n"
        f"{comparison.differences_from_unchanged.to_markdown(disable_numparse=True)}\n\n"
        f"{_held_out(comparison)}\n"
    )


def _held_out(comparison: Comparison) -> str:
    """Return a sentence with the U-Net's and the classifier's results, which are the same for all methods."""
    segmenter = comparison.held_out[SEGMENTER_METRIC]
    text = (
        f"The same for all methods: the U-Net's intersection over union on {segmenter['n']} held-out pictures is "
        f"{interval_text(segmenter)}"
    )
    if portraits := comparison.held_out.get(CLASSIFIER_METRIC):
        text += f"; the painted rate of {portraits['n']} held-out portraits is {interval_text(portraits)}"
    return f"{text}."


def report(inputs: RunInputs, comparison: Comparison, folders: dict[str, Path], sheet: bytes) -> str:
    """Return the text of report.html.

    Args:
        inputs: paths of the configuration and of the data stages' reports.
        comparison: result of `tables.compare`.
        folders: for each method's title (see `tables.titles`), the output folder of stage `evaluate`. For the key
            `tables.UNCHANGED`, the output folder of stage `evaluate_selfies`, which evaluates the unchanged selfies.
        sheet: JPEG of the avatars of all methods.
    """
    results = comparison.results
    params = yaml.safe_load(inputs.params.read_text(encoding="utf-8"))
    comparisons = len(comparison.differences)
    code = {result["details"]["code"] for metrics in results.values() for result in metrics.values()}
    template = Template((TEMPLATES / "report.html").read_text(encoding="utf-8"))
    return template.substitute(
        style=BASE_STYLE.read_text(encoding="utf-8") + (TEMPLATES / "style.css").read_text(encoding="utf-8"),
        ours=escape(comparison.ours),
        others=", ".join(escape(label(method)) for method in results if method != comparison.ours),
        number=sum(method not in (comparison.ours, UNCHANGED) for method in results),
        faces=max(result["n"] for result in results[comparison.ours].values()),
        conclusion=escape(conclusion(comparison)),
        headlines=_headlines(comparison),
        sheet=_image(sheet, "Contact sheet: selfies, portraits, the avatars of each method, learned masks"),
        metrics=_metrics(comparison),
        held_out=escape(_held_out(comparison)),
        comparisons=comparisons,
        by_chance=f"{SIGNIFICANCE * comparisons:.0f}",
        differences=_differences(comparison),
        differences_from_unchanged=_differences_from_unchanged(comparison),
        preferences=_preferences(comparison.preferences),
        min_group_size=MIN_GROUP_SIZE,
        groups=_groups(comparison),
        extremes=_extremes(comparison, folders),
        masks=_masks(folders),
        profile=escape(str(params["profile"])),
        seed=escape(str(params["seed"])),
        parameters="".join(_file_details(path) for path in (inputs.params, inputs.profile)),
        stage_reports=_stage_reports(inputs.reports),
        pipeline=render_svg(stage_dependencies(inputs.dvc, inputs.params)),
        code=escape(", ".join(sorted(code))),
    )


def _image(data: bytes, alt: str, attributes: str = "") -> str:
    """Return an <img> element that contains a picture, and its size, so that nothing moves when it is decoded.

    Args:
        data: the picture as a file.
        alt: its description, as plain text.
        attributes: further attributes as HTML, with a space before them.
    """
    with Image.open(io.BytesIO(data)) as picture:
        (width, height), media_type = picture.size, picture.get_format_mimetype()
    source = f"data:{media_type};base64,{base64.b64encode(data).decode()}"
    return f'<img alt="{escape(alt)}" width="{width}" height="{height}"{attributes} src="{source}">'


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]], titles: Sequence[str] = ()) -> str:
    """Return a scrollable HTML table.

    Args:
        heads: HTML of the header cells.
        rows: HTML of the cells of each row; the first cell is the row's header.
        titles: title of each column except for the first. On narrow screens, the header row is hidden, and each cell
            shows the title of its column.
    """
    head = "".join(f'<th scope="col">{cell}</th>' for cell in heads)
    lines = []
    for first, *others in rows:
        marks = [f' data-title="{escape(title)}"' for title in titles] or [""] * len(others)
        cells = "".join(f"<td{mark}>{cell}</td>" for mark, cell in zip(marks, others, strict=True))
        lines.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
    # focusable, so that a keyboard can scroll it
    return f'<div class="table" tabindex="0" role="group" aria-label="Table"><table>{body}</table></div>'


def _wide(image: str) -> str:
    """Return an image in a box that scrolls sideways, and can be focused, so that a keyboard can scroll it."""
    return f'<div class="wide" tabindex="0" role="group" aria-label="Wide picture">{image}</div>'


def _details(summary: str, content: str, title: str = "") -> str:
    attribute = f' title="{escape(title)}"' if title else ""
    return f"<details{attribute}><summary>{summary}</summary>{content}</details>"


def _hue(index: int) -> str:
    """Return a colour that has a contrast of at least 3 with the light page and with the dark one."""
    return f"oklch(57% 0.14 {(FIRST_HUE + HUE_STEP * index) % 360:.0f})"


def _methods(comparison: Comparison) -> list[str]:
    """Return the keys of all results: the exported method first, then the others in their order."""
    return [comparison.ours, *(method for method in comparison.results if method != comparison.ours)]


def _heads(comparison: Comparison, methods: Iterable[str]) -> list[str]:
    """Return a column header for each method: its colour in the plots, and its name."""
    index = {method: position for position, method in enumerate(_methods(comparison))}
    key = '<span class="key" style="background:{}"></span>{}'
    return [key.format(_hue(index[method]), _breakable(label(method))) for method in methods]


def _breakable(name: object) -> str:
    """Return a name as HTML, with line breaks allowed after underscores."""
    return escape(str(name)).replace("_", "_<wbr>")


def _cell(text: object) -> str:
    """Return a text such as "0.95 [0.92, 0.98]" as HTML: the value, and below it the rest in small type."""
    value, _, rest = escape(str(text)).partition(" ")
    return f"{value}<small>{rest.replace('] ', ']<br>')}</small>" if rest else value


def _headlines(comparison: Comparison) -> str:
    """Return an HTML table of the headline metrics with a row per method; the best values are bold."""
    best = best_methods(comparison.results)
    frame = headline_table(comparison, _methods(comparison))
    metrics = comparison.results[comparison.ours]
    heads = ["method"]
    for headline in HEADLINES.values():
        if result := metrics.get(headline.metric):
            remark = f"{result['unit']}, optimum {result['optimum']:g}".removeprefix(", ")
            heads.append(
                f'<span title="{escape(result["description"])}">{headline.title}</span><small>{remark}</small>'
            )
        else:
            heads.append(headline.title)
    rows = []
    for method in frame.index:
        cells = []
        for title in map(str, frame):
            cell = _cell(frame.loc[method, title])
            cells.append(f"<b>{cell}</b>" if method in best.get(title, []) else cell)
        rows.append([_breakable(method), *cells])
    return _table(heads, rows, [headline.title for headline in HEADLINES.values()])


def _metrics(comparison: Comparison) -> str:
    methods = _methods(comparison)
    values = wide_table(comparison.table, methods)
    rows = []
    for metric, result in comparison.results[comparison.ours].items():
        tooltip = "; ".join(f"{key}: {value}" for key, value in result["details"].items())
        name = _details(_breakable(metric), escape(result["description"]), tooltip)
        cells = [_cell(values.loc[metric, method]) for method in methods]
        plot = _plot([comparison.results[method].get(metric) for method in methods], result["optimum"])
        rows.append([name, escape(result["unit"]), f"{result['optimum']:g}", *cells, plot])
    return _table(["metric", "unit", "optimum", *_heads(comparison, methods), "intervals (dashed: optimum)"], rows)


def _plot(results: list[dict[str, Any] | None], optimum: float) -> str:
    """Return an SVG image: the interval of each method as a line, its value as a dot, the optimum as a dashed line."""
    bounds = [result[key] for result in results if result for key in ("low", "high")] + [optimum]
    low, span = min(bounds), max(max(bounds) - min(bounds), 1e-12)
    height = PLOT_ROW * len(results)

    def x(value: float) -> str:
        return f"{5 + (PLOT_WIDTH - 10) * (value - low) / span:.1f}"

    parts = [f'<line class="optimum" x1="{x(optimum)}" x2="{x(optimum)}" y1="0" y2="{height}"/>']
    for index, result in enumerate(results):
        if result:
            y, hue = PLOT_ROW * (index + 0.5), _hue(index)
            left, right = x(result["low"]), x(result["high"])
            parts.append(f'<line x1="{left}" x2="{right}" y1="{y}" y2="{y}" stroke="{hue}"/>')
            parts.append(f'<circle cx="{x(result["value"])}" cy="{y}" r="2.2" fill="{hue}"/>')
    return f'<svg class="plot" width="{PLOT_WIDTH}" height="{height}">{"".join(parts)}</svg>'


def _differences(comparison: Comparison) -> str:
    marks = {"": "", comparison.ours: " nearer,"}
    cells = {
        (row.metric, row.against): f"{row.difference}{marks.get(str(row.nearer), ' farther,')} p\u00a0{row.p_value}"
        for row in comparison.differences.itertuples()
    }
    _, *others = _methods(comparison)
    rows = [
        [_breakable(metric), *(_cell(cells.get((metric, other), "")) for other in others)]
        for metric in dict.fromkeys(comparison.differences["metric"])
    ]
    return _table(["metric", *_heads(comparison, others)], rows)


def _differences_from_unchanged(comparison: Comparison) -> str:
    frame = comparison.differences_from_unchanged
    methods = [method for method in _methods(comparison) if method in frame]
    rows = [[_breakable(metric), *map(_cell, cells)] for metric, *cells in frame[methods].itertuples()]
    return _table(["metric", *_heads(comparison, methods)], rows)


def _preferences(preferences: pd.DataFrame) -> str:
    if preferences.empty:
        return (
            "<p>There are no answers yet. Collect some with <code>portraitist compare</code>, "
            "then run <code>dvc repro compare</code>.</p>"
        )
    rows = [
        [
            f"{escape(str(row.method))} over {escape(str(row.against))}",
            f"{row.preferred:.0%} [{row.low:.0%}, {row.high:.0%}]",
            f"{row.answers}",
            f"{row.faces}",
        ]
        for row in preferences.itertuples()
    ]
    return (
        "<p>How often people prefer one method's avatar over the other's, in blind comparisons of two avatars of the "
        "same face. Answers without a preference do not count.</p>"
    ) + _table(["preference", "share of faces", "answers", "faces"], rows)


def _groups(comparison: Comparison) -> str:
    parts = []
    for by, rows in comparison.coverage.groupby("by", sort=False):
        methods = [method for method in _methods(comparison) if method in set(rows["method"])]
        lines = []
        for (metric, group), members in rows.groupby(["metric", "group"], sort=False):
            note = next(filter(None, members["note"]), "")
            flag = f' <span class="flag">{escape(note)}</span>' if note else ""
            measured = members[members["n"] > 0]
            cells = {row.method: _group_cell(row.value, row.low, row.high) for row in measured.itertuples()}
            line = [f"{_breakable(metric)}, {escape(str(group))}", f"{members['n'].max()}{flag}"]
            lines.append(line + [_cell(cells.get(method, "")) for method in methods])
        lines.sort(key=lambda line: line[0])
        table = _table([f"metric, {escape(str(by))}", "n", *_heads(comparison, methods)], lines)
        parts.append(_details(f"By {escape(str(by))}", table))
    return "".join(parts)


def _group_cell(value: float, low: float, high: float) -> str:
    """Return a value as text, with its interval unless the group has a single face."""
    return shown(value, low, high) if np.isfinite(low) else f"{value:.3g}"


def _extremes(comparison: Comparison, folders: dict[str, Path]) -> str:
    parts = []
    for metric in comparison.results[comparison.ours]:
        images = []
        for name, folder in folders.items():
            path = folder / f"{metric}.jpg"
            if name != UNCHANGED and path.exists():
                image = _image(path.read_bytes(), f"Best and worst faces of {name} by {metric}", ' class="full"')
                images.append(f"<p>{escape(name)}</p>{_wide(image)}")
        if images:
            parts.append(_details(escape(metric), "".join(images)))
    return "".join(parts)


def _masks(folders: dict[str, Path]) -> str:
    parts = []
    for name, folder in folders.items():
        strips = "".join(
            _image((folder / file).read_bytes(), f"{title} of {label(name)}")
            for title, file in (("Avatars", "stylized.png"), ("Learned masks", "learned_mask.png"))
        )
        parts.append(_details(escape(label(name)), strips))
    return "".join(parts)


def _pre(text: str) -> str:
    """Return preformatted text as HTML that can be focused, so that a keyboard can scroll it."""
    return f'<pre tabindex="0">{escape(text)}</pre>'


def _file_details(path: Path) -> str:
    return _details(escape(path.name), _pre(path.read_text(encoding="utf-8")))


def _stage_reports(folder: Path) -> str:
    parts = []
    for stage in STAGE_REPORTS:
        content = json.loads((folder / f"{stage}.json").read_text(encoding="utf-8"))
        parts.append(f"<h3>{escape(stage)}</h3>{_pre(json.dumps(content, indent=1))}")
    return "".join(parts)
