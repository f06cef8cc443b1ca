"""The synthetic sample in this repository: rendered heads as selfies, and painted heads as portraits.

The backgrounds of the portraits are mostly red.
"""

from collections.abc import Iterator

from portraitist.collect.candidate import Candidate
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import CollectParams
from portraitist.sources import find_pictures_by_kind


def candidates(params: CollectParams, cache: FetchCache) -> Iterator[Candidate]:
    """Yield the sample's pictures, each with its exact person mask.

    Raises:
        SourceError: the folder `collect.sample.path` does not contain the sample.
    """
    for kind, file in find_pictures_by_kind(params.path, "collect.sample.path"):
        truth = params.path / "masks" / kind / f"{file.path.stem}.png"
        yield Candidate(
            kind,
            file.path.name,
            file.path.read_bytes,
            licence="CC0-1.0",
            author="Portraitist",
            truth=truth.read_bytes,
            status=file.status,
            reason=file.reason,
        )
