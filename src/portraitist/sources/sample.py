"""The synthetic pack that the project ships: rendered heads, and other heads painted on mostly red backgrounds."""

from collections.abc import Iterator

from portraitist.params import CollectParams
from portraitist.sources import Candidate, folders


def candidates(params: CollectParams) -> Iterator[Candidate]:
    """The pack's pictures, each with its exact mask as truth.

    Raises:
        SourceError: The pack is not where params say.
    """
    for kind, folder, path in folders(params):
        truth = folder.parent / "masks" / kind / f"{path.stem}.png"
        yield Candidate(kind, path.name, path.read_bytes(), "CC0-1.0", "Portraitist", truth=truth.read_bytes())
