"""CelebA, aligned and cropped: the user's own copy, checked, and a written rule which of its pictures are taken.

Taken are pictures of the training part, without the attributes that params name, with level eyes and the nose in the
middle (near-frontal), one a person, in equal shares of the attributes that params name, in the order of a hash of their
names. Without the list of persons or of landmarks that part of the rule is left out, and it is said.

CelebA is for non-commercial research; its pictures may not be passed on. `data/raw` is never pushed to a remote.
"""

import hashlib
import re
import sys
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from itertools import zip_longest
from math import atan2, degrees, hypot
from pathlib import Path

from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import CelebaParams
from portraitist.collect.sources import Candidate, SourceError

PICTURES = "img_align_celeba"
MD5 = {  # as torchvision's datasets/celeba.py tells them
    f"{PICTURES}.zip": "00d2c5bc6d35e252742224ab0c1e8fcb",
    "list_attr_celeba.txt": "75e246fa4810816ffd6ee81facbd244c",
    "identity_CelebA.txt": "32bd1bd63d3c78cd57e08160ec5ed1e2",
    "list_landmarks_align_celeba.txt": "cc24ecafdb5b50baae59b03474781f8c",
    "list_eval_partition.txt": "d32c9cbf5e040fd4025c592c306e6668",
}
NEEDED = ("list_attr_celeba.txt", "list_eval_partition.txt")
MEMBER = re.compile(rf"{PICTURES}/(\d{{6}}\.jpg)")
MAX_MEMBER = 1 << 20
LICENCE = "CelebA agreement: non-commercial research, no passing on"
TRAIN = "0"


def candidates(params: CelebaParams, ask: FetchCache) -> Iterator[Candidate]:
    """The pictures that the rule takes, in its order, for as long as they are wanted.

    Raises:
        SourceError: The copy is missing, incomplete or another; or the download failed.
    """
    if params.download and not any((params.path / name).exists() for name in (PICTURES, f"{PICTURES}.zip")):
        _download(params.path)
    _check(params.path)
    readers = _readers(params.path)
    persons = {name: row[0] for name, row in _table(params.path, "identity_CelebA.txt", heads=0).items()}
    for name in _chosen(params, persons):
        if name not in readers:
            raise SourceError(f"{params.path / PICTURES} is not whole: {name} is missing")
        group = f"celeba/{persons[name]}" if name in persons else ""
        yield Candidate("selfies", name, readers[name], licence=LICENCE, group=group)


def _download(path: Path) -> None:
    try:
        from torchvision.datasets import CelebA

        if path.name != "celeba":
            raise SourceError(
                f"torchvision's downloader writes to a folder named celeba; collect.celeba.path is {path}"
            )
        CelebA(str(path.parent), download=True)
    except (ImportError, RuntimeError, OSError, zipfile.BadZipFile, ValueError) as error:
        raise SourceError(
            f"torchvision's downloader failed: {type(error).__name__}: {error}; it needs gdown, and Google Drive's "
            f"daily quota is often used up: fetch the files yourself and put them into {path}"
        ) from error


def _check(path: Path) -> None:
    missing = [name for name in NEEDED if not (path / name).is_file()]
    if not (path / PICTURES).is_dir() and not (path / f"{PICTURES}.zip").is_file():
        missing = [f"{PICTURES}.zip", *missing]
    if missing:
        raise SourceError(f"{path} lacks {', '.join(missing)}; put your own copy of CelebA (aligned, cropped) there")
    for name, expected in MD5.items():
        if (path / name).is_file() and not (name.endswith(".zip") and (path / PICTURES).is_dir()):
            digest = hashlib.md5(usedforsecurity=False)
            with (path / name).open("rb") as file:
                for piece in iter(partial(file.read, 1 << 20), b""):
                    digest.update(piece)
            if digest.hexdigest() != expected:
                raise SourceError(f"{path / name}: md5 {expected} expected, found {digest.hexdigest()}; fetch it anew")


def _readers(path: Path) -> dict[str, Callable[[], bytes]]:
    """How each picture is read: out of the folder, or out of the zip without unpacking it."""
    if (path / PICTURES).is_dir():
        return {file.name: file.read_bytes for file in (path / PICTURES).glob("*.jpg")}
    try:
        archive = zipfile.ZipFile(path / f"{PICTURES}.zip")
    except zipfile.BadZipFile as error:
        raise SourceError(f"{path / PICTURES}.zip is no zip ({error}); fetch it anew") from None
    members = [(MEMBER.fullmatch(info.filename), info) for info in archive.infolist()]
    return {match[1]: partial(archive.read, info) for match, info in members if match and info.file_size <= MAX_MEMBER}


def _chosen(params: CelebaParams, persons: dict[str, str]) -> Iterator[str]:
    attributes = _attributes(params.path)
    for name in (*params.without, *params.shares):
        if attributes and name not in next(iter(attributes.values())):
            raise SourceError(f"CelebA knows no attribute {name!r}")
    part = {name: row[0] for name, row in _table(params.path, "list_eval_partition.txt", heads=0).items()}
    marks = _table(params.path, "list_landmarks_align_celeba.txt", heads=2)
    for told, there in (("persons", persons), ("landmarks", marks)):
        if not there:
            print(f"collect celeba: no list of {told}; that part of the rule is left out", file=sys.stderr)
    shares: dict[tuple[str, ...], list[str]] = defaultdict(list)
    taken: set[str] = set()
    for name in sorted(attributes, key=lambda name: hashlib.sha256(name.encode()).digest()):
        has = attributes[name]
        person = persons.get(name, name)
        if part.get(name) != TRAIN or person in taken or any(has[one] == "1" for one in params.without):
            continue
        if marks and not _is_frontal([float(number) for number in marks[name]], params):
            continue
        taken.add(person)
        shares[tuple(has[one] for one in params.shares)].append(name)
    for row in zip_longest(*(shares[key] for key in sorted(shares))):
        yield from filter(None, row)


def _is_frontal(marks: list[float], params: CelebaParams) -> bool:
    left_x, left_y, right_x, right_y, nose_x = marks[:5]
    apart = hypot(right_x - left_x, right_y - left_y)
    roll = abs(degrees(atan2(right_y - left_y, right_x - left_x)))
    off = abs(nose_x - (left_x + right_x) / 2)
    return apart > 0 and roll <= params.max_roll_degrees and off <= params.max_turn * apart


def _attributes(path: Path) -> dict[str, dict[str, str]]:
    names = (path / "list_attr_celeba.txt").read_text(encoding="ascii").splitlines()[1].split()
    rows = _table(path, "list_attr_celeba.txt", heads=2)
    return {file: dict(zip(names, row, strict=True)) for file, row in rows.items()}


def _table(path: Path, name: str, heads: int) -> dict[str, list[str]]:
    """The rows of one of CelebA's lists by file, without its first lines; empty if there is no such list."""
    if not (path / name).is_file():
        return {}
    rows = (line.split() for line in (path / name).read_text(encoding="ascii").splitlines()[heads:])
    return {row[0]: row[1:] for row in rows if row}
