"""Run the commands in the console blocks of a document, and compare their output with the output that it shows."""

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from scratch_clone import ScratchClone

DECORATION = re.compile(r"[\s─━│┃┏┓┗┛┡┩├└┴┳╇]+")
VARIES = re.compile(r"\b(?=\w*\d)[0-9a-f]{7,40}\b|-?\d+(?:\.\d+)?(?: [AP]M)?")  # hashes, numbers, times


def page_commands(page: Path) -> list[tuple[str, list[str]]]:
    """Return each command of the page with the lines of output that the page shows, without lines of `...`."""
    blocks = re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    parts = [part.splitlines() for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command, [line for line in output if line.strip(" .")]) for command, *output in parts]


def run_page(clone: ScratchClone, page: Path, places: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Run the commands of a page, and yield each command with its output; `cd` changes the clone's folder.

    Args:
        places: folders and addresses, as the page names them, and what replaces them in this run.

    Raises:
        AssertionError: a line of the page is not in the output, or a command fails although the page shows no error.
    """
    for command, shown in page_commands(page):
        words = shlex.split(_replace_all(command, places.items()))
        if words[0] == "cd":
            clone.folder = (clone.folder / words[1]).resolve()
            yield command, ""
            continue
        if words[0] == "make":
            words[1:1] = ["--old-file", ".venv/ready"]  # use the environment of the tests
        if words[0] == "git":
            words[1:1] = ["-c", "user.name=t", "-c", "user.email=t@t"]
        ran = clone.run(*words)
        output = _replace_all(ran.stdout + ran.stderr, ((there, here) for here, there in places.items()))
        assert (ran.returncode != 0) == any(line.startswith("ERROR:") for line in shown), f"{command}\n{output}"
        found = {_comparable(line) for line in output.splitlines()}
        missing = [line for line in shown if _comparable(line) not in found]
        assert not missing, f"{command}\n{missing}\n{output}"
        yield command, output


def _replace_all(text: str, pairs: Iterable[tuple[str, str]]) -> str:
    for old, new in pairs:
        text = text.replace(old, new)
    return text


def _comparable(line: str) -> str:
    """Return a line without text that differs between runs: numbers, hashes, spaces and table borders."""
    return VARIES.sub("N", DECORATION.sub(" ", line)).strip()
