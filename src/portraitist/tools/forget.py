"""Remove pictures, and everything made from them, from the project. `portraitist dataset forget` calls these functions.

- `find` finds the pictures that the user named, and the blocklist entries that reject them.
- `block` adds the entries to the blocklist, so that no later run collects these pictures.
- `purge` removes the pictures from data/raw, and `purge_responses` removes them from .fetch-cache. When the stages
  after `collect` run again, their outputs no longer contain the pictures.
- `derived_outputs` and `remaining_steps` list what still contains the pictures.
"""

import difflib
import hashlib
import re
import shutil
from collections.abc import Iterable, Iterator
from configparser import ConfigParser
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from portraitist.clean.decode import RejectedError, decode_picture, difference_hash
from portraitist.collect import blocklist, response_store
from portraitist.collect.blocklist import Blocklist
from portraitist.core import manifest
from portraitist.core.outcome import Status
from portraitist.core.shards import INDEX_FILE, Shards, ShardWriter, is_index
from portraitist.sources import find_files

BLOCKLIST = Path("data") / "blocklist.txt"
COPY_BITS = 2  # a picture whose 64-bit dHash differs in at most this many bits is a re-encoded or downscaled copy
URL_COLUMNS = ("url", "final_url", "page_url")
UNCHANGED_COLUMNS = {"id", "kind", "source", "status", "reason", "bytes", "format"}  # not erased for removed pictures


class UnknownError(ValueError):
    """An argument of the user matches no collected picture, and is not a blocklist entry."""


@dataclass(frozen=True)
class Forgotten:
    """The pictures to remove, and the blocklist entries that reject them."""

    ids: list[str]  # ids of collected pictures
    entries: list[str]  # blocklist entries that reject these pictures and their copies
    notes: list[str]  # messages for the user
    missed: dict[str, str]  # words that are valid entries but match no collected picture; values are hints, or ""


def find(root: Path, words: Iterable[str]) -> Forgotten:
    """Find the collected pictures that the user named, their copies, and the other picture of each pair.

    Args:
        root: the checkout of the repository, which contains data/.
        words: each word is a blocklist entry, the id of a picture or of a face, a file, a URL, a group (the pictures of
            one person or artist), the path of a group's folder, or the name that a source gave to a picture.

    Raises:
        UnknownError: a word is none of these.
        BlocklistError: a word is a malformed blocklist entry.
    """
    collected, clean = _read_collected(root), _read_clean(root)
    pictures, faces = set(collected["id"]), _read_faces(root)
    notes: list[str] = []
    entries_by_word = {
        word: [_face_to_picture(entry, pictures, faces, notes) for entry in _to_entries(word, collected)]
        for word in words
    }
    entries = list(dict.fromkeys(entry for listed in entries_by_word.values() for entry in listed))
    matches = _match(entries, collected, clean)
    ids = sorted(_with_copies(set().union(*matches.values()), collected, clean) & pictures)
    missed = {
        word: _suggest_groups(word, collected)
        for word, listed in entries_by_word.items()
        if not any(matches[entry] for entry in listed)
    }
    return Forgotten(ids, list(dict.fromkeys([*entries, *_content_entries(root, ids, clean)])), notes, missed)


def _match(entries: list[str], collected: pd.DataFrame, clean: pd.DataFrame) -> dict[str, set[str]]:
    """Return the ids of the pictures that each blocklist entry matches."""
    matches: dict[str, set[str]] = {entry: set() for entry in entries}
    pictures = set(collected["id"])
    for entry in entries:
        if entry.startswith("sha256:"):
            matches[entry] |= {entry[len("sha256:") :][:16]} & pictures
    blocked = Blocklist.of(entries)
    for row in manifest.to_records(collected):
        if row["id"]:
            urls = [row[name] for name in URL_COLUMNS if row.get(name)]
            for entry in _all_matches(blocked, urls=urls, group=row["group"]):
                matches[entry].add(row["id"])
    for row in manifest.to_records(clean):
        if row["dhash"]:
            for entry in _all_matches(blocked, dhashes=[int(row["dhash"], 16)]):
                matches[entry].add(row["id"])
    return matches


