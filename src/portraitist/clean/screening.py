"""Decide which pictures stage clean keeps: check each file, then reject duplicates and blocklisted pictures.

`screen` runs in a sandboxed process (sandbox.py).
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import pillow_heif
from PIL import Image

from portraitist.clean.decode import (
    BOX,
    MAX_JPEG_MEGAPIXELS,
    READABLE_FORMATS,
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
from portraitist.core.manifest import ID_DIGITS, Kind
from portraitist.core.outcome import Status

URL_COLUMNS = ("url", "final_url", "page_url")  # columns that a source's manifest may have
MEASURED_PX = 256  # width at which pictures are measured, so that their size has no effect

Row = dict[str, object]

pillow_heif.register_heif_opener(decode_threads=1)  # one worker per core


@dataclass(frozen=True)
class Measures:
    """Measures of quality; all are in the manifest, so that thresholds can be chosen from their distribution."""

    sharpness: float  # variance of the Laplacian at MEASURED_PX width
    entropy_bits: float  # entropy of the grey levels
    colour: float  # mean of max - min over the channels, 0 to 255; near 0 for a grey picture


def measure(cleaned: CleanPicture) -> Measures:
    """Measure a picture where its alpha is above one half."""
    height, width = cleaned.picture.shape[:2]
    size = MEASURED_PX, max(4, round(height * MEASURED_PX / width))
    resampling = BOX if width > MEASURED_PX else Image.Resampling.BILINEAR
    grey = np.asarray(cleaned.grey().resize(size, resampling), np.float32)
    channels = Image.fromarray(cleaned.picture).resize(size, resampling).split()
    red, green, blue = (np.asarray(channel) for channel in channels)
    visible = np.ones(grey.shape, bool)
    if cleaned.alpha is not None:
        visible = np.asarray(Image.fromarray(cleaned.alpha).resize(size, resampling)) > 127
    if not visible[1:-1, 1:-1].any():
        return Measures(0.0, 0.0, 0.0)
    neighbours = grey[1:-1, :-2] + grey[1:-1, 2:] + grey[:-2, 1:-1] + grey[2:, 1:-1]
    laplacian = (neighbours - 4 * grey[1:-1, 1:-1])[visible[1:-1, 1:-1]]
    shares = np.bincount(grey[visible].astype(np.uint8)) / visible.sum()
    shares = shares[shares > 0]
    entropy = float(-(shares * np.log2(shares)).sum())
    ranges = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return Measures(round(float(laplacian.var()), 2), round(abs(entropy), 3), round(float(ranges[visible].mean()), 2))


def check_quality(width: int, height: int, measures: Measures, kind: Kind, params: CleanParams) -> None:
    """Compare a picture with the thresholds.

    Raises:
        RejectedError: the picture is too elongated, blank or blurred.
    """
    aspect = max(width, height) / min(width, height)
    if aspect > params.max_aspect:
        raise RejectedError(
            Status.TOO_LONG, f"{width} x {height} pixels; the aspect ratio may be at most {params.max_aspect:g}"
        )
    if measures.entropy_bits < params.min_entropy_bits:
        found = f"{measures.entropy_bits:g} bits of entropy"
        raise RejectedError(Status.BLANK, f"{found}; at least {params.min_entropy_bits:g} are required")
    threshold = getattr(params.min_sharpness, kind)
    if measures.sharpness < threshold:
        raise RejectedError(Status.BLURRED, f"sharpness {measures.sharpness:g}; at least {threshold:g} is required")


def make_request(members: dict[str, bytes], kind: Kind, params: CleanParams) -> Message:
    """Return the request to `screen` a collected picture, given its shard members."""
    return Message({"kind": kind, "params": params.model_dump()}, members)


def screen(request: Message) -> Message:
    """Decode, measure and check one collected file, in a sandboxed process.

    Returns:
        The columns of the manifest, the fingerprints, and the members of a picture that passed.
    """
    params, data = CleanParams(**request.content["params"]), request.parts["bytes"]
    row: dict[str, object] = {"status": Status.KEPT.value}
    try:
        opened = open_header(data, params.max_megabytes, READABLE_FORMATS)
        width, height = opened.picture.size
        row |= {"width": width, "height": height}
        check_dimensions(opened.picture, params.max_megapixels, params.min_side_px, MAX_JPEG_MEGAPIXELS)
        cleaned, orientation = load_upright(opened.picture, params.max_side_px, params.max_megapixels, opened.control)
        clean_height, clean_width = cleaned.picture.shape[:2]
        if (clean_height > clean_width) != (height > width):  # rotated by 90 degrees
            row |= {"width": height, "height": width}
        prints, measures = fingerprints(cleaned), measure(cleaned)
        row |= {"dhash": f"{prints[0].dhash:016x}", "fingerprints": b"".join(one.to_bytes() for one in prints).hex()}
        row |= asdict(measures)
        check_quality(width, height, measures, request.content["kind"], params)
        members = cleaned.members()
        if "truth.png" in request.parts:
            members["truth.png"] = encode_png(transform_mask(request.parts["truth.png"], orientation, cleaned))
        return Message(row, members)
    except RejectedError as error:
        return Message(row | {"status": error.status.value, "reason": str(error)}, {})


class Screener:
    """Select the pictures of a run: first by metadata and bytes, then by fingerprints."""

    def __init__(self, blocklist: Blocklist, params: CleanParams) -> None:
        self._blocklist = blocklist
        self._seen = SeenPictures(params.max_hamming_distance, params.min_correlation)

    def prefilter(self, frame: pd.DataFrame, read_bytes: Callable[[Mapping[str, str]], bytes]) -> list[Row]:
        """Return an outcome for each row of the sources' manifests: empty unless its file is blocked or repeated.

        If one row of a file is blocked, all are. Only files whose id is the beginning of a blocked hash are read.
        """
        hashes = {entry.removeprefix("sha256:") for entry in self._blocklist.entries if entry.startswith("sha256:")}
        blocked_ids = {digits[:ID_DIGITS] for digits in hashes}
        blocked: dict[str, str] = {}
        for values in frame.itertuples(index=False):
            row = dict(zip(frame.columns, values, strict=True))
            urls = [row[name] for name in URL_COLUMNS if row.get(name)]
            sha256 = hashlib.sha256(read_bytes(row)).hexdigest() if row["id"] in blocked_ids else ""
            entry = self._blocklist.why(urls, sha256, group=row["group"])
            if entry:
                blocked.setdefault(row["id"], entry)
        seen: set[str] = set()
        outcomes: list[Row] = []
        for picture in frame["id"]:
            if picture in blocked:
                outcomes.append({"status": Status.BLOCKLISTED.value, "reason": blocked[picture]})
            elif picture in seen:
                outcomes.append({"status": Status.DUPLICATE.value, "same_as": picture, "relation": "bytes"})
            else:
                outcomes.append({})
                seen.add(picture)
        return outcomes

    def check_near_duplicates(self, picture: str, prints: Sequence[Fingerprint]) -> Row:
        """Return the outcome of a picture that resembles a blocked or an earlier one; an empty row if it is kept."""
        entry = self._blocklist.why(dhashes=[each.dhash for one in prints for each in (one, one.mirrored())])
        if entry:
            return {"status": Status.BLOCKLISTED.value, "reason": entry}
        same_as, relation = self._seen.find_or_add(picture, prints)
        if same_as:
            return {"status": Status.DUPLICATE.value, "same_as": same_as, "relation": relation}
        return {}
