"""Draw the stages of dvc.yaml and their dependencies as an SVG image, from top to bottom."""

import re
from html import escape
from pathlib import Path
from typing import Any

import yaml

BOX_WIDTH, BOX_HEIGHT = 132, 28  # size of a stage's box in pixels
GAP_X, GAP_Y = 20, 34  # pixels between boxes


def stage_dependencies(dvc: Path, params: Path) -> dict[str, set[str]]:
    """Return, for each stage, the names of the stages whose outputs it reads.

    All items of a `foreach` stage count as one stage.

    Args:
        dvc: path of dvc.yaml.
        params: path of params.yaml, whose values dvc.yaml uses as variables.
    """
    content = yaml.safe_load(dvc.read_text(encoding="utf-8"))
    variables = yaml.safe_load(params.read_text(encoding="utf-8"))
    for group in content.get("vars", []):
        variables |= group
    deps_of: dict[str, set[str]] = {}
    stage_of_output: dict[str, str] = {}
    for name, stage in content["stages"].items():
        items = _look_up(variables, stage["foreach"].strip("${}")) if "foreach" in stage else {"": {}}
        if isinstance(items, list):  # a list of names instead of a dictionary
            items = dict(zip(items, items, strict=True))
        body = stage.get("do", stage)
        for key, item in items.items():
            scope = variables | {"key": key, "item": item}
            deps_of.setdefault(name, set()).update(_interpolate(dep, scope) for dep in body.get("deps", []))
            for kind in ("outs", "plots", "metrics"):
                for out in body.get(kind, []):
                    path = out if isinstance(out, str) else next(iter(out))
                    stage_of_output[_interpolate(path, scope)] = name
    return {
        name: {
            stage
            for out, stage in stage_of_output.items()
            for dep in deps
            if out == dep or out.startswith(f"{dep}/") or dep.startswith(f"{out}/")
        }
        - {name}
        for name, deps in deps_of.items()
    }


def _look_up(variables: dict[str, Any], name: str) -> Any:
    for key in name.split("."):
        variables = variables[key]
    return variables


def _interpolate(text: str, variables: dict[str, Any]) -> str:
    return re.sub(r"\$\{([\w.]+)\}", lambda match: str(_look_up(variables, match[1])), text)


def _ancestors(graph: dict[str, set[str]], stage: str) -> set[str]:
    """Return all stages on which a stage depends, directly or through other stages."""
    return graph[stage].union(*(_ancestors(graph, dependency) for dependency in graph[stage]))


def render_svg(graph: dict[str, set[str]]) -> str:
    """Return an SVG image of the stages in `graph`, a result of `stage_dependencies`.

    Each stage is drawn below all stages on which it depends. If stage c depends on a and b, and b also depends on a,
    the line from a to c is left out.
    """
    depths: dict[str, int] = {}

    def depth(stage: str) -> int:
        if stage not in depths:
            depths[stage] = 1 + max((depth(dependency) for dependency in graph[stage]), default=-1)
        return depths[stage]

    rows: dict[int, list[str]] = {}
    for stage in sorted(graph):
        rows.setdefault(depth(stage), []).append(stage)
    width = max(map(len, rows.values())) * (BOX_WIDTH + GAP_X)
    positions = {}
    for row, stages in rows.items():
        left = (width - len(stages) * (BOX_WIDTH + GAP_X) + GAP_X) / 2
        for column, stage in enumerate(stages):
            positions[stage] = (left + column * (BOX_WIDTH + GAP_X), row * (BOX_HEIGHT + GAP_Y) + 2)
    parts = []
    for stage, dependencies in graph.items():
        implied = set[str]().union(*(_ancestors(graph, dependency) for dependency in dependencies))
        for dependency in sorted(dependencies - implied):
            x1, y1 = positions[dependency][0] + BOX_WIDTH / 2, positions[dependency][1] + BOX_HEIGHT
            x2, y2 = positions[stage][0] + BOX_WIDTH / 2, positions[stage][1]
            bend = y2 - GAP_Y / 2  # in the gap above the stage, so that fewer boxes are crossed
            parts.append(f'<path d="M{x1} {y1}V{y2 - GAP_Y}C{x1} {bend} {x2} {bend} {x2} {y2}"/>')
    for stage, (x, y) in positions.items():
        parts.append(f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6"/>')
        parts.append(f'<text x="{x + BOX_WIDTH / 2}" y="{y + 18}">{escape(stage)}</text>')
    height = len(rows) * (BOX_HEIGHT + GAP_Y) - GAP_Y + 4
    return (
        f'<svg class="dag" role="img" aria-label="Pipeline stages" viewBox="0 0 {width} {height}">'
        f"{''.join(parts)}</svg>"
    )
