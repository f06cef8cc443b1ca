"""Pictures of the user's own: any two folders, one of selfies and one of portraits. An alpha becomes the mask."""

from collections.abc import Iterator

from portraitist.params import CollectParams
from portraitist.sources import Candidate, folders


def candidates(params: CollectParams) -> Iterator[Candidate]:
    """The pictures below both folders. A folder inside them names a group (a person, an artist): it is never split.

    Raises:
        SourceError: A folder is missing or holds no picture.
    """
    for kind, folder, path in folders(params):
        inner = path.parent.relative_to(folder).as_posix()
        group = "" if inner == "." else f"{kind}/{inner}"
        yield Candidate(kind, path.relative_to(folder).as_posix(), path.read_bytes(), "the user's own", group=group)
