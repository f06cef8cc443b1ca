"""Read the faces with a mask, and the group and the pair of each, from the manifests of earlier stages."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from portraitist.core import manifest
from portraitist.core.outcome import Status

FOLDER_LEVELS = 2  # of source `folder`: selfies/anna/2024 and selfies/anna are one group


def read_faces(sources: Iterable[Path], clean: Path, crops: Path, masks: Path) -> pd.DataFrame:
    """Return the table of faces that `join_sources` describes.

    Args:
        sources: folders of the sources in use, as stage `collect` writes them.
        clean: output of stage `clean`.
        crops: output of stage `crop`.
        masks: output of stage `mask`. Only faces with a mask are returned.
    """
    cleaned = manifest.read(clean / "manifest.csv")
    pictures = cleaned.loc[cleaned["status"] == Status.KEPT.value, ["id", "dhash"]]
    is_copy = (cleaned["same_as"] != "") & (cleaned["same_as"] != cleaned["id"])
    copies = cleaned[is_copy].set_index("id")["same_as"].to_dict()
    faces = manifest.kept_rows(masks / "manifest.csv")[["id", "kind"]]
    faces = faces.merge(manifest.kept_rows(crops / "manifest.csv")[["id", "picture"]], on="id")
    collected = pd.concat(map(_read_source, sources), ignore_index=True)
    kept = [copies.get(picture, picture) for picture in collected["id"]]
    return join_sources(faces, pictures, collected.assign(id=pd.Series(kept, dtype=str)))


def join_sources(faces: pd.DataFrame, pictures: pd.DataFrame, sources: pd.DataFrame) -> pd.DataFrame:
    """Add the columns dhash, group and pair to the table of faces.

    A face's group is the group that the source names: a person or an artist. If the source names no group, the group is
    the pair (a photo with its painting). If there is no pair either, the group is the picture. Groups and pairs that
    have a picture in common become one group.

    Only the largest face of a picture gets the picture's pair; the column is "" for the other faces. The largest face
    has the same id as the picture.

    Args:
        faces: one row per face, with the columns id, kind and picture. The column picture has the id of the picture
            that contains the face.
        pictures: one row per picture, with the columns id and dhash (64-bit difference hash, hexadecimal).
        sources: one row per collected picture, with the columns id, group and pair. A picture that was collected
            several times has several rows.
    """
    sources = sources.assign(group=pd.Series(_join_groups(sources), sources.index, dtype=str))
    named = sources.groupby("id", as_index=False)[["group", "pair"]].max()
    table = faces.merge(pictures.merge(named, on="id").rename(columns={"id": "picture"}), on="picture")
    table["group"] = table["group"].where(table["group"] != "", table["picture"])
    table["pair"] = table["pair"].where(table["id"] == table["picture"], "")
    return table


def _join_groups(sources: pd.DataFrame) -> list[str]:
    """Return the group of each row, after groups and pairs that have a picture in common were joined; "" if none.

    The name of a joined group is the first of its groups in alphabetical order, or of its pairs if it has no group.
    """
    parents: dict[tuple[int, str], tuple[int, str]] = {}

    def find(name: tuple[int, str]) -> tuple[int, str]:
        while parents.setdefault(name, name) != name:
            name = parents[name]
        return name

    first_of_picture: dict[str, tuple[int, str]] = {}
    for picture, *names in sources[["id", "group", "pair"]].itertuples(index=False):
        for level, name in enumerate(names):  # groups come before pairs
            if name:
                found, known = find((level, name)), find(first_of_picture.setdefault(picture, (level, name)))
                parents[max(found, known)] = min(found, known)
    return [find(first_of_picture[picture])[1] if picture in first_of_picture else "" for picture in sources["id"]]


def _read_source(folder: Path) -> pd.DataFrame:
    """Return id, group (person or artist) and pair of each picture of a source, and of each equal copy.

    `pair` identifies a photo and its painting. The source's name is prepended, so that pairs of two sources differ.
    Of source `folder`, only the first levels of a group count: all subfolders of a person's folder are one group.
    """
    collected = manifest.read(folder / "manifest.csv")
    is_used = collected["status"].isin([Status.KEPT.value, Status.DUPLICATE.value]) & (collected["id"] != "")
    rows = collected.loc[is_used, ["id", "group", "pair"]]
    if folder.name == "folder":
        rows["group"] = ["/".join(group.split("/")[:FOLDER_LEVELS]) for group in rows["group"]]
    rows["pair"] = rows["pair"].where(rows["pair"] == "", f"{folder.name}/" + rows["pair"])
    return rows
