"""Stage compare: metrics/models/* -> metrics/. One table of all methods, and the contact sheet that people look at."""

import json
import sys
from pathlib import Path

from portraitist.compare import contact_sheet, table
from portraitist.pictures import jpeg


def main(dest: Path, *models: Path) -> None:
    """The summary for DVC, the table as CSV and Markdown, the sheet."""
    measured = {model.name: json.loads((model / "metrics.json").read_text(encoding="utf-8")) for model in models}
    frame = table(measured)
    summary = {
        metric: dict(zip(rows["method"], rows["value"], strict=True)) for metric, rows in frame.groupby("metric")
    }
    (dest / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    frame.to_csv(dest / "compare.csv", index=False, lineterminator="\n")
    text = frame.pivot_table("shown", "metric", "method", aggfunc="first").to_markdown()
    (dest / "compare.md").write_text(text + "\n", encoding="utf-8")
    (dest / "sheet.jpg").write_bytes(jpeg(contact_sheet(list(models))))
    print(text)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
