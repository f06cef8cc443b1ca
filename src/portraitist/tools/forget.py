"""A picture and all that was made of it are taken out: what names it, what it stands for, what still holds it.

The blocklist keeps it out of every later run. What was collected is rewritten without it here and now, so that nothing
need be collected again; the stages after that do without it when they run next.
"""

import difflib
import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from portraitist.clean.decode import RejectedError, decode_picture, difference_hash
from portraitist.collect import blocklist
from portraitist.collect.blocklist import Blocklist
from portraitist.core import manifest
from portraitist.core.outcome import Status
from portraitist.core.shards import INDEX_FILE, Shards, ShardWriter, is_index

BLOCKLIST = Path("data") / "blocklist.txt"
COPY_BITS = 2  # a copy that was stored again or made smaller differs in no more bits
ADDRESSES = ("url", "final_url", "page_url")
REMAIN = {"id", "kind", "source", "status", "reason", "bytes", "format"}  # of a forgotten picture's row


class UnknownError(ValueError):
    """A word that names no picture that is here, and is no entry for the blocklist either."""


@dataclass(frozen=True)
class Forgotten:
    """What is to go: the pictures that are here, by id, what will keep them and their copies out, and what to know."""

    ids: list[str]
    entries: list[str]
    notes: list[str]
    missed: dict[str, str]  # each word that names no picture that is here: what could have been meant, or ""


def find(root: Path, words: Iterable[str]) -> Forgotten:
    """The pictures that these words name, each with its copies and its other half, in the checkout at root.

    A word is an entry as in the blocklist, the id of a picture or of a face in it, a file, an address, a group, its
    folder's path, or the name that a source gave.

    Raises:
        UnknownError: A word says nothing.
        BlocklistError: A word is a malformed entry.
    """
    found, clean = _collected(root), _cleaned(root)
    pictures, faces = set(found["id"]), _faces(root)
    notes: list[str] = []
    said = {word: [_of_face(one, pictures, faces, notes) for one in _entries(word, found)] for word in words}
    entries = list(dict.fromkeys(entry for some in said.values() for entry in some))
    by_entry = _named(entries, found, clean)
    ids = sorted(_with_copies(set().union(*by_entry.values()), found, clean) & set(found["id"]))
    missed = {word: _near(word, found) for word, some in said.items() if not any(by_entry[entry] for entry in some)}
    return Forgotten(ids, list(dict.fromkeys([*entries, *_of_pictures(root, ids, clean)])), notes, missed)


def _named(entries: list[str], found: pd.DataFrame, clean: pd.DataFrame) -> dict[str, set[str]]:
    """The ids of the pictures that each entry names."""
    named: dict[str, set[str]] = {entry: set() for entry in entries}
    here = set(found["id"])
    for entry in entries:
        if entry.startswith("sha256:"):
            named[entry] |= {entry[len("sha256:") :][:16]} & here
    blocked = Blocklist.of(entries)
    for row in manifest.to_records(found):
        if row["id"]:
            urls = [row[name] for name in ADDRESSES if row.get(name)]
            for entry in _every(blocked, urls=urls, group=row["group"]):
                named[entry].add(row["id"])
    for row in manifest.to_records(clean):
        if row["dhash"]:
            for entry in _every(blocked, dhashes=[int(row["dhash"], 16)]):
                named[entry].add(row["id"])
    return named


def _every(blocked: Blocklist, **known: Any) -> Iterator[str]:
    """Every entry that blocks a picture of which this is known; the list itself tells the first."""
    while entry := blocked.why(**known):
        yield entry
        blocked = Blocklist(blocked.entries - {entry})


def _collected(root: Path) -> pd.DataFrame:
    """The rows of all sources."""
    paths = sorted((root / "data" / "raw").glob("*/manifest.csv"))
    columns = ["id", "kind", "source", "name", "group", "pair", *ADDRESSES]
    frames = [manifest.read(path).assign(source=path.parent.name) for path in paths]
    return pd.concat([pd.DataFrame(columns=columns, dtype=str), *frames]).fillna("")


def _cleaned(root: Path) -> pd.DataFrame:
    path = root / "data" / "clean" / "manifest.csv"
    return manifest.read(path) if path.exists() else pd.DataFrame(columns=["id", "dhash", "same_as"], dtype=str)


def _faces(root: Path) -> dict[str, str]:
    """The picture of each face that has an id of its own."""
    path = root / "data" / "crop" / "manifest.csv"
    frame = manifest.read(path) if path.exists() else pd.DataFrame(columns=["id", "picture"], dtype=str)
    return dict(zip(frame["id"], frame["picture"], strict=True))


