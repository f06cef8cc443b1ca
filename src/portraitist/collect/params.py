"""How sources are searched and downloaded."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from portraitist.core.params import Fraction, PositiveInt, Section


class FetchParams(Section):
    """How sources ask the web. Keys of interfaces are no params: they come from the environment."""

    contact: Annotated[
        str, Field(pattern=r"^[!-~]*$")
    ]  # an address or page of yours; sites are told it. No web without
    seconds_per_host: Annotated[float, Field(ge=0)]  # at least so long between two requests
    respect_robots: bool  # robots.txt and X-Robots-Tag; false is for those who have the site's leave
    max_mb: Annotated[float, Field(gt=0)]  # of a picture's file
    deadline_s: Annotated[float, Field(gt=0)]  # of one answer, however slowly it drips
    connections: Annotated[int, Field(ge=1, le=256)]


class CollectParams(Section):
    """What every source is told; those below are told more."""

    path: Path  # what you give it: pictures, or answers that you saved; an empty folder, if it shall ask the web
    limit: Annotated[int, Field(ge=0)]  # pictures that are kept, of each kind; 0 leaves the source out
    shard_size: PositiveInt


class CelebaParams(CollectParams):
    """Which of CelebA's pictures are taken."""

    download: bool  # by torchvision's downloader into path, if nothing is there
    max_roll_degrees: Annotated[float, Field(ge=0, le=180)]  # of the line between the eyes
    max_turn: Fraction  # how far the nose is off the middle between the eyes, as a share of their distance
    without: list[str]  # attributes that a picture may not have
    shares: list[str]  # attributes by which the pictures are taken in equal shares


class SearchParams(CollectParams):
    """What is searched for, and as which kind it is kept."""

    kind: Literal["selfies", "portraits"]
    queries: Annotated[list[str], Field(min_length=1)]


class LicensedParams(SearchParams):
    """A search among pictures whose licence is known."""

    licences: Annotated[list[Literal["cc0", "pdm", "by", "by-sa"]], Field(min_length=1)]


class TaobaoParams(CollectParams):
    """What buyers' photos of paintings become."""

    seam: Fraction  # how clear the line between a photo and the painting beside it must be; 1 splits none
    photo: Literal["left", "right"]  # which side of it, or upper and lower, is the photo


SOURCES: dict[str, type[CollectParams]] = {
    "sample": CollectParams,
    "folder": CollectParams,
    "urls": CollectParams,
    "celeba": CelebaParams,
    "id_photos": CollectParams,
    "baidu": SearchParams,
    "google": SearchParams,
    "bing": SearchParams,
    "google_api": SearchParams,
    "taobao": TaobaoParams,
    "commons": LicensedParams,
    "met": SearchParams,
    "openverse": LicensedParams,
    "flickr": LicensedParams,
}