def _all_matches(blocked: Blocklist, **properties: Any) -> Iterator[str]:
    """Yield every blocklist entry that matches a picture; `Blocklist.why` returns only the first."""
    while entry := blocked.why(**properties):
        yield entry
        blocked = Blocklist(blocked.entries - {entry})


def _read_collected(root: Path) -> pd.DataFrame:
    """Read the manifests of all sources, the CSV tables with one row per collected picture, as one table."""
    paths = sorted((root / "data" / "raw").glob("*/manifest.csv"))
    columns = ["id", "kind", "source", "name", "group", "pair", *URL_COLUMNS]
    frames = [manifest.read(path).assign(source=path.parent.name) for path in paths]
    return pd.concat([pd.DataFrame(columns=columns, dtype=str), *frames]).fillna("")


def _read_clean(root: Path) -> pd.DataFrame:
    path = root / "data" / "clean" / "manifest.csv"
    return manifest.read(path) if path.exists() else pd.DataFrame(columns=["id", "dhash", "same_as"], dtype=str)


def _read_faces(root: Path) -> dict[str, str]:
    """Return a dictionary from the id of each face to the id of its picture."""
    path = root / "data" / "crop" / "manifest.csv"
    frame = manifest.read(path) if path.exists() else pd.DataFrame(columns=["id", "picture"], dtype=str)
    return dict(zip(frame["id"], frame["picture"], strict=True))


def _face_to_picture(entry: str, pictures: set[str], faces: dict[str, str], notes: list[str]) -> str:
    """Return a blocklist entry, with the id of a face replaced by the id of the face's picture.

    If an id was replaced, a note for the user is added to `notes`.
    """
    kind, _, digits = entry.partition(":")
    if kind == "sha256" and digits[:16] not in pictures and digits in faces:
        notes.append(f"{digits} is a face in picture {faces[digits]}; the whole picture is removed")
        return f"sha256:{faces[digits]}"
    return entry


def _to_entries(word: str, collected: pd.DataFrame) -> list[str]:
    """Return the blocklist entries for a word of the user.

    Raises:
        UnknownError: the word matches no collected picture, and is not a blocklist entry.
        BlocklistError: the word is a malformed blocklist entry.
    """
    if word.partition(":")[0] in blocklist.KINDS:
        return [blocklist.entry(word)]
    if "://" in word:
        return [blocklist.entry(f"url:{word}")]
    if re.fullmatch(r"[0-9a-fA-F]{16,64}", word):
        return [blocklist.entry(f"sha256:{word}")]
    if Path(word).is_file():
        return _file_entries(Path(word).read_bytes())
    parts = Path(word).as_posix().strip("/").split("/")
    groups = set(collected["group"])
    for start in range(max(1, len(parts) - 1)):  # the last part of a path alone could be the name of another group
        subject = blocklist.entry(f"subject:{'/'.join(parts[start:])}")
        if any(Blocklist.of([subject]).why(group=group) for group in groups):
            return [subject]
    ids = sorted(set(collected.loc[(collected["name"] == word) & (collected["id"] != ""), "id"]))
    if not ids:
        hint = _suggest_groups(word, collected) or "use subject:GROUP to block a group that is not collected yet"
        raise UnknownError(f"{word}: not the id, URL, group or name of a collected picture, and not a file; {hint}")
    return [f"sha256:{picture}" for picture in ids]


def _file_entries(data: bytes) -> list[str]:
    entries = [f"sha256:{hashlib.sha256(data).hexdigest()}"]
    with suppress(RejectedError):  # if a file cannot be decoded, only its exact bytes are blocked
        entries.append(_dhash_entry(f"{difference_hash(decode_picture(data)):016x}"))
    return entries


def _dhash_entry(digits: str) -> str:
    return f"dhash:{digits}:{COPY_BITS}"


def _suggest_groups(word: str, collected: pd.DataFrame) -> str:
    """Return a hint that lists the groups with a similar name; "" if there are none."""
    if "://" in word:
        return ""
    last_parts = {group: group.rpartition("/")[2].casefold() for group in sorted(set(collected["group"]) - {""})}
    wanted = word.rstrip("/").rpartition("/")[2].rpartition(":")[2].casefold()
    similar = difflib.get_close_matches(wanted, last_parts.values())
    groups = [group for group, last in last_parts.items() if last in similar]
    return f"similar groups: {', '.join(groups)}" if groups else ""


