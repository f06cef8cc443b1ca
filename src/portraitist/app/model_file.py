"""Read and validate an exported model file: the ONNX graph, its metadata, and the detector and segmenter inside it.

Model files are untrusted. Every defect raises a `ModelError` with a one-line message.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from jaxtyping import Float32

from portraitist.app import DEFAULT_MODEL, trial_run
from portraitist.crop.detector import DETECTOR_FILES
from portraitist.crop.params import CropParams
from portraitist.mask.params import MaskParams
from portraitist.mask.segmenter import SEGMENTER_FILES

MODEL_FILE = "portraitist.onnx"
FORMAT = "3"  # written by stage export
CHECKSUM_KEY = "sha256"  # metadata entry; older models do not have it
METADATA_FIELD = 14  # ModelProto.metadata_props in onnx.proto
DEVICES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "coreml": "CoreMLExecutionProvider"}

SIDE_STEP, MIN_SIDE_PX, MAX_SIDE_PX = 8, 64, 1024  # allowed sides, if the model accepts any
STYLE_LENGTH = 100
HOUSE_STYLE = "house"  # the first style of a conditional model: the mean of the training portraits

StyleVector = Float32[np.ndarray, "100"]

_tried: set[str] = set()  # checksums of the files whose graphs passed a trial run in this process


class ModelError(ValueError):
    """The file is not a usable exported model, or the device is not available."""


class Metadata(NamedTuple):
    """The metadata of a model file: detector and segmenter files by name, parameters of crop and mask, and styles.

    `styles` is empty if the model has only one style; otherwise `house` comes first.
    """

    parts: dict[str, bytes]
    crop: CropParams
    mask: MaskParams
    styles: dict[str, StyleVector]


@dataclass(frozen=True)
class LoadedModel:
    """A validated model file, ready to run."""

    session: onnxruntime.InferenceSession
    metadata: Metadata
    card: str
    any_side: bool  # whether pictures of any side are accepted; otherwise the side is crop.size_px


def load_model(model: Path | str, device: str = "cpu", threads: int = 0) -> LoadedModel:
    """Load a model file, or `portraitist.onnx` from a folder.

    Raises:
        ModelError: there is no such file, it is damaged or not an exported model, or the device is not available.
    """
    path = Path(model)
    path = path / MODEL_FILE if path.is_dir() else path
    if not path.is_file():
        made_by = "installing the package" if path == DEFAULT_MODEL else "`make repro`"
        raise ModelError(f"{path}: no such file; {made_by} creates it, `--model` selects another")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    digest = verify_checksum(path, data)
    if digest not in _tried:
        try:
            trial_run.try_graph(data)
        except trial_run.TrialError as error:
            raise ModelError(f"{path}: {error}") from error
        _tried.add(digest)
    session = _open_session(path, data, device, threads)
    try:
        entries = dict(session.get_modelmeta().custom_metadata_map)
    except Exception as error:  # text that is not UTF-8
        raise ModelError(f"{path}: metadata cannot be read: {_first_line(error)}") from error
    metadata = read_metadata(path, entries)
    any_side = _check_tensors(path, session, metadata.crop.size_px, bool(metadata.styles))
    return LoadedModel(session, metadata, entries.get("card", ""), any_side)


def read_metadata(path: Path, entries: Mapping[str, str]) -> Metadata:
    """Parse a model's metadata entries; only `parts` with known names are read.

    Raises:
        ModelError: the format version is not supported, or an entry is missing or malformed.
    """
    if entries.get("format") != FORMAT:
        raise ModelError(f"{path}: model format {entries.get('format', 'unknown')[:20]!r}; expected {FORMAT!r}")
    try:
        crop, mask = CropParams(**json.loads(entries["crop"])), MaskParams(**json.loads(entries["mask"]))
        encoded = json.loads(entries["parts"])
        # a hostile model may contain other names, such as ../x: only known names are read
        names = (*DETECTOR_FILES, *SEGMENTER_FILES[mask.model])
        parts = {name: base64.b64decode(encoded[name], validate=True) for name in names}
        styles = _read_styles(json.loads(entries.get("styles", "{}")))
    except (KeyError, ValueError, TypeError, RecursionError) as error:  # RecursionError: deeply nested JSON
        raise ModelError(f"{path}: metadata is missing or malformed: {_first_line(error)}") from error
    return Metadata(parts, crop, mask, styles)


def _read_styles(content: object) -> dict[str, StyleVector]:
    """Convert names and lists of numbers.

    Raises:
        TypeError, ValueError: they are something else, the first style is not `house`, or a name cannot be printed.
    """
    if not isinstance(content, dict):
        raise TypeError(f"`styles` is a {type(content).__name__}; expected names and vectors")
    styles = {name: np.array(vector, np.float32) for name, vector in content.items()}
    if styles and next(iter(styles)) != HOUSE_STYLE:
        raise ValueError(f"the first style must be {HOUSE_STYLE!r}")
    for name, vector in styles.items():
        if not name.isprintable() or vector.shape != (STYLE_LENGTH,) or not np.isfinite(vector).all():
            raise ValueError(f"style {name[:40]!r} must have a printable name and {STYLE_LENGTH} finite numbers")
    return styles


def content_checksum(data: bytes) -> tuple[str, str | None]:
    """Return the SHA-256 of an ONNX file without its checksum entry, and that entry's value if there is one.

    The digest covers the serialized ModelProto without the metadata entry `sha256`, which the exporter appends last.

    Raises:
        ValueError: the bytes are not a protocol buffer.
    """
    digest, expected = hashlib.sha256(), None
    key = CHECKSUM_KEY.encode()
    prefix = b"\x0a" + bytes([len(key)]) + key  # field 1 of StringStringEntryProto
    view = memoryview(data)
    for number, start, body, end in _protobuf_fields(view):
        if number == METADATA_FIELD and bytes(view[body : body + len(prefix)]) == prefix:
            value = bytes(view[body + len(prefix) : end])
            expected = value[2:].decode("ascii", "replace")  # tag and length of field 2
        else:
            digest.update(view[start:end])
    return digest.hexdigest(), expected


def verify_checksum(path: Path, data: bytes) -> str:
    """Compare a model file with the checksum in its metadata; a file without one is accepted. Return the checksum.

    Raises:
        ModelError: the checksum differs, or the bytes are not an ONNX file.
    """
    try:
        found, expected = content_checksum(data)
    except ValueError as error:
        raise ModelError(f"{path}: not an exported model") from error
    if expected is not None and found != expected:
        raise ModelError(f"{path}: damaged file: SHA-256 is {found[:16]}…, expected {expected[:16]}…")
    return found


def _protobuf_fields(view: memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Yield (field number, start, start of the body, end) of each top-level field."""
    at = 0
    while at < len(view):
        tag, body = _varint(view, at)
        kind, end = tag & 7, at
        if kind == 0:
            end = _varint(view, body)[1]
        elif kind in (1, 5):
            end = body + (8 if kind == 1 else 4)
        elif kind == 2:
            length, body = _varint(view, body)
            end = body + length
        if not at < end <= len(view):
            raise ValueError(f"malformed field at byte {at}")
        yield tag >> 3, at, body, end
        at = end


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(view[at : at + 10]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError(f"malformed varint at byte {at}")


def _open_session(path: Path, data: bytes, device: str, threads: int) -> onnxruntime.InferenceSession:
    available = [name for name, provider in DEVICES.items() if provider in onnxruntime.get_available_providers()]
    if device not in available:
        raise ModelError(f"device {device!r} is not available; this onnxruntime supports {', '.join(available)}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = trial_run.LOGGING_FATAL
    try:
        return onnxruntime.InferenceSession(data, options, providers=[DEVICES[device]])
    except Exception as error:  # onnxruntime's exceptions have no common base class
        raise ModelError(f"{path}: not an exported model") from error


def _check_tensors(path: Path, session: onnxruntime.InferenceSession, side: int, conditional: bool) -> bool:
    """Check the graph's declared inputs and output; return whether it accepts pictures of any side."""
    picture = ("tensor(uint8)", (None, side, side, 3))
    expected: dict[str, tuple[str, tuple[int | None, ...]]]
    expected = {"pictures": picture, "masks": ("tensor(uint8)", (None, side, side)), "painted": picture}
    if conditional:
        expected["styles"] = ("tensor(float)", (None, STYLE_LENGTH))
    found = {tensor.name: tensor for tensor in (*session.get_inputs(), *session.get_outputs())}
    if set(found) != set(expected):
        raise ModelError(f"{path}: tensors are {', '.join(sorted(found))}; expected {', '.join(sorted(expected))}")
    for name, (kind, shape) in expected.items():
        declared = list(found[name].shape)
        if found[name].type != kind or not _fits(declared, shape):
            raise ModelError(
                f"{path}: `{name}` is {found[name].type} of shape {declared}; "
                f"expected {kind} of shape {['batch', *shape[1:]]}, as crop.size_px is {side}"
            )
    return not any(isinstance(size, int) for size in found["pictures"].shape[1:3])


def _fits(declared: list[Any], shape: tuple[int | None, ...]) -> bool:
    """Return whether a declared shape, whose dimensions may be symbolic, allows the required shape."""
    pairs = zip(declared, shape, strict=False)
    return len(declared) == len(shape) and all(
        not isinstance(size, int) or size == wanted or wanted is None for size, wanted in pairs
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]
