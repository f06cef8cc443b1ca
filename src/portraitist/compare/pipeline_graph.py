"""The pipeline as a picture: which stage needs which, read from dvc.yaml, drawn as SVG from the top down."""

import re
from html import escape
from pathlib import Path
from typing import Any

import yaml

BOX, GAP = (132, 28), (20, 34)  # width and height, px


def stage_dependencies(dvc: Path, params: Path) -> dict[str, set[str]]:
    """Each stage, and those whose outs it reads, one by one or as the folder they lie in; a `foreach` is one stage."""
    content = yaml.safe_load(dvc.read_text(encoding="utf-8"))
    known = yaml.safe_load(params.read_text(encoding="utf-8"))
    for given in content.get("vars", []):
        known |= given
    reads: dict[str, set[str]] = {}
    made_by: dict[str, str] = {}
    for name, stage in content["stages"].items():
        items = _at(known, stage["foreach"].strip("${}")) if "foreach" in stage else {"": {}}
        body = stage.get("do", stage)
        for key, item in items.items():
            here = known | {"key": key, "item": item}
            reads.setdefault(name, set()).update(_filled(dep, here) for dep in body.get("deps", []))
            for kind in ("outs", "plots", "metrics"):
                for out in body.get(kind, []):
                    made_by[_filled(out if isinstance(out, str) else next(iter(out)), here)] = name
    return {
        name: {made_by[out] for out in made_by for dep in deps if out == dep or out.startswith(f"{dep}/")} - {name}
        for name, deps in reads.items()
    }


def _at(known: dict[str, Any], name: str) -> Any:
    for key in name.split("."):
        known = known[key]
    return known


def _filled(text: str, known: dict[str, Any]) -> str:
    return re.sub(r"\$\{([\w.]+)\}", lambda found: str(_at(known, found[1])), text)


def render_svg(graph: dict[str, set[str]]) -> str:
    """The stages as SVG, each below all that it needs."""
    depth: dict[str, int] = {}

    def down(stage: str) -> int:
        if stage not in depth:
            depth[stage] = 1 + max((down(before) for before in graph[stage]), default=-1)
        return depth[stage]

    rows: dict[int, list[str]] = {}
    for stage in sorted(graph):
        rows.setdefault(down(stage), []).append(stage)
    width = max(map(len, rows.values())) * (BOX[0] + GAP[0])
    place = {}
    for row, stages in rows.items():
        left = (width - len(stages) * (BOX[0] + GAP[0]) + GAP[0]) / 2
        for column, stage in enumerate(stages):
            place[stage] = (left + column * (BOX[0] + GAP[0]), row * (BOX[1] + GAP[1]) + 2)
    parts = []
    for stage, before in graph.items():
        for other in sorted(before):
            x, y = place[other][0] + BOX[0] / 2, place[other][1] + BOX[1]
            to, below = place[stage][0] + BOX[0] / 2, place[stage][1]
            bend = (below - y) / 2
            parts.append(f'<path d="M{x} {y}C{x} {y + bend} {to} {below - bend} {to} {below}"/>')
    for stage, (x, y) in place.items():
        parts.append(f'<rect x="{x}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="6"/>')
        parts.append(f'<text x="{x + BOX[0] / 2}" y="{y + 18}">{escape(stage)}</text>')
    height = len(rows) * (BOX[1] + GAP[1]) - GAP[1] + 4
    return f'<svg class="dag" role="img" aria-label="Stages" viewBox="0 0 {width} {height}">{"".join(parts)}</svg>'
