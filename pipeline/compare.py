"""Stage compare: write tables, a contact sheet and an HTML report that compare all methods that were evaluated."""

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
    methods = {name: folder for name, folder in folders.items() if name != tables.UNCHANGED}
    sheet, markdown = encode_jpeg(tables.comparison_sheet(methods)), html_report.markdown(comparison)
    report = html_report.report(inputs, comparison, folders, sheet)
    contents = {"compare.md": markdown.encode(), "sheet.jpg": sheet, "report.html": report.encode()}
    for name, data in (tables.as_files(comparison) | contents).items():
        write_file(out / name, data)
    print(markdown)


if __name__ == "__main__":
    names = ("results", "preferences", "params", "dvc", "reports", "out")
    results, preferences, params, dvc, reports, out = path_options(*names)
    ours, sections = load_or_exit(ExportParams, "export").method, load_methods_or_exit()
    folders = tables.result_folders(results, sections, ours)
    inputs = html_report.RunInputs(params, profile_path(), dvc, reports)
    main(tables.titles(sections)[ours], folders, preferences, inputs, out)
