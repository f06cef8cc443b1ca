"""The user's own pictures, in a folder that contains the folders `selfies` and `portraits`."""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from portraitist.collect.candidate import Candidate, SourceError
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import CollectParams
from portraitist.core.manifest import KINDS
from portraitist.sources import LocalFile, find_pictures_by_kind, normalized

KEY = "collect.folder.path"
PAIRS = "pairs"


def _check_pairs(files: Sequence[tuple[str, LocalFile, str]]) -> None:
    """Raise an error if two pictures in a folder `pairs` have the same stem.

    Args:
        files: kind, file and stem of each picture.
    """
    names: dict[tuple[str, str], str] = {}
    for kind, file, stem in files:
        if file.folder == PAIRS and not file.status:
            other = names.setdefault((kind, stem), file.name)
            if other != file.name:
                raise SourceError(
                    f"{KEY}: {other} and {file.name} have the same name apart from the suffix, so their partner is not "
                    "clear; rename or remove one of them"
                )


def candidates(params: CollectParams, cache: FetchCache) -> Iterator[Candidate]:
    """Yield every file in both folders and their subfolders; files that are not pictures have a status and a reason.

    All pictures in a subfolder belong to one person or artist, so stage `split` assigns them to the same part. The
    subfolder `pairs` is an exception: two files `selfies/pairs/<name>.*` and `portraits/pairs/<name>.*` with the same
    name are a photo and its painting.

    Raises:
        SourceError: a folder is missing, cannot be read, or contains no picture; or two pictures in a folder `pairs`
            have the same name apart from the suffix.
    """
    files = [
        (kind, file, PurePosixPath(normalized(file.name)).stem)
        for kind, file in find_pictures_by_kind(params.path, KEY)
    ]
    _check_pairs(files)
    selfie_stems, portrait_stems = (
        {stem for other, file, stem in files if other == kind and file.folder == PAIRS and not file.status}
        for kind in KINDS
    )
    for kind, file, stem in files:
        is_paired = file.folder == PAIRS and not file.status and stem in selfie_stems & portrait_stems
        yield Candidate(
            kind,
            file.name,
            file.path.read_bytes,
            licence="the user's own",
            group="" if file.folder in ("", PAIRS) else f"{kind}/{file.folder}",
            pair=stem if is_paired else "",
            status=file.status,
            reason=file.reason,
        )
