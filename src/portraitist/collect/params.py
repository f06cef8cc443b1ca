"""Parameters of stage `collect`: how to download, and what each source searches for."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from portraitist.core.params import Fraction, PositiveInt, Section


class FetchParams(Section):
    """How sources access the web. API keys are not parameters: they are environment variables."""

    contact: Annotated[
        str, Field(pattern=r"^[!-~]*$")
    ]  # your email address or web page, sent in the User-Agent; "" forbids web access
    seconds_per_host: Annotated[float, Field(ge=0)]  # minimum interval between two requests to a host
    respect_robots: bool  # obey robots.txt and X-Robots-Tag; false only with the permission of the site
    max_mb: Annotated[float, Field(gt=0)]  # largest picture file
    deadline_s: Annotated[float, Field(gt=0)]  # for one complete response, however slowly it arrives
    connections: Annotated[int, Field(ge=1, le=256)]  # concurrent downloads


class CollectParams(Section):
    """Parameters that every source has."""

    path: Path  # your pictures, lists or saved responses; if it has no saved responses, a web source uses the web
    limit: PositiveInt  # pictures to keep of each kind
    shard_size: PositiveInt  # pictures in a tar shard


class CelebaParams(CollectParams):
    """Which pictures of CelebA are selected."""

    download: bool  # download CelebA into `path` with torchvision if it is not there
    max_roll_degrees: Annotated[
        float, Field(ge=0, le=180)
    ]  # largest angle between the line through the eyes and the horizontal
    # Largest yaw, measured in the picture: horizontal distance of the nose from the midpoint between the eyes, as a
    # fraction of the distance between the eyes. 0 is exactly frontal.
    max_yaw: Fraction
    exclude_attributes: list[str]  # pictures with any of these attributes are left out
    balance_attributes: list[str]  # select equally many pictures of each combination of these attributes


class SearchParams(CollectParams):
    """Search queries, and the kind of picture that they find."""

    kind: Literal["selfies", "portraits"]
    queries: Annotated[list[str], Field(min_length=1)]


class LicensedParams(SearchParams):
    """A search among pictures whose licence is known."""

    licences: Annotated[list[Literal["cc0", "pdm", "by", "by-sa"]], Field(min_length=1)]  # others are rejected


class TaobaoParams(CollectParams):
    """How a review picture with a photo and a painting side by side is split."""

    min_seam: Fraction  # fraction of the dividing line that must be an edge; at 1 hardly any picture is split
    photo_side: Literal["left", "right"]  # the half with the photo; left also means upper, right lower


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