def _with_copies(ids: set[str], collected: pd.DataFrame, clean: pd.DataFrame) -> set[str]:
    """Return the given ids, and the ids of all related pictures.

    Two pictures are related if one is a copy of the other, or if they form a pair. Pictures that are related to a
    related picture are included, too.
    """
    related: dict[str, set[str]] = {}
    for frame, column in ((clean, "same_as"), (collected, "pair")):
        for first, second in zip(frame["id"], frame[column], strict=True):
            if first and second:
                related.setdefault(first, set()).add(second)
                related.setdefault(second, set()).add(first)
    pending, found = set(ids), set()
    while pending:
        found |= pending
        pending = {neighbour for picture in pending for neighbour in related.get(picture, ())} - found
    return found


def _content_entries(root: Path, ids: list[str], clean: pd.DataFrame) -> list[str]:
    """Return blocklist entries that reject these files by SHA-256, and nearly identical pictures by difference hash."""
    sources = [Shards(path.parent) for path in sorted((root / "data" / "raw").glob(f"*/{INDEX_FILE}"))]
    entries = []
    for picture in ids:
        shards = next((shards for shards in sources if shards.has(picture, "bytes")), None)
        digest = hashlib.sha256(shards.read(picture, "bytes")).hexdigest() if shards else picture
        dhashes = sorted(set(clean.loc[clean["id"] == picture, "dhash"]) - {""})
        entries += [f"sha256:{digest}", *map(_dhash_entry, dhashes)]
    return entries


def block(root: Path, forgotten: Forgotten, because: str) -> list[str]:
    """Add the entries to the blocklist, with the reason `because`; return those that were not in the blocklist yet."""
    return blocklist.add(root / BLOCKLIST, forgotten.entries, because)


def purge(root: Path, ids: Iterable[str]) -> dict[str, int]:
    """Remove pictures from data/raw.

    The pictures' rows in the manifests remain, with status `blocklisted`, but without name, author, URL and other
    metadata.

    Returns:
        A dictionary from the name of a source to the number of pictures that were removed from this source. Sources
        from which no picture was removed are not in the dictionary.
    """
    removed, counts = set(ids), {}
    for path in sorted((root / "data" / "raw").glob("*/manifest.csv")):
        frame = manifest.read(path)
        is_removed = frame["id"].isin(removed)
        present = is_removed & (frame["status"] != Status.BLOCKLISTED.value)
        if present.any():
            counts[path.parent.name] = int(present.sum())
            _rewrite_source(path.parent, frame, is_removed, removed)
    return counts


def _rewrite_source(folder: Path, frame: pd.DataFrame, is_removed: "pd.Series[bool]", removed: set[str]) -> None:
    """Replace the folder of a source by a copy without the removed pictures."""
    data = folder.parent.parent  # temporary folders must not be in data/raw, where every folder is a source
    new, old = (data / f".{folder.name}.{name}.partial" for name in ("new", "old"))
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    shards = Shards(folder)
    per_shard = manifest.read(folder / INDEX_FILE).drop_duplicates("id")["shard"].value_counts()
    with ShardWriter(new, int(per_shard.max()) if len(shards) else 1) as writer:
        for picture in shards:
            if picture not in removed:
                writer.add(picture, shards.members(picture))
    _write_table(_anonymize(frame, is_removed), new / "manifest.csv")
    for path in folder.glob("*.csv"):
        if path.name not in (INDEX_FILE, "manifest.csv"):
            table = manifest.read(path)
            _write_table(table[~table["id"].isin(removed)], new / path.name)
    folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old)


def _anonymize(frame: pd.DataFrame, is_removed: "pd.Series[bool]") -> pd.DataFrame:
    frame = frame.astype(object)
    frame.loc[is_removed, [name for name in frame if name not in UNCHANGED_COLUMNS]] = ""
    frame.loc[is_removed, "status"] = Status.BLOCKLISTED.value
    if "reason" in frame:
        frame.loc[is_removed, "reason"] = "forgotten"
    return frame


