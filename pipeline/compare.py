"""Stage compare: metrics/models/* -> metrics/. One table of all methods, and the sheet and report for people."""

import json
import sys
from pathlib import Path

import pandas as pd

from pipeline.stage import load_methods_or_exit
from portraitist.compare import html_report, tables
from portraitist.compare.preferences import read_answers
from portraitist.core.image_io import encode_jpeg
from portraitist.stats.bradley_terry import win_rates


def main(ours: str, dest: Path, judged: Path, told: html_report.Told, models: dict[str, Path]) -> None:
    """The summary for DVC, the tables as CSV and Markdown, the sheet, the report; `models` are folders by titles."""
    measured = {
        name: json.loads((model / "metrics.json").read_text(encoding="utf-8")) for name, model in models.items()
    }
    draws = {name: pd.read_csv(model / "draws.csv") for name, model in models.items()}
    faces = {name: pd.read_csv(model / "faces.csv", dtype={"id": str}) for name, model in models.items()}
    (once,) = [model for model in models.values() if (model / "segmenter.json").exists()]
    segmenter = json.loads((once / "segmenter.json").read_text(encoding="utf-8"))
    frame = tables.table(measured | {"segmenter": segmenter})
    results = html_report.Results(
        ours,
        measured,
        segmenter,
        tables.wide(frame, [*measured]),
        tables.differences(ours, measured, draws, faces),
        tables.gains("selfies", measured, draws, faces),
        tables.coverage(pd.read_csv(once / "groups.csv", dtype=str), faces),
        win_rates(read_answers(judged)),
    )
    painters = {name: model for name, model in models.items() if model != once}
    sheet, text = encode_jpeg(tables.comparison_sheet(painters)), html_report.markdown(results)
    for name, content in {"summary": tables.summary(frame), "intervals": tables.intervals(frame)}.items():
        (dest / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    frame.to_csv(dest / "compare.csv", index=False, lineterminator="\n")
    results.coverage.to_csv(dest / "coverage.csv", index=False, lineterminator="\n", float_format="%.5g")
    (dest / "compare.md").write_text(text, encoding="utf-8")
    (dest / "sheet.jpg").write_bytes(sheet)
    (dest / "report.html").write_text(html_report.report(told, results, models, sheet), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    ours, *paths = sys.argv[1:]
    dest, models, judged, params, profile, dvc, *reports = map(Path, paths)
    sections = load_methods_or_exit()
    if ours not in sections:
        sys.exit(f"portraitist: params.yaml: export.method is {ours!r}; methods has {', '.join(sections)}")
    known = {"selfies": "selfies", **tables.titles(sections)}  # a method that was taken out may lie there yet
    folders = {title: models / name for name, title in known.items()}
    main(known[ours], dest, judged, html_report.Told(params, profile, dvc, reports), folders)
