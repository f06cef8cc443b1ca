"""Parameters of stage `collect`: how pictures are downloaded, and which pictures each source searches for."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from portraitist.core.params import Fraction, PositiveInt, Section


class FetchParams(Section):
    """How sources access the web. API keys are not parameters; they are read from environment variables."""

    contact: Annotated[
        str, Field(pattern=r"^[!-~]*$")
    ]  # your email address or web page, sent to sites in the User-Agent; if it is empty, web sources stop with an error
    seconds_per_host: Annotated[float, Field(ge=0)]  # minimum interval between two requests to a host
    respect_robots: bool  # obey robots.txt and X-Robots-Tag; set to false only with the permission of the site
    max_mb: Annotated[float, Field(gt=0)]  # largest picture file, in units of 10^6 bytes
    deadline_s: Annotated[float, Field(gt=0)]  # longest time for one complete response
    connections: Annotated[int, Field(ge=1, le=256)]  # number of concurrent downloads


class CollectParams(Section):
    """Parameters that every source has."""

    # Folder with your pictures, lists of URLs or saved search results. A web source without saved results uses the web.
    path: Path
    limit: PositiveInt  # maximum number of selfies, and of portraits, to keep
    shard_size: PositiveInt  # number of pictures in a tar shard


class CelebaParams(CollectParams):
    """Which pictures of CelebA are selected."""

    download: bool  # if `path` does not contain CelebA, download it with torchvision
    max_roll_degrees: Annotated[
        float, Field(ge=0, le=180)
    ]  # largest angle between the line through the eyes and the horizontal
    # Largest rotation of the head to the left or right: the horizontal distance of the nose from the midpoint between
    # the eyes, divided by the distance between the eyes. 0 is exactly frontal.
    max_yaw: Fraction
    exclude_attributes: list[str]  # pictures with any of these attributes are not selected
    balance_attributes: list[str]  # equally many pictures of each combination of these attributes are selected


class SearchParams(CollectParams):
    """The queries of a search, and the kind (selfies or portraits) of all its results."""

    kind: Literal["selfies", "portraits"]
    queries: Annotated[list[str], Field(min_length=1)]


class LicensedParams(SearchParams):
    """A search on a site that states the licence of each picture."""

    licences: Annotated[list[Literal["cc0", "pdm", "by", "by-sa"]], Field(min_length=1)]  # accepted licences


class TaobaoParams(CollectParams):
    """How a customer's review picture, with a photo and a painting side by side, is split into two pictures."""

    min_seam: Fraction  # share of the line between the halves that must be an edge; at 1 hardly any picture is split
    photo_side: Literal["left", "right"]  # half with the photo; if one is above the other, left means the upper half


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
