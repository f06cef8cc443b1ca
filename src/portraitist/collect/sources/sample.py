"""The synthetic pack that the project ships: rendered heads, and other heads painted on mostly red backgrounds."""

from collections.abc import Iterator

from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import CollectParams
from portraitist.collect.sources import Candidate, find_pictures_by_kind


def candidates(params: CollectParams, ask: FetchCache) -> Iterator[Candidate]:
    """The pack's pictures, each with its exact mask as truth.

    Raises:
        SourceError: The pack is not where params say.
    """
    for kind, _, path in find_pictures_by_kind(params.path):
        truth = params.path / "masks" / kind / f"{path.stem}.png"
        yield Candidate(
            kind, path.name, path.read_bytes, licence="CC0-1.0", author="Portraitist", truth=truth.read_bytes
        )
