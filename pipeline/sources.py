"""Stage sources: check the sources that params.yaml lists, and write a file for each -> data/sources."""

import sys
from pathlib import Path

from pipeline.stage import load_or_exit, load_sources_or_exit, path_options
from portraitist.collect.params import SOURCES
from portraitist.core.files import write_file


def main(out: Path) -> None:
    """Check that each source has valid parameters, and that its `path` exists. Then write a file for each source."""
    names = load_sources_or_exit()
    for name in names:
        path = load_or_exit(SOURCES[name], f"collect.{name}").path
        if not path.exists():
            expected = (
                "the folders selfies/ and portraits/" if name == "folder" else "the files that docs/collect.md lists"
            )
            sys.exit(f"portraitist: collect.{name}.path: {path} does not exist; create it, and put {expected} in it")
    out.mkdir()
    for name in names:
        write_file(out / name, f"{name}\n")  # not empty, because DVC warns of empty files


if __name__ == "__main__":
    main(*path_options("out"))
