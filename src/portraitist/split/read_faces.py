"""Read the faces with a mask, and the group and the pair of each, from the manifests of earlier stages."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from portraitist.core import manifest


def read_faces(sources: Iterable[Path], clean: Path, crops: Path, masks: Path) -> pd.DataFrame:
    """Return the table of faces that `join_sources` describes.

    Args:
        sources: folders of the sources in use, as stage `collect` writes them.
        clean: output of stage `clean`.
        crops: output of stage `crop`.
        masks: output of stage `mask`. Only faces with a mask are returned.
    """
    pictures = manifest.kept_rows(clean / "manifest.csv")[["id", "dhash"]]
    faces = manifest.kept_rows(masks / "manifest.csv")[["id", "kind"]]
    faces = faces.merge(manifest.kept_rows(crops / "manifest.csv")[["id", "picture"]], on="id")
    return join_sources(faces, pictures, pd.concat(map(_read_source, sources)))


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
        sources: one row per collected picture, with the columns id, group and pair. A picture that several sources
            collected has several rows.
    """
    named = sources.sort_values(["pair", "group"], ascending=False).drop_duplicates("id")
    table = faces.merge(pictures.merge(named, on="id").rename(columns={"id": "picture"}), on="picture")
    for column in ("pair", "picture"):
        table["group"] = table["group"].where(table["group"] != "", table[column])
    table["pair"] = table["pair"].where(table["id"] == table["picture"], "")
    return table


def _read_source(folder: Path) -> pd.DataFrame:
    """Return id, group (person or artist) and pair of each picture of a source.

    `pair` identifies a photo and its painting. The source's name is prepended, so that pairs of two sources differ.
    """
    rows = manifest.kept_rows(folder / "manifest.csv")[["id", "group", "pair"]]
    rows["pair"] = rows["pair"].where(rows["pair"] == "", f"{folder.name}/" + rows["pair"])
    return rows
