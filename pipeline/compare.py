"""Stage compare: write tables, a contact sheet and an HTML report that compare all methods that were evaluated."""

import sys
from pathlib import Path

from pipeline.stage import load_methods_or_exit, load_or_exit, path_options, profile_path
from portraitist.compare import html_report, tables
from portraitist.core.files import write_file
from portraitist.core.image_io import encode_jpeg
from portraitist.export.params import ExportParams


def main(ours: str, folders: dict[str, Path], answers: Path, inputs: html_report.RunInputs, out: Path) -> None:
    """Compare methods, write the tables, the contact sheet and the report, and print the tables.

    Args:
        ours: title of the exported method.
        folders: folder with the results of each method, by the method's title.
        answers: CSV of people's preferences between avatars.
        inputs: files that the report describes.
        out: folder to write to.
    """
    comparison = tables.compare(ours, folders, answers)
    sheet = encode_jpeg(
        tables.comparison_sheet({name: folder for name, folder in folders.items() if name != tables.UNCHANGED})
    )
    markdown = html_report.markdown(comparison)
    report = html_report.report(inputs, comparison, folders, sheet)
    contents = {"compare.md": markdown.encode(), "sheet.jpg": sheet, "report.html": report.encode()}
    for name, data in (tables.as_files(comparison) | contents).items():
        write_file(out / name, data)
    print(markdown)


if __name__ == "__main__":
    results, preferences, params, dvc, reports, out = path_options(
        "results", "preferences", "params", "dvc", "reports", "out"
    )
    ours, sections = load_or_exit(ExportParams, "export").method, load_methods_or_exit()
    evaluated = {name: own for name, own in sections.items() if (results / name / "metrics.json").exists()}
    if ours not in evaluated:
        found = ", ".join(evaluated) or "none"
        reason = f"{ours!r} has no results in {results}; methods with results: {found}"
        sys.exit(f"portraitist: export.method: {reason}; run `dvc repro evaluate@{ours}`, or change export.method")
    titles = {tables.UNCHANGED: tables.UNCHANGED, **tables.titles(evaluated)}
    folders = {title: results / name for name, title in titles.items()}
    main(titles[ours], folders, preferences, html_report.RunInputs(params, profile_path(), dvc, reports), out)
