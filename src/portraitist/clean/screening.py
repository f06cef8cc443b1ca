"""Decide which pictures stage clean keeps: check each file, and reject duplicates and blocklisted pictures.

`screen` runs in a worker process with resource limits (see sandbox.py).
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

URL_COLUMNS = ("url", "final_url", "page_url")  # in the manifest of a source
MEASURED_PX = 256  # pictures are scaled to this width before they are measured, so that their size has no effect

Row = dict[str, object]  # a row of the manifest, or a part of it, by column

pillow_heif.register_heif_opener(decode_threads=1)  # because there is one worker per core


@dataclass(frozen=True)
class Measures:
    """Measures of a picture's quality. The manifest contains them, so that you can choose thresholds from them."""

    sharpness: float  # variance of the Laplacian of the grey levels at 256 px width
    entropy_bits: float  # entropy of the grey levels, 0 to 8
    colour: float  # difference of the largest and the smallest channel of a pixel, on average; 0 (grey) to 255


def measure(cleaned: CleanPicture) -> Measures:
    """Measure the quality of a picture, only at pixels whose alpha is above 127."""
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
    """Check a picture's aspect ratio, entropy and sharpness against the thresholds in params.yaml.

    Raises:
        RejectedError: the picture is too elongated, blank or blurred.
    """
    aspect = max(width, height) / min(width, height)
    if aspect > params.max_aspect:
        raise RejectedError(
            Status.TOO_LONG,
            f"the aspect ratio of {width} x {height} pixels is {aspect:.1f}; it may be at most {params.max_aspect:g}",
        )
    if measures.entropy_bits < params.min_entropy_bits:
        found = f"the grey levels have {measures.entropy_bits:g} bits of entropy"
        raise RejectedError(Status.BLANK, f"{found}; at least {params.min_entropy_bits:g} are required")
    threshold = getattr(params.min_sharpness, kind)
    if measures.sharpness < threshold:
        raise RejectedError(Status.BLURRED, f"sharpness {measures.sharpness:g}; at least {threshold:g} is required")


def make_request(members: dict[str, bytes], kind: Kind, params: CleanParams) -> Message:
    """Return the request with which `screen` checks a collected picture.

    Args:
        members: the picture's files in its shard, as {ending of the file name: content}.
        kind: "selfies" or "portraits".
        params: section `clean` of params.yaml.
    """
    return Message({"kind": kind, "params": params.model_dump()}, members)


def screen(request: Message) -> Message:
    """Decode, measure and check one collected file; runs in a worker process with resource limits.

    Args:
        request: the result of `make_request`.

    Returns:
        A message. Its `content` has the values of the picture's row in the manifest, and the picture's fingerprints as
        hexadecimal digits. Its `parts` are the picture's files, if the picture passed all checks.
    """
    params, data = CleanParams(**request.content["params"]), request.parts["bytes"]
    row: dict[str, object] = {"status": Status.KEPT.value}
    try:
        opened = open_header(data, params.max_megabytes, READABLE_FORMATS)
        width, height = opened.picture.size
        row |= {"width": width, "height": height}
        check_dimensions(opened.picture, params.max_megapixels, params.min_side_px, MAX_JPEG_MEGAPIXELS)
        cleaned, orientation = load_upright(opened.picture, params.max_side_px, params.max_megapixels, opened.control)
        if orientation >= 5 and opened.picture.format != "TIFF":  # of TIFF files, Pillow returns the upright size
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
    """Search for blocklisted and duplicate pictures: first by URLs and bytes, later by fingerprints."""

    def __init__(self, blocklist: Blocklist, params: CleanParams) -> None:
        self._blocklist = blocklist
        self._seen = SeenPictures(params.max_hamming_distance, params.min_correlation)

    def prefilter(self, frame: pd.DataFrame, read_bytes: Callable[[Mapping[str, str]], bytes]) -> list[Row]:
        """Find the rows whose file is blocklisted or is in an earlier row already.

        A file can have several rows, for example with different URLs. If a blocklist entry matches one of the rows, all
        rows of the file are blocklisted.

        The id of a file is the beginning of the file's SHA-256. To save time, a file is read only if its id is also the
        beginning of a SHA-256 in the blocklist.

        Args:
            frame: the rows of the sources' manifests.
            read_bytes: function that reads the file of a row.

        Returns:
            One dictionary per row of `frame`. If the file is blocklisted or repeated, the dictionary contains the
            status and further columns for stage clean's manifest. Otherwise, the dictionary is empty.
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
        """Compare a picture with the blocklisted pictures and with the pictures that earlier calls kept.

        Args:
            picture: id of the picture.
            prints: fingerprints of the picture.

        Returns:
            A dictionary. If the picture resembles one of those pictures, the dictionary contains the picture's status
            and further columns for stage clean's manifest. Otherwise, the picture is kept, and the dictionary is empty.
        """
        entry = self._blocklist.why(dhashes=[each.dhash for one in prints for each in (one, one.mirrored())])
        if entry:
            return {"status": Status.BLOCKLISTED.value, "reason": entry}
        same_as, relation = self._seen.find_or_add(picture, prints)
        if same_as:
            return {"status": Status.DUPLICATE.value, "same_as": same_as, "relation": relation}
        return {}
