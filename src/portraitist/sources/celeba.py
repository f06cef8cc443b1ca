"""Selected pictures of the data set CelebA (aligned and cropped), read from the folder `collect.celeba.path`.

The user puts a copy of CelebA into this folder. If `collect.celeba.download` is true and the folder contains no
pictures, torchvision downloads CelebA. CelebA's lists are verified by MD5; so is the zip file of the pictures, if it
is not unpacked yet.

Only pictures of CelebA's training partition are used. The selected faces are near-frontal, have level eyes and none of
the attributes in `exclude_attributes`. One picture of each person is selected. If CelebA's list of persons is missing,
several pictures of a person can be selected. If CelebA's list of landmarks is missing, the pose is not checked. In both
cases, a warning is printed.

The selected pictures are divided into groups: all pictures of a group have the same values of the attributes in
`balance_attributes`. The source yields one picture of each group, then a second picture of each group, and so on.
Within a group, the pictures are sorted by the SHA-256 of their file names.

CelebA may be used for non-commercial research only, and its pictures may not be redistributed. Therefore `data/raw` is
never pushed to a DVC remote.
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

from portraitist.collect.candidate import Candidate, SourceError
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import CelebaParams

PICTURES = "img_align_celeba"
MD5 = {  # from torchvision/datasets/celeba.py
    f"{PICTURES}.zip": "00d2c5bc6d35e252742224ab0c1e8fcb",
    "list_attr_celeba.txt": "75e246fa4810816ffd6ee81facbd244c",
    "identity_CelebA.txt": "32bd1bd63d3c78cd57e08160ec5ed1e2",
    "list_landmarks_align_celeba.txt": "cc24ecafdb5b50baae59b03474781f8c",
    "list_eval_partition.txt": "d32c9cbf5e040fd4025c592c306e6668",
}
REQUIRED = ("list_attr_celeba.txt", "list_eval_partition.txt")
MEMBER = re.compile(rf"{PICTURES}/(\d{{6}}\.jpg)")
MAX_MEMBER_BYTES = 1 << 20
LICENCE = "CelebA agreement: non-commercial research, no redistribution"
TRAIN = "0"  # the training partition in list_eval_partition.txt


def candidates(params: CelebaParams, cache: FetchCache) -> Iterator[Candidate]:
    """Yield the selected pictures.

    If `params.download` is True and the folder `params.path` contains no pictures, CelebA is downloaded first.

    Raises:
        SourceError: CelebA is missing, incomplete or modified, or could not be downloaded.
    """
    if params.download and not any((params.path / name).exists() for name in (PICTURES, f"{PICTURES}.zip")):
        _download(params.path)
    _verify(params.path)
    readers = _picture_readers(params.path)
    persons = {name: row[0] for name, row in _read_table(params.path, "identity_CelebA.txt", header_lines=0).items()}
    for name in _select(params, persons):
        if name not in readers:
            raise SourceError(f"{params.path / PICTURES} is incomplete: {name} is missing; download CelebA again")
        group = f"celeba/{persons[name]}" if name in persons else ""
        yield Candidate("selfies", name, readers[name], licence=LICENCE, group=group)


def _download(path: Path) -> None:
    if path.name != "celeba":
        raise SourceError(
            f"collect.celeba.path is {path}; the folder must be named celeba, because torchvision's downloader writes "
            "to a folder of that name; change the path, or set collect.celeba.download=false"
        )
    try:
        from torchvision.datasets import CelebA

        CelebA(str(path.parent), download=True)
    except (ImportError, RuntimeError, OSError, zipfile.BadZipFile, ValueError) as error:
        raise SourceError(
            f"torchvision could not download CelebA: {type(error).__name__}: {error}; check that the package gdown "
            "is installed; if the daily quota of Google Drive is exhausted, download the files yourself and put them "
            f"in {path}"
        ) from error


def _verify(path: Path) -> None:
    missing = [name for name in REQUIRED if not (path / name).is_file()]
    if not (path / PICTURES).is_dir() and not (path / f"{PICTURES}.zip").is_file():
        missing = [f"{PICTURES}.zip", *missing]
    if missing:
        raise SourceError(
            f"collect.celeba.path: {', '.join(missing)} missing in {path}; put your own copy of CelebA (aligned and "
            "cropped) there"
        )
    for name, expected in MD5.items():
        if (path / name).is_file() and not (name.endswith(".zip") and (path / PICTURES).is_dir()):
            digest = hashlib.md5(usedforsecurity=False)
            with (path / name).open("rb") as file:
                for block in iter(partial(file.read, 1 << 20), b""):
                    digest.update(block)
            if digest.hexdigest() != expected:
                raise SourceError(
                    f"{path / name}: expected md5 {expected}, found {digest.hexdigest()}; download it again"
                )


def _picture_readers(path: Path) -> dict[str, Callable[[], bytes]]:
    """Return a dictionary from file name to a function that reads the picture, from the folder or from the zip."""
    if (path / PICTURES).is_dir():
        return {file.name: file.read_bytes for file in (path / PICTURES).glob("*.jpg")}
    try:
        archive = zipfile.ZipFile(path / f"{PICTURES}.zip")
    except zipfile.BadZipFile as error:
        raise SourceError(f"{path / PICTURES}.zip is not a zip file ({error}); download it again") from None
    members = [(MEMBER.fullmatch(info.filename), info) for info in archive.infolist()]
    return {
        match[1]: partial(archive.read, info) for match, info in members if match and info.file_size <= MAX_MEMBER_BYTES
    }


def _select(params: CelebaParams, persons: dict[str, str]) -> Iterator[str]:
    attributes = _read_attributes(params.path)
    known = set(next(iter(attributes.values()), {}))
    for key in ("exclude_attributes", "balance_attributes"):
        unknown = [name for name in getattr(params, key) if known and name not in known]
        if unknown:
            raise SourceError(
                f"collect.celeba.{key}: unknown attribute {unknown[0]!r}; allowed: {', '.join(sorted(known))}"
            )
    partition = {
        name: row[0] for name, row in _read_table(params.path, "list_eval_partition.txt", header_lines=0).items()
    }
    landmarks = _read_table(params.path, "list_landmarks_align_celeba.txt", header_lines=2)
    for title, table, skipped in (
        ("identity_CelebA.txt", persons, "one picture per person"),
        ("list_landmarks_align_celeba.txt", landmarks, "level, near-frontal heads"),
    ):
        if not table:
            warning = f"{params.path / title} is missing; this criterion is not applied: {skipped}"
            print(f"collect celeba: {warning}", file=sys.stderr)
    strata: dict[tuple[str, ...], list[str]] = defaultdict(list)
    selected_persons: set[str] = set()
    for name in sorted(attributes, key=lambda name: hashlib.sha256(name.encode()).digest()):
        values = attributes[name]
        person = persons.get(name, name)
        if partition.get(name) != TRAIN or person in selected_persons:
            continue
        if any(values[attribute] == "1" for attribute in params.exclude_attributes):
            continue
        if landmarks and not _is_frontal([float(number) for number in landmarks[name]], params):
            continue
        selected_persons.add(person)
        strata[tuple(values[attribute] for attribute in params.balance_attributes)].append(name)
    for row in zip_longest(*(strata[key] for key in sorted(strata))):
        yield from filter(None, row)


def _is_frontal(landmarks: list[float], params: CelebaParams) -> bool:
    left_x, left_y, right_x, right_y, nose_x = landmarks[:5]
    eye_distance = hypot(right_x - left_x, right_y - left_y)
    roll = abs(degrees(atan2(right_y - left_y, right_x - left_x)))
    nose_offset = abs(nose_x - (left_x + right_x) / 2)
    return eye_distance > 0 and roll <= params.max_roll_degrees and nose_offset <= params.max_yaw * eye_distance


def _read_attributes(path: Path) -> dict[str, dict[str, str]]:
    names = (path / "list_attr_celeba.txt").read_text(encoding="ascii").splitlines()[1].split()
    rows = _read_table(path, "list_attr_celeba.txt", header_lines=2)
    return {file: dict(zip(names, row, strict=True)) for file, row in rows.items()}


def _read_table(path: Path, name: str, header_lines: int) -> dict[str, list[str]]:
    """Return one of CelebA's lists as {file name: values}; an empty dictionary if the list is missing."""
    if not (path / name).is_file():
        return {}
    rows = (line.split() for line in (path / name).read_text(encoding="ascii").splitlines()[header_lines:])
    return {row[0]: row[1:] for row in rows if row}
