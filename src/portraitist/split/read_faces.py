"""Read the faces with a mask, and the group and the pair of each, from the manifests of earlier stages."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from portraitist.core import manifest
from portraitist.core.outcome import Status

GROUP_LEVELS = 2  # selfies/anna/2024 and selfies/anna are one group in the split


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
    copies = cleaned[cleaned["same_as"] != ""].set_index("id")["same_as"].to_dict()
    faces = manifest.kept_rows(masks / "manifest.csv")[["id", "kind"]]
    faces = faces.merge(manifest.kept_rows(crops / "manifest.csv")[["id", "picture"]], on="id")
    collected = pd.concat(map(_read_source, sources))
    return join_sources(
        faces, pictures, collected.assign(id=[copies.get(picture, picture) for picture in collected["id"]])
    )


def join_sources(faces: pd.DataFrame, pictures: pd.DataFrame, sources: pd.DataFrame) -> pd.DataFrame:
    """Add the columns dhash, group and pair to the table of faces.

    A face's group is the group that the source names: a person or an artist. If the source names no group, the group is
    the pair (a photo with its painting). If there is no pair either, the group is the picture.

    Only the largest face of a picture gets the picture's pair; the column is "" for the other faces. The largest face
    has the same id as the picture.

    Args:
        faces: one row per face, with the columns id, kind and picture. The column picture has the id of the picture
            that contains the face.
        pictures: one row per picture, with the columns id and dhash (64-bit difference hash, hexadecimal).
        sources: one row per collected picture, with the columns id, group and pair. A picture that was collected
            several times has several rows; a group or a pair of any of them counts.
    """
    named = sources.groupby("id", as_index=False)[["group", "pair"]].max()
    table = faces.merge(pictures.merge(named, on="id").rename(columns={"id": "picture"}), on="picture")
    for column in ("pair", "picture"):
        table["group"] = table["group"].where(table["group"] != "", table[column])
    table["pair"] = table["pair"].where(table["id"] == table["picture"], "")
    return table


def _read_source(folder: Path) -> pd.DataFrame:
    """Return id, group (person or artist) and pair of each picture of a source, and of each equal copy.

    `pair` identifies a photo and its painting. The source's name is prepended, so that pairs of two sources differ.
    Only the first levels of a group count, so that all subfolders of a person's folder are in the same part.
    """
    collected = manifest.read(folder / "manifest.csv")
    is_used = collected["status"].isin([Status.KEPT.value, Status.DUPLICATE.value]) & (collected["id"] != "")
    rows = collected.loc[is_used, ["id", "group", "pair"]]
    rows["group"] = ["/".join(group.split("/")[:GROUP_LEVELS]) for group in rows["group"]]
    rows["pair"] = rows["pair"].where(rows["pair"] == "", f"{folder.name}/" + rows["pair"])
    return rows