def _of_face(entry: str, pictures: set[str], faces: dict[str, str], notes: list[str]) -> str:
    """The entry; or, where it is a face's, its picture's, and a note of that."""
    kind, _, digits = entry.partition(":")
    if kind == "sha256" and digits[:16] not in pictures and digits in faces:
        notes.append(f"{digits} is a face of picture {faces[digits]}, which goes whole")
        return f"sha256:{faces[digits]}"
    return entry


def _entries(word: str, found: pd.DataFrame) -> list[str]:
    if word.partition(":")[0] in blocklist.KINDS:
        return [blocklist.entry(word)]
    if "://" in word:
        return [blocklist.entry(f"url:{word}")]
    if re.fullmatch(r"[0-9a-fA-F]{16,64}", word):
        return [blocklist.entry(f"sha256:{word}")]
    if Path(word).is_file():
        data = Path(word).read_bytes()
        try:
            look = [f"dhash:{difference_hash(decode_picture(data)):016x}:{COPY_BITS}"]
        except RejectedError:
            look = []  # its bytes can be blocked all the same
        return [f"sha256:{hashlib.sha256(data).hexdigest()}", *look]
    parts = Path(word).as_posix().strip("/").split("/")
    for start in range(max(1, len(parts) - 1)):  # at least two names of a path: a folder's last alone may be another's
        subject = blocklist.entry(f"subject:{'/'.join(parts[start:])}")
        if any(Blocklist.of([subject]).why(group=group) for group in set(found["group"])):
            return [subject]
    named = sorted(set(found.loc[(found["name"] == word) & (found["id"] != ""), "id"]))
    if not named:
        near = _near(word, found) or "'subject:GROUP' blocks a group that is not here yet"
        told = "no picture here has this id, address, group or name, and there is no such file"
        raise UnknownError(f"{word}: {told}; {near}")
    return [f"sha256:{one}" for one in named]


def _near(word: str, found: pd.DataFrame) -> str:
    """The groups that could have been meant, by their last name, or ""."""
    if "://" in word:
        return ""
    last = {group: group.rpartition("/")[2].casefold() for group in sorted(set(found["group"]) - {""})}
    meant = difflib.get_close_matches(word.rstrip("/").rpartition("/")[2].rpartition(":")[2].casefold(), last.values())
    groups = [group for group, name in last.items() if name in meant]
    return f"groups near it: {', '.join(groups)}" if groups else ""


def _with_copies(ids: set[str], found: pd.DataFrame, clean: pd.DataFrame) -> set[str]:
    """And those that are the same to the eye, and the other half of a pair, and theirs, and so on."""
    tied: dict[str, set[str]] = {}
    for frame, column in ((clean, "same_as"), (found, "pair")):
        for one, other in zip(frame["id"], frame[column], strict=True):
            if one and other:
                tied.setdefault(one, set()).add(other)
                tied.setdefault(other, set()).add(one)
    todo, done = set(ids), set()
    while todo:
        done |= todo
        todo = {other for one in todo for other in tied.get(one, ())} - done
    return done


def _of_pictures(root: Path, ids: list[str], clean: pd.DataFrame) -> list[str]:
    """The entries that keep out these pictures' bytes, and what looks just like them."""
    shards = [Shards(path.parent) for path in sorted((root / "data" / "raw").glob(f"*/{INDEX_FILE}"))]
    entries = []
    for one in ids:
        holder = next((each for each in shards if each.has(one, "bytes")), None)
        digest = hashlib.sha256(holder.read(one, "bytes")).hexdigest() if holder else one
        looks = sorted(set(clean.loc[clean["id"] == one, "dhash"]) - {""})
        entries += [f"sha256:{digest}", *(f"dhash:{look}:{COPY_BITS}" for look in looks)]
    return entries


def block(root: Path, forgotten: Forgotten, because: str) -> list[str]:
    """The entries that the checkout's blocklist did not hold yet; now it does."""
    return blocklist.add(root / BLOCKLIST, forgotten.entries, because)


def purge(root: Path, ids: Iterable[str]) -> dict[str, int]:
    """Rewrite what was collected without these pictures: {source: how many it lost}.

    Their rows stay, as `blocklisted`, and say nothing more of them.
    """
    gone, lost = set(ids), {}
    for path in sorted((root / "data" / "raw").glob("*/manifest.csv")):
        frame = manifest.read(path)
        hit = frame["id"].isin(gone)
        if (hit & (frame["status"] != Status.BLOCKLISTED.value)).any():
            lost[path.parent.name] = int(hit.sum())
            _rewrite(path.parent, frame, hit, gone)
    return lost


