"""Pictures of the user's own: a folder with `selfies` and `portraits` in it. An alpha becomes the mask."""

from collections.abc import Iterator

from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import CollectParams
from portraitist.collect.sources import Candidate, find_pictures_by_kind
from portraitist.core.manifest import KINDS

PAIRS = "pairs"


def candidates(params: CollectParams, ask: FetchCache) -> Iterator[Candidate]:
    """The pictures below both folders. A folder inside them names a group (a person, an artist): it is never split.

    Those of one name in `selfies/pairs` and `portraits/pairs` are a photo and the painting that was made of it.

    Raises:
        SourceError: A folder is missing or holds no picture.
    """
    found = list(find_pictures_by_kind(params.path))
    names = [
        {path.stem for of, folder, path in found if of == kind and path.parent == folder / PAIRS} for kind in KINDS
    ]
    for kind, folder, path in found:
        inner = path.parent.relative_to(folder).as_posix()
        group = "" if inner in (".", PAIRS) else f"{kind}/{inner}"
        name = path.relative_to(folder).as_posix()
        pair = path.stem if inner == PAIRS and path.stem in names[0] & names[1] else ""
        yield Candidate(kind, name, path.read_bytes, licence="the user's own", group=group, pair=pair)
