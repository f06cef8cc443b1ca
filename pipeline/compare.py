"""Stage compare: metrics/models/* -> metrics/. One table of all methods, and the sheet and report for people."""

import json
import sys
from pathlib import Path

import pandas as pd

from portraitist import compare, page
from portraitist.judgements import answers
from portraitist.params import methods_or_exit
from portraitist.pictures import jpeg
from portraitist.win_rates import win_rates


def main(ours: str, dest: Path, judged: Path, told: page.Told, models: dict[str, Path]) -> None:
    """The summary for DVC, the tables as CSV and Markdown, the sheet, the report; `models` are folders by titles."""
    measured = {
        name: json.loads((model / "metrics.json").read_text(encoding="utf-8")) for name, model in models.items()
    }
    draws = {name: pd.read_csv(model / "draws.csv") for name, model in models.items()}
    faces = {name: pd.read_csv(model / "faces.csv", dtype={"id": str}) for name, model in models.items()}
    (once,) = [model for model in models.values() if (model / "masker.json").exists()]
    masker = json.loads((once / "masker.json").read_text(encoding="utf-8"))
    frame = compare.table(measured | {"masker": masker})
    results = page.Results(
        ours,
        measured,
        masker,
        compare.wide(frame, [*measured]),
        compare.differences(ours, measured, draws, faces),
        compare.gains("selfies", measured, draws, faces),
        compare.coverage(pd.read_csv(once / "groups.csv", dtype=str), faces),
        win_rates(answers(judged)),
    )
    painters = {name: model for name, model in models.items() if model != once}
    sheet, text = jpeg(compare.contact_sheet(painters)), page.markdown(results)
    for name, content in {"summary": compare.summary(frame), "intervals": compare.intervals(frame)}.items():
        (dest / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    frame.to_csv(dest / "compare.csv", index=False, lineterminator="\n")
    results.coverage.to_csv(dest / "coverage.csv", index=False, lineterminator="\n", float_format="%.5g")
    (dest / "compare.md").write_text(text, encoding="utf-8")
    (dest / "sheet.jpg").write_bytes(sheet)
    (dest / "report.html").write_text(page.report(told, results, models, sheet), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    ours, *paths = sys.argv[1:]
    dest, models, judged, params, profile, dvc, *reports = map(Path, paths)
    sections = methods_or_exit()
    if ours not in sections:
        sys.exit(f"portraitist: params.yaml: export.method is {ours!r}; methods has {', '.join(sections)}")
    known = {"selfies": "selfies", **compare.titles(sections)}  # a method that was taken out may lie there yet
    folders = {title: models / name for name, title in known.items()}
    main(known[ours], dest, judged, page.Told(params, profile, dvc, reports), folders)
