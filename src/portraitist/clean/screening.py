"""One collected file, cleaned, measured and judged; and which of many go on.

`job` runs in a child process (sandbox.py): a file that breaks its reader, or takes more memory or time than allowed,
costs one row.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from PIL import Image

from portraitist.clean.decode import (
    BOX,
    CleanPicture,
    RejectedError,
    check_dimensions,
    load_upright,
    open_header,
    transform_mask,
)
from portraitist.clean.dedupe import Fingerprint, SeenPictures, fingerprints
from portraitist.clean.params import CleanParams
from portraitist.clean.sandbox import Message
from portraitist.collect.blocklist import Blocklist
from portraitist.core.image_io import encode_png
from portraitist.core.manifest import Kind
from portraitist.core.outcome import Status

ADDRESSES = ("url", "final_url", "page_url")  # columns of a source's manifest, as far as it has them
MEASURED_PX = 256  # the width at which pictures are measured, so that large and small ones compare

Row = dict[str, object]


@dataclass(frozen=True)
class Measures:
    """What a picture is judged by; kept in the manifest, so that a threshold can be chosen by what was found."""

    sharpness: float  # variance of the Laplacian, at MEASURED_PX
    entropy_bits: float  # of the shades of grey
    colour: float  # mean spread of the channels, of 255; near 0 is a grey picture


def measure(cleaned: CleanPicture) -> Measures:
    """A picture's measures; what its alpha hides counts nowhere."""
    height, width = cleaned.picture.shape[:2]
    size = MEASURED_PX, max(4, round(height * MEASURED_PX / width))
    how = BOX if width > MEASURED_PX else Image.Resampling.BILINEAR
    grey = np.asarray(cleaned.grey().resize(size, how), np.float32)
    red, green, blue = (np.asarray(one) for one in Image.fromarray(cleaned.picture).resize(size, how).split())
    shown = np.ones(grey.shape, bool)
    if cleaned.alpha is not None:
        shown = np.asarray(Image.fromarray(cleaned.alpha).resize(size, how)) > 127
    if not shown[1:-1, 1:-1].any():
        return Measures(0.0, 0.0, 0.0)
    beside = grey[1:-1, :-2] + grey[1:-1, 2:] + grey[:-2, 1:-1] + grey[2:, 1:-1]
    laplacian = (beside - 4 * grey[1:-1, 1:-1])[shown[1:-1, 1:-1]]
    shares = np.bincount(grey[shown].astype(np.uint8)) / shown.sum()
    shares = shares[shares > 0]
    entropy = float(-(shares * np.log2(shares)).sum())
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return Measures(round(float(laplacian.var()), 2), round(abs(entropy), 3), round(float(spread[shown].mean()), 2))


def check_quality(width: int, height: int, measures: Measures, kind: Kind, params: CleanParams) -> None:
    """Passes a picture that was decoded.

    Raises:
        RejectedError: It is too long, blank or blurred to be of use.
    """
    aspect = max(width, height) / min(width, height)
    if aspect > params.max_aspect:
        raise RejectedError(
            Status.TOO_LONG, f"{width} x {height} pixels; one side may be {params.max_aspect:g} times the other"
        )
    if measures.entropy_bits < params.min_entropy_bits:
        found = f"{measures.entropy_bits:g} bits of entropy"
        raise RejectedError(Status.BLANK, f"{found}; {params.min_entropy_bits:g} are needed")
    needed = getattr(params.min_sharpness, kind)
    if measures.sharpness < needed:
        raise RejectedError(Status.BLURRED, f"sharpness {measures.sharpness:g}; {kind} need {needed:g}")


def make_request(members: dict[str, bytes], kind: Kind, look: str, params: CleanParams) -> Message:
    """What `job` is told: the members of a collected picture, and whether to look at "all" of it or at its "area"."""
    parts = members if look == "all" else {"bytes": members["bytes"]}
    return Message({"kind": kind, "look": look, "params": params.model_dump()}, parts)


def screen(message: Message) -> Message:
    """A child's task: one file cleaned, measured and judged, or only its area told, as `asked`.

    Answers with the manifest's columns, its looks, and the members of a picture that passed.
    """
    params, data = CleanParams(**message.about["params"]), message.parts["bytes"]
    row: dict[str, object] = {"status": Status.KEPT.value}
    try:
        picture = open_header(data, params.max_megabytes)
        if message.about["look"] == "area":
            return Message({"area": math.prod(picture.size)}, {})
        width, height = picture.size
        row |= {"width": width, "height": height}
        check_dimensions(picture, params.max_megapixels, params.min_side_px)
        cleaned, orientation = load_upright(picture, params.max_side_px)
        high, wide = cleaned.picture.shape[:2]
        if (high > wide) != (height > width):  # it lay on its side
            row |= {"width": height, "height": width}
        seen, measures = fingerprints(cleaned), measure(cleaned)
        row |= {"dhash": f"{seen[0].dhash:016x}", "looks": [look.digits() for look in seen], **asdict(measures)}
        check_quality(width, height, measures, message.about["kind"], params)
        members = cleaned.members()
        if "truth.png" in message.parts:
            members["truth.png"] = encode_png(transform_mask(message.parts["truth.png"], orientation, cleaned))
        return Message(row, members)
    except RejectedError as error:
        return Message(row | {"status": error.status.value, "reason": str(error)}, {})


class Screener:
    """What becomes of each picture of a run."""

    def __init__(self, blocked: Blocklist, params: CleanParams) -> None:
        self.blocked = blocked
        self.seen = SeenPictures(params.same_within_bits, params.same_correlation)

    def before(self, frame: pd.DataFrame, bytes_of: Callable[[Mapping[str, str]], bytes]) -> list[Row]:
        """For each row of the sources' manifests: the status, if it is blocked or its bytes came before; else nothing.

        Bytes that are blocked in one place are blocked in all.
        """
        blocked: dict[str, str] = {}
        for values in frame.itertuples(index=False):
            row = dict(zip(frame.columns, values, strict=True))
            urls = [row[name] for name in ADDRESSES if row.get(name)]
            why = self.blocked.why(urls, hashlib.sha256(bytes_of(row)).hexdigest(), group=row["group"])
            if why:
                blocked.setdefault(row["id"], why)
        came: set[str] = set()
        statuses: list[Row] = []
        for picture in frame["id"]:
            if picture in blocked:
                statuses.append({"status": Status.BLOCKLISTED.value, "reason": blocked[picture]})
            elif picture in came:
                statuses.append({"status": Status.DUPLICATE.value, "same_as": picture, "relation": "bytes"})
            else:
                statuses.append({})
                came.add(picture)
        return statuses

    def after(self, picture: str, answer: Message) -> Row:
        """The status and the measures of a picture that a child has seen all of; ask for the ones to prefer first."""
        if "died" in answer.about:
            return {"status": Status.TOO_COSTLY.value, "reason": answer.about["died"]}
        found = {name: value for name, value in answer.about.items() if name != "looks"}
        if found["status"] != Status.KEPT.value:
            return found
        looks = [Fingerprint.parse(digits) for digits in answer.about["looks"]]
        why = self.blocked.why(dhashes=[each.dhash for look in looks for each in (look, look.mirrored())])
        if why:
            return found | {"status": Status.BLOCKLISTED.value, "reason": why}
        same_as, relation = self.seen.same_as(picture, looks)
        if same_as:
            return found | {"status": Status.DUPLICATE.value, "same_as": same_as, "relation": relation}
        return found
