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

import onnxruntime

from portraitist.crop.detector import DETECTOR_FILES
from portraitist.crop.params import CropParams
from portraitist.mask.params import MaskParams
from portraitist.mask.segmenter import SEGMENTER_FILES

MODEL_FILE = "portraitist.onnx"
FORMAT = "2"  # written by stage export
CHECKSUM_KEY = "sha256"  # metadata entry; older models do not have it
METADATA_FIELD = 14  # ModelProto.metadata_props in onnx.proto
DEVICES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "coreml": "CoreMLExecutionProvider"}
LOGGING_FATAL = 4  # onnxruntime prints fatal errors only; all errors are raised as exceptions anyway


class ModelError(ValueError):
    """The file is not a usable exported model, or the device is not available."""


class Metadata(NamedTuple):
    """The metadata of a model file: detector and segmenter files by name, and the parameters of crop and mask."""

    parts: dict[str, bytes]
    crop: CropParams
    mask: MaskParams


@dataclass(frozen=True)
class LoadedModel:
    """A validated model file, ready to run."""

    session: onnxruntime.InferenceSession
    metadata: Metadata
    card: str


def load_model(model: Path | str, device: str = "cpu", threads: int = 0) -> LoadedModel:
    """Load a model file, or `portraitist.onnx` from a folder.

    Raises:
        ModelError: there is no such file, it is damaged or not an exported model, or the device is not available.
    """
    path = Path(model)
    path = path / MODEL_FILE if path.is_dir() else path
    if not path.is_file():
        raise ModelError(f"{path}: no such file; `make repro` creates the default model, `--model` selects another")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    verify_checksum(path, data)
    session = _open_session(path, data, device, threads)
    try:
        entries = dict(session.get_modelmeta().custom_metadata_map)
    except Exception as error:  # text that is not UTF-8
        raise ModelError(f"{path}: metadata cannot be read: {_first_line(error)}") from error
    metadata = read_metadata(path, entries)
    _check_tensors(path, session, metadata.crop.size_px)
    return LoadedModel(session, metadata, entries.get("card", ""))


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
        # the parts become files, and a hostile model may name one ../x: only our own names are looked up
        names = (*DETECTOR_FILES, *SEGMENTER_FILES[mask.model])
        parts = {name: base64.b64decode(encoded[name], validate=True) for name in names}
    except (KeyError, ValueError, TypeError, RecursionError) as error:  # RecursionError: deeply nested JSON
        raise ModelError(f"{path}: metadata is missing or malformed: {_first_line(error)}") from error
    return Metadata(parts, crop, mask)


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


def verify_checksum(path: Path, data: bytes) -> None:
    """Compare a model file with the checksum in its metadata; a file without one is accepted.

    Raises:
        ModelError: the checksum differs, or the bytes are not an ONNX file.
    """
    try:
        found, expected = content_checksum(data)
    except ValueError as error:
        raise ModelError(f"{path}: not an exported model") from error
    if expected is not None and found != expected:
        raise ModelError(f"{path}: damaged file: SHA-256 is {found[:16]}…, expected {expected[:16]}…")


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
    options.log_severity_level = LOGGING_FATAL
    try:
        return onnxruntime.InferenceSession(data, options, providers=[DEVICES[device]])
    except Exception as error:  # onnxruntime's exceptions have no common base class
        raise ModelError(f"{path}: not an exported model") from error


def _check_tensors(path: Path, session: onnxruntime.InferenceSession, side: int) -> None:
    """Compare the graph's declared inputs and output with those that painting uses."""
    picture, mask = (None, side, side, 3), (None, side, side)
    expected = {"pictures": picture, "masks": mask, "painted": picture}
    found = {tensor.name: tensor for tensor in (*session.get_inputs(), *session.get_outputs())}
    if set(found) != set(expected):
        raise ModelError(f"{path}: tensors are {', '.join(sorted(found))}; expected {', '.join(sorted(expected))}")
    for name, shape in expected.items():
        declared = list(found[name].shape)
        if found[name].type != "tensor(uint8)" or not _fits(declared, shape):
            raise ModelError(
                f"{path}: `{name}` is {found[name].type} of shape {declared}; "
                f"expected tensor(uint8) of shape {['batch', *shape[1:]]}, as crop.size_px is {side}"
            )


def _fits(declared: list[Any], shape: tuple[int | None, ...]) -> bool:
    """Return whether a declared shape, whose dimensions may be symbolic, allows the required shape."""
    pairs = zip(declared, shape, strict=False)
    return len(declared) == len(shape) and all(
        not isinstance(size, int) or size == wanted or wanted is None for size, wanted in pairs
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]