def _write_table(frame: pd.DataFrame, path: Path) -> None:
    manifest.write(manifest.to_records(frame), path, [str(name) for name in frame])


def purge_responses(root: Path) -> int:
    """Remove blocklisted pictures from the saved web responses in .fetch-cache; return the number of removed responses.

    Raises:
        LockedError: a source is being collected at the moment; nothing is removed.
    """
    return response_store.remove_blocked(root / response_store.FOLDER, Blocklist.read(root / BLOCKLIST))


def derived_outputs(root: Path, ids: Iterable[str]) -> list[str]:
    """Return the paths of data and models that contain these pictures or were made from them, except data/raw.

    The next run of the pipeline replaces these files and folders.
    """
    removed, found = set(ids), []
    for index in sorted((root / "data").rglob(INDEX_FILE)):
        if is_index(index) and index.parent.parent.name != "raw" and removed & set(Shards(index.parent)):
            found.append(index.parent.relative_to(root).as_posix())
    split = root / "data" / "split.csv"
    if split.exists():
        frame = manifest.read(split)
        parts = sorted(set(frame.loc[frame["id"].isin(removed), "part"]))
        found += [f"data/split.csv ({', '.join(parts)})"] if parts else []
        if "train" in parts:
            models = [path for path in sorted((root / "models").glob("*.*")) if path.is_file()]
            models += (root / "models").glob("portraitist")  # the output of stage export
            found += [path.relative_to(root).as_posix() for path in models]
    return found


def remaining_steps(root: Path, ids: Iterable[str]) -> list[str]:
    """Return a line for each place that may still contain the pictures and that no stage cleans up.

    Each line names the command or the action that removes the pictures.
    """
    removed = set(ids)
    steps = [
        "DVC's cache contains all earlier versions: run `dvc gc --workspace --force`, which keeps only what the "
        "workspace uses; it also deletes the data of other branches and experiments",
        "experiments and the experiment queue; `dvc exp apply` would restore the pictures and the old blocklist: run "
        "`dvc exp remove --all-commits` and `dvc exp remove --queue`, and delete .dvc/tmp/exps",
        *(f"remote {name}: `dvc gc --workspace --cloud --remote {name} --force`" for name in _remotes(root)),
        "trained models retain what they learned from the pictures: `dvc repro` trains them again; models, avatars and "
        "contact sheets that you have exported or published remain, unless you withdraw them yourself",
    ]
    if response_store.source_names(root / response_store.FOLDER):
        steps.append(
            "saved web pages that list the pictures, and copies that are in no source any more: run "
            "`portraitist dataset clear-cache`"
        )
    leftovers = {".checkpoints": "interrupted work", "runs": "TensorBoard pictures"}
    steps += [f"{content}: delete {folder}/" for folder, content in leftovers.items() if (root / folder).exists()]
    pages = (path.read_text(encoding="utf-8") for path in (root / "review").glob("*.html"))
    if any(picture in page for page in pages for picture in removed):
        steps.append("review pages: delete review/")
    return steps + [f"your own file: delete {path}" for path in _originals(root, removed)]


def _remotes(root: Path) -> list[str]:
    """Return the names of the remotes that DVC is configured with."""
    config = ConfigParser(strict=False)
    config.read([root / ".dvc" / "config", root / ".dvc" / "config.local"], encoding="utf-8")
    matches = (re.fullmatch(r"['\"]?remote \"(.+?)\"['\"]?", section) for section in config.sections())
    return [match[1] for match in matches if match]


def _originals(root: Path, ids: set[str]) -> list[Path]:
    """Return the user's own files of these pictures, in the folders that params.yaml names as sources."""
    path = root / "params.yaml"
    params = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    values = [value for source in (params.get("collect") or {}).values() for value in source.values()]
    folders = [root / value for value in values if isinstance(value, str) and (root / value).is_dir()]
    files = {path for folder in folders for path in find_files(folder) if path.is_file()}
    return sorted(path for path in files if manifest.picture_id(path.read_bytes()) in ids)
