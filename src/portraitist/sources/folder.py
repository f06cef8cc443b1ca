"""Pictures of the user's own: a folder with `selfies` and `portraits` in it. An alpha becomes the mask."""

from collections.abc import Iterator

from portraitist.params import CollectParams
from portraitist.sources import Candidate, of_each_kind
from portraitist.spool import Spool


def candidates(params: CollectParams, ask: Spool) -> Iterator[Candidate]:
    """The pictures below both folders. A folder inside them names a group (a person, an artist): it is never split.

    Raises:
        SourceError: A folder is missing or holds no picture.
    """
    for kind, folder, path in of_each_kind(params.path):
        inner = path.parent.relative_to(folder).as_posix()
        group = "" if inner == "." else f"{kind}/{inner}"
        name = path.relative_to(folder).as_posix()
        yield Candidate(kind, name, path.read_bytes, licence="the user's own", group=group)