def _rewrite(folder: Path, frame: pd.DataFrame, hit: "pd.Series[bool]", gone: set[str]) -> None:
    shards = Shards(folder)
    per_shard = Counter(next(iter(members.values()))[0] for members in shards.places.values())
    place = folder.parent.parent  # not beside it: every folder there is a source
    fresh, old = (place / f".{folder.name}.{name}.partial" for name in ("new", "old"))
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    with ShardWriter(fresh, max(per_shard.values(), default=1)) as writer:
        for picture in shards:
            if picture not in gone:
                writer.add(picture, shards.members(picture))
    about = frame.astype(object)
    about.loc[hit, [name for name in about if name not in REMAIN]] = ""
    about.loc[hit, "status"] = Status.BLOCKLISTED.value
    if "reason" in about:
        about.loc[hit, "reason"] = "forgotten"
    manifest.write(manifest.to_records(about), fresh / "manifest.csv", [str(name) for name in frame])
    for more in folder.glob("*.csv"):
        if more.name not in (INDEX_FILE, "manifest.csv"):
            rows = manifest.read(more)
            manifest.write(
                manifest.to_records(rows[~rows["id"].isin(gone)]), fresh / more.name, [str(name) for name in rows]
            )
    folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old)


def holders(root: Path, ids: Iterable[str]) -> list[str]:
    """What was made of these pictures and lies here until the stages run again, as far as it can be seen."""
    gone, found = set(ids), []
    indexes = [path for path in sorted((root / "data").rglob(INDEX_FILE)) if is_index(path)]
    for index in indexes:
        if index.parent.parent.name != "raw" and gone & set(Shards(index.parent)):
            found.append(index.parent.relative_to(root).as_posix())
    split = root / "data" / "split.csv"
    if split.exists():
        frame = manifest.read(split)
        parts = sorted(set(frame.loc[frame["id"].isin(gone), "part"]))
        found += [f"data/split.csv ({', '.join(parts)})"] if parts else []
        if "train" in parts:
            models = [path for path in sorted((root / "models").glob("*.*")) if path.is_file()]
            models += (root / "models").glob("portraitist")  # what stage export left
            found += [path.relative_to(root).as_posix() for path in models]
    return found


def remains(root: Path, ids: Iterable[str]) -> list[str]:
    """What no stage clears, each with what does."""
    told = [
        "DVC's cache keeps every earlier version: `dvc gc --workspace --force` leaves only what the workspace uses, "
        "and takes other branches' and experiments' data with it",
        "experiments and their queue: `dvc exp remove --all-commits`, `dvc exp remove --queue`, and .dvc/tmp/exps",
    ]
    config = ConfigParser(strict=False)
    config.read([root / ".dvc" / "config", root / ".dvc" / "config.local"], encoding="utf-8")
    for section in config.sections():
        if name := re.fullmatch(r"['\"]?remote \"(.+?)\"['\"]?", section):
            told.append(f"remote {name[1]}: `dvc gc --workspace --cloud --remote {name[1]} --force`")
    told.append(
        "models that were trained with it hold what they learned of it: `dvc repro` trains them anew; "
        "what was exported or handed out, and avatars and sheets made before, you must take back yourself"
    )
    leftovers = {".checkpoints": "unfinished work", "runs": "what trainings have painted, for TensorBoard"}
    told += [f"{what}: delete {folder}/" for folder, what in leftovers.items() if (root / folder).exists()]
    gone = set(ids)
    pages = [path.read_text(encoding="utf-8") for path in (root / "review").glob("*.html")]
    told += ["pages that show it: delete review/"] if any(one in page for page in pages for one in gone) else []
    told += [f"your own file: delete {path}" for path in _originals(root, gone)]
    return told


def _originals(root: Path, ids: set[str]) -> list[Path]:
    """The user's own files of these pictures, where params say that pictures are collected from."""
    params = (
        yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8")) if (root / "params.yaml").exists() else {}
    )
    told = [value for source in (params.get("collect") or {}).values() for value in source.values()]
    places = [root / value for value in told if isinstance(value, str) and (root / value).is_dir()]
    files = {path for place in places for path in place.rglob("*") if path.is_file()}
    return sorted(path for path in files if manifest.picture_id(path.read_bytes()) in ids)
