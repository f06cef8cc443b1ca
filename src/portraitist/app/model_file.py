"""Read and validate an exported model file: an ONNX graph whose metadata contain face detector and segmenter.

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
EXAMPLE_GENERATOR = "example_generator.onnx"  # in metadata entry `parts`, optional; the exporter uses the same name
FORMAT = "3"  # written by stage export
CHECKSUM_KEY = "sha256"  # metadata entry with the checksum; older models have none
METADATA_FIELD = 14  # number of the field ModelProto.metadata_props in onnx.proto
DEVICES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "coreml": "CoreMLExecutionProvider"}

SIDE_STEP, MIN_SIDE_PX, MAX_SIDE_PX = 8, 64, 1024  # sides that a fully convolutional model accepts: multiples of 8
STYLE_LENGTH = 100  # number of values in a style vector
HOUSE_STYLE = "house"  # name of the first and default style: the mean over the training portraits

StyleVector = Float32[np.ndarray, "100"]

_tried: set[tuple[bytes, int | None]] = set()  # SHA-256 and side of the graphs that passed a trial run in this process


class ModelError(ValueError):
    """The file is not a usable exported model, or the device is not available."""


class Metadata(NamedTuple):
    """The metadata of a model file.

    Attributes:
        parts: the files of face detector and segmenter, and of the generator for examples if there is one, by name.
        crop: how selfies are cropped.
        mask: how persons are segmented.
        styles: style vectors by name, `house` first; empty if the model has only one style.
    """

    parts: dict[str, bytes]
    crop: CropParams
    mask: MaskParams
    styles: dict[str, StyleVector]


@dataclass(frozen=True)
class LoadedModel:
    """A validated model file, ready to run.

    Attributes:
        session: runs the generator.
        metadata: everything else that is needed to paint.
        card: the model card, in Markdown.
        any_side: whether the generator accepts pictures of any side; if not, the side must be `crop.size_px`.
        path: the file.
        device: "cpu", "cuda" or "coreml".
        threads: threads per picture; 0 uses all cores.
    """

    session: onnxruntime.InferenceSession
    metadata: Metadata
    card: str
    any_side: bool
    path: Path
    device: str
    threads: int

    @property
    def example_generator_name(self) -> str:
        """Name of the generator for examples, for messages."""
        return f"{self.path}: {EXAMPLE_GENERATOR} in `parts`"

    def open_example_generator(self) -> onnxruntime.InferenceSession:
        """Return a session with the generator that paints in the style of examples.

        If the file has no such generator, return `session`.

        Raises:
            ModelError: this generator is damaged, or its inputs and output differ from those of the generator.
        """
        data = self.metadata.parts.get(EXAMPLE_GENERATOR)
        if data is None:
            return self.session
        name, side = self.example_generator_name, self.metadata.crop.size_px
        session = _open_graph(name, self.path, data, self.device, self.threads, side)
        if _check_tensors(name, session, side, bool(self.metadata.styles)) != self.any_side:
            raise ModelError(
                f"{name}: of this graph and of the main graph, only one accepts any size; export the model again"
            )
        return session


def load_model(model: Path | str, device: str = "cpu", threads: int = 0) -> LoadedModel:
    """Load a model file, or `portraitist.onnx` from a folder.

    Raises:
        ModelError: the file is missing, damaged or not an exported model, or the device is not available.
    """
    path = Path(model)
    try:
        path = path / MODEL_FILE if path.is_dir() else path
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        hint = "install the package again" if path == DEFAULT_MODEL else "`make repro` creates models/portraitist"
        raise ModelError(f"{path}: no such file; {hint}, or choose another model") from error
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    verify_checksum(path, data)
    session = _open_graph(str(path), path, data, device, threads)
    try:
        entries = dict(session.get_modelmeta().custom_metadata_map)
    except Exception as error:  # text that is not UTF-8
        raise ModelError(f"{path}: metadata cannot be read: {trial_run.first_line(error)}") from error
    metadata = read_metadata(path, entries)
    any_side = _check_tensors(str(path), session, metadata.crop.size_px, bool(metadata.styles))
    return LoadedModel(session, metadata, entries.get("card", ""), any_side, path, device, threads)


def read_metadata(path: Path, entries: Mapping[str, str]) -> Metadata:
    """Parse a model's metadata entries.

    The entry `parts` contains the files of the face detector and the segmenter, and may contain `EXAMPLE_GENERATOR`.
    Files with other names are ignored.

    Raises:
        ModelError: the format version is not supported, or an entry is missing or malformed.
    """
    if entries.get("format") != FORMAT:
        found = entries.get("format", "unknown")[:20]
        raise ModelError(f"{path}: model format {found!r}, expected {FORMAT!r}; {remedy(path)}")
    try:
        crop, mask = CropParams(**json.loads(entries["crop"])), MaskParams(**json.loads(entries["mask"]))
        encoded = json.loads(entries["parts"])
        # read only known names: a malicious model may contain others, such as ../x
        names = (*DETECTOR_FILES, *SEGMENTER_FILES[mask.model])
        parts = {name: base64.b64decode(encoded[name], validate=True) for name in names}
        if EXAMPLE_GENERATOR in encoded:
            parts[EXAMPLE_GENERATOR] = base64.b64decode(encoded[EXAMPLE_GENERATOR], validate=True)
        styles = _read_styles(json.loads(entries.get("styles", "{}")))
    except (KeyError, ValueError, TypeError, RecursionError) as error:  # RecursionError: deeply nested JSON
        raise ModelError(
            f"{path}: metadata is missing or malformed: {trial_run.first_line(error)}; {remedy(path)}"
        ) from error
    return Metadata(parts, crop, mask, styles)


def _read_styles(content: object) -> dict[str, StyleVector]:
    """Convert the metadata entry `styles`, which maps names to lists of numbers, to style vectors.

    Raises:
        TypeError: the entry does not map names to lists of numbers.
        ValueError: the first style is not `house`, a name is not printable, or a vector is malformed.
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
    """Return two checksums of an ONNX file: the computed SHA-256, and the SHA-256 that the file itself contains.

    The second checksum is the value of the file's metadata entry `sha256`, or None if the file has no such entry. The
    exporter computed this value before it added the entry to the file. The first checksum is therefore also computed
    without the entry, from all other bytes.

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
    """Compare a model file with the checksum in its metadata, if there is one.

    Raises:
        ModelError: the checksum differs, or the bytes are not an ONNX file.
    """
    if not data:
        raise ModelError(f"{path}: the file is empty; {remedy(path)}")
    try:
        found, expected = content_checksum(data)
    except ValueError as error:
        raise ModelError(f"{path}: not an exported model, or damaged: {error}; {remedy(path)}") from error
    if expected is not None and found != expected:
        found, expected = f"{found[:16]}…", f"{expected[:16]}…"
        raise ModelError(f"{path}: damaged file: SHA-256 is {found}, expected {expected}; {remedy(path)}")


def remedy(path: Path) -> str:
    """Return what the user can do if a model file is damaged, for messages."""
    return "install the package again" if path == DEFAULT_MODEL else "copy or export the model again"


def _protobuf_fields(view: memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Yield (field number, start, start of the body, end) of each top-level field of a protocol buffer."""
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
            raise ValueError(f"malformed field at byte {at} of {len(view)}")
        yield tag >> 3, at, body, end
        at = end


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """Return the number encoded at byte `at` of a protocol buffer, and the index of the byte after it."""
    value = 0
    for place, byte in enumerate(view[at : at + 10]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError(f"malformed number at byte {at} of {len(view)}")


def _open_graph(
    name: str, path: Path, data: bytes, device: str, threads: int, side: int | None = None
) -> onnxruntime.InferenceSession:
    """Return a session with a graph; unless the file is the package's model, the graph must pass a trial run first.

    Args:
        name: name of the graph, for messages.
        path: the model file that contains the graph.
        data: the serialized graph.
        device: as in `load_model`.
        threads: as in `load_model`.
        side: as in `trial_run.try_graph`.
    """
    if path != DEFAULT_MODEL:  # the package's model is as trusted as the package's code
        _try_once(name, data, side)
    return _open_session(name, path, data, device, threads)


def _try_once(name: str, data: bytes, side: int | None) -> None:
    """Test a graph by a trial run, unless it passed one before in this process."""
    key = (hashlib.sha256(data).digest(), side)
    if key in _tried:
        return
    try:
        trial_run.try_graph(data, side)
    except trial_run.TrialError as error:
        raise ModelError(f"{name}: {error}") from error
    _tried.add(key)


def _open_session(name: str, path: Path, data: bytes, device: str, threads: int) -> onnxruntime.InferenceSession:
    available = [name for name, provider in DEVICES.items() if provider in onnxruntime.get_available_providers()]
    if device not in available:
        raise ModelError(f"device {device!r} is not available; this onnxruntime supports {', '.join(available)}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = trial_run.LOGGING_FATAL
    try:
        return onnxruntime.InferenceSession(data, options, providers=[DEVICES[device]])
    except Exception as error:  # onnxruntime's exceptions have no common base class
        reason = trial_run.first_line(error).rstrip(".")
        raise ModelError(f"{name}: the model cannot be loaded: {reason}; {remedy(path)}") from error


def _check_tensors(name: str, session: onnxruntime.InferenceSession, side: int, conditional: bool) -> bool:
    """Check the graph's declared inputs and output; return whether it accepts pictures of any side.

    Args:
        name: name of the graph, for messages.
        session: has loaded the graph.
        side: `crop.size_px`.
        conditional: whether the metadata have styles, so that the graph must have the input `styles`.
    """
    picture = ("tensor(uint8)", (None, side, side, 3))
    expected: dict[str, tuple[str, tuple[int | None, ...]]]
    expected = {"pictures": picture, "masks": ("tensor(uint8)", (None, side, side)), "painted": picture}
    if conditional:
        expected["styles"] = ("tensor(float)", (None, STYLE_LENGTH))
    found = {each.name: each for each in (*session.get_inputs(), *session.get_outputs())}
    if set(found) != set(expected):
        raise ModelError(
            f"{name}: the inputs and outputs of the ONNX graph are {', '.join(sorted(found))}; expected "
            f"{', '.join(sorted(expected))}; export the model again"
        )
    for tensor, (kind, shape) in expected.items():
        declared = list(found[tensor].shape)
        if found[tensor].type != kind or not _fits(declared, shape):
            raise ModelError(
                f"{name}: `{tensor}` is {found[tensor].type} of shape {declared}; expected {kind} of shape "
                f"{['batch', *shape[1:]]}; crop.size_px is {side} in the metadata, so a fixed size of pictures and "
                f"masks must be {side} x {side}; export the model again"
            )
    return not any(isinstance(size, int) for size in found["pictures"].shape[1:3])


def _fits(declared: list[Any], shape: tuple[int | None, ...]) -> bool:
    """Return whether the shape that a graph declares allows the required shape.

    Args:
        declared: the sizes of the axes in the graph; strings are symbolic sizes.
        shape: the required size of each axis; None if every size is allowed.
    """
    pairs = zip(declared, shape, strict=False)
    return len(declared) == len(shape) and all(
        not isinstance(size, int) or size == wanted or wanted is None for size, wanted in pairs
    )
