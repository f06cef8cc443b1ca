import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from PIL import Image
from toys import ROOT, checkpoint

import portraitist as portraitist_package
from portraitist.app.avatar import ModelError, Portraitist, RejectedError, read_selfie
from portraitist.clean.decode import decode_picture
from portraitist.core.image_io import encode_png
from portraitist.core.params import load
from portraitist.crop import detector
from portraitist.crop.align import crop_faces
from portraitist.crop.detector import FaceDetector
from portraitist.crop.params import CropParams
from portraitist.mask import segmenter
from portraitist.mask.params import MaskParams
from portraitist.mask.segmenter import Segmenter, person_mask


@pytest.fixture(scope="module")
def selfie(sample):
    return sorted((sample / "selfies").iterdir())[0]


@pytest.fixture(scope="module")
def portraitist(model):
    return Portraitist.open(model)


@pytest.fixture(scope="module")
def avatar(portraitist, selfie):
    return portraitist.paint(selfie)


@pytest.fixture(scope="module")
def two(sample):
    """A photo of two persons, the larger one at the right."""
    left, right = (Image.open(sample / "selfies" / f"{number:04d}.jpg") for number in (0, 6))
    photo = Image.new("RGB", (480, 256), (120, 140, 130))
    photo.paste(left.resize((176, 176)), (20, 60))
    photo.paste(right, (224, 0))
    return photo


def test_a_selfie_goes_through_the_very_crop_and_mask_of_the_stages(avatar, selfie, pretrained):
    frame, masking = load(CropParams, "crop", ROOT), load(MaskParams, "mask", ROOT)
    made = crop_faces(decode_picture(selfie.read_bytes()), FaceDetector(pretrained), frame)[0]
    assert avatar.crop.square.members() == made.square.members()
    assert encode_png(avatar.mask) == encode_png(
        person_mask(made.square, Segmenter(pretrained, masking.model), masking, frame)
    )


def test_it_is_painted_with_its_own_mask(avatar, portraitist):
    square = avatar.crop.square.picture
    (own,) = portraitist.paint_squares([square], [avatar.mask])
    (other,) = portraitist.paint_squares([square], [255 - avatar.mask])
    assert np.array_equal(avatar.picture, own)
    assert not np.array_equal(avatar.picture, other)
    assert np.abs(own.astype(int) - square)[avatar.mask == 255].mean() > 5
    assert np.array_equal(own[avatar.mask == 0], square[avatar.mask == 0])


def test_a_selfie_may_be_a_path_its_bytes_a_picture_or_its_pixels(avatar, portraitist, selfie):
    with Image.open(selfie) as opened:
        picture = opened.convert("RGB")
    data = selfie.read_bytes()
    for source in (str(selfie), data, bytearray(data), io.BytesIO(data), picture, np.array(picture)):
        assert np.array_equal(portraitist.paint(source).picture, avatar.picture)
    with selfie.open("rb") as file:
        assert np.array_equal(portraitist.paint(file).picture, avatar.picture)


def test_what_is_no_selfie_at_all_is_told_with_what_may_be_one():
    program = "import io; from portraitist.avatar import read_selfie; read_selfie(eval({!r}))"
    for given, kind in (("[1, 2]", "list"), ("io.StringIO('me.jpg')", "StringIO")):  # types are checked before, here
        command, environment = (
            [sys.executable, "-c", program.format(given)],
            os.environ | {"PYTHONPATH": str(ROOT / "src")},
        )
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        allowed = "a path, a file's bytes, a file open to read bytes, a PIL picture, or RGB pixels"
        assert done.stderr.splitlines()[-1] == f"TypeError: a selfie is {allowed}; not a {kind}"


def test_of_a_file_that_is_too_large_or_has_no_end_no_more_is_read_than_allowed(tmp_path):
    large = tmp_path / "large.jpg"
    with large.open("wb") as file:
        file.truncate(10**12)
    for path in (large, "/dev/zero"):
        with pytest.raises(RejectedError, match="more than 64 megabytes; no more are read"):
            read_selfie(path)


def test_landmarks_stand_in_the_selfie_and_the_transform_takes_them_to_the_avatar(avatar):
    frame = load(CropParams, "crop", ROOT)
    there = avatar.landmarks @ avatar.transform[:, :2].T + avatar.transform[:, 2]
    eyes = (there[0] + there[1]) / 2
    assert eyes == pytest.approx([frame.size_px / 2, frame.eye_line * frame.size_px], abs=0.01)
    assert there[0, 0] < eyes[0] < there[1, 0]


def test_several_faces_are_several_avatars_the_largest_first(portraitist, two):
    made = portraitist.paint_all(two)
    assert [round(one.landmarks[2, 0]) > 224 for one in made] == [True, False]
    assert np.array_equal(portraitist.paint(two).picture, made[0].picture)
    assert len(portraitist.paint_all(two, faces="largest")) == 1


def test_which_faces_is_said_in_the_commands_words_and_no_other(model, selfie):
    program = (  # a process of its own: here, arguments are checked before the function is
        "from portraitist import Portraitist\n"
        f"portraitist = Portraitist.open({str(model)!r})\n"
        f"portraitist.paint_all({str(selfie)!r}, faces='all')"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "ValueError: faces is 'all'; allowed are largest and each"


def encoded_png(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


@pytest.mark.parametrize("given", [encoded_png, Image.Image.copy, np.array], ids=["bytes", "picture", "pixels"])
def test_what_is_too_small_or_too_large_is_refused_however_it_comes(given):
    for size, told in (((40, 15), "40 x 15 pixels; each side needs 16"), ((7200, 7000), "at most 50 megapixels")):
        with pytest.raises(RejectedError, match=told):
            read_selfie(given(Image.new("RGB", size)))


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        (np.zeros((64, 80, 3)), "an array of float64, 64 x 80 x 3; height x width x 3 of uint8 is expected"),
        (np.zeros((64, 80, 3), np.uint16), "an array of uint16"),
        (np.zeros((64, 80), np.uint8), "an array of uint8, 64 x 80;"),
        (np.zeros((0, 0, 3), np.uint8), "0 x 0 pixels; each side needs 16"),
        (np.zeros((3, 64, 80), np.uint8), "an array of uint8, 3 x 64 x 80;"),
    ],
)
def test_an_array_that_is_no_picture_is_refused_with_what_is_expected(pixels, told):
    with pytest.raises(RejectedError, match=told):
        read_selfie(pixels)


def test_threads_that_share_one_see_their_own_selfies_only(portraitist, sample):
    selfies = sorted((sample / "selfies").iterdir())[:6]
    alone = [portraitist.paint(path).picture for path in selfies]
    ready = threading.Barrier(3)

    def paint(order):
        ready.wait()
        return {place: portraitist.paint(selfies[place]).picture for place in order}

    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(paint, ([0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [2, 0, 4, 1, 5, 3])):
            for place, picture in found.items():
                assert np.array_equal(picture, alone[place])


def test_the_persons_own_colours_hold_nothing_of_the_background(portraitist, sample):
    with Image.open(sample / "selfies" / "0006.jpg") as opened:
        selfie = np.array(opened.convert("RGB"))
    avatar = portraitist.paint(selfie)
    edge = (avatar.mask > 25) & (avatar.mask < 230)
    inner = avatar.mask == 255
    light = lambda picture, where: float(picture[where].mean())
    assert edge.sum() > 50
    assert light(avatar.crop.square.picture, avatar.mask == 0) > light(avatar.picture, inner) + 40  # a light background
    assert abs(light(avatar.person, edge) - light(avatar.person, inner)) < 0.6 * abs(
        light(avatar.picture, edge) - light(avatar.picture, inner)
    )


def test_a_phones_heic_is_read_and_turned(avatar, portraitist, selfie):
    with Image.open(selfie) as opened:
        lying, exif = opened.convert("RGB").transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    lying.save(buffer, "HEIF", quality=95, exif=exif.tobytes())  # bytes, or the writer does not turn
    assert b"ftypheic" in buffer.getvalue()[:32]
    found = portraitist.paint(buffer.getvalue())
    assert found.landmarks == pytest.approx(avatar.landmarks, abs=2)


def test_a_twelve_megapixel_jpeg_is_decoded_at_half_its_size():
    picture = np.random.default_rng(1).integers(0, 256, (63, 84, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture).resize((4032, 3024)).save(buffer, "JPEG", quality=60)
    assert read_selfie(buffer.getvalue()).picture.shape == (1512, 2016, 3)


def test_a_face_that_fills_the_picture_is_painted(portraitist, avatar, selfie):
    with Image.open(selfie) as opened:
        left, top = avatar.landmarks[:, 0].min() - 6, avatar.landmarks[:, 1].min() - 12
        right, low = avatar.landmarks[:, 0].max() + 6, avatar.landmarks[:, 1].max() + 24
        near = opened.convert("RGB").crop((round(left), round(top), round(right), round(low))).resize((300, 300))
    assert (portraitist.paint(near).mask > 127).mean() > 0.3


def test_a_picture_without_a_face_is_refused_with_what_was_found(portraitist):
    with pytest.raises(RejectedError, match="no face found in the 80 x 64 picture"):
        portraitist.paint(encode_png(np.full((64, 80, 3), 90, np.uint8)))


@pytest.mark.parametrize(("data", "told"), [(b"hello", "not a picture"), (b"", "not a picture")])
def test_bytes_that_are_no_picture_are_refused(portraitist, data, told):
    with pytest.raises(RejectedError, match=told):
        portraitist.paint(data)


def test_a_file_opens_as_its_folder_does_and_shows_its_card(model, avatar, selfie):
    for name in ("portraitist.onnx", "portraitist.fp16.onnx", "portraitist.int8.onnx"):
        opened = Portraitist.open(str(model / name), threads=1)
        assert opened.card == "A card."
        assert np.abs(opened.paint(selfie).picture.astype(int) - avatar.picture).max() <= 4
    assert opened.crop_params == load(CropParams, "crop", ROOT)


def test_what_is_no_model_is_refused_by_name(model, tmp_path):
    with pytest.raises(ModelError, match=r"portraitist\.onnx: no such file; `make repro` makes it"):
        Portraitist.open(tmp_path / "portraitist.onnx")
    with pytest.raises(ModelError, match=r"model\.pt: not a model that stage export left"):
        Portraitist.open(checkpoint(tmp_path / "model.pt"))
    with pytest.raises(ModelError, match="device 'tpu' is not there; this onnxruntime has cpu"):
        Portraitist.open(model, device="tpu")
    old = onnx.load(model / "portraitist.onnx")
    next(entry for entry in old.metadata_props if entry.key == "format").value = json.dumps(1)
    onnx.save(old, tmp_path / "old.onnx")
    with pytest.raises(ModelError, match=r"old\.onnx: format 1; this version reads 2"):
        Portraitist.open(tmp_path / "old.onnx")


def retold(model, dest, **told):
    """The model with some of its metadata told anew; None is not told at all."""
    other = onnx.load(model / "portraitist.onnx")
    kept = {entry.key: entry.value for entry in other.metadata_props} | told
    del other.metadata_props[:]
    for key, value in kept.items():
        if value is not None:
            other.metadata_props.add(key=key, value=value)
    onnx.save(other, dest)
    return dest


def parts_of(model):
    told = {entry.key: entry.value for entry in onnx.load(model / "portraitist.onnx").metadata_props}
    return json.loads(told["parts"])


def test_a_strangers_model_writes_no_file_of_its_own_choice(model, tmp_path, monkeypatch, selfie, avatar):
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    evil = base64.b64encode(b"evil").decode("ascii")
    names = ("../x", "../../x", str(tmp_path / "x"), "x")
    path = retold(model, tmp_path / "evil.onnx", parts=json.dumps(parts_of(model) | dict.fromkeys(names, evil)))
    opened = Portraitist.open(path)
    assert np.array_equal(opened.paint(selfie).picture, avatar.picture)
    assert {one.name for one in tmp_path.rglob("*") if one.is_file()} == {
        "evil.onnx",
        *detector.DETECTOR_FILES,
        *segmenter.SEGMENTER_FILES["refined"],
    }


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"parts": None}, "'parts'"),
        ({"parts": "{}"}, "'face_full_range.tflite'"),
        ({"parts": "[]"}, "list indices must be"),
        ({"parts": json.dumps({detector.DETECTOR_FILES[0]: 1})}, "argument should be"),
        ({"parts": json.dumps({detector.DETECTOR_FILES[0]: "?"})}, "base64"),
        ({"crop": "{"}, "Expecting property name"),
        ({"crop": json.dumps({"size_px": 64})}, "validation errors for CropParams"),
        ({"mask": "7"}, "must be a mapping"),
    ],
)
def test_metadata_that_are_missing_or_broken_are_told_in_one_line(model, tmp_path, told, why):
    with pytest.raises(ModelError, match=r"x\.onnx: something of its metadata is missing or broken: ") as raised:
        Portraitist.open(retold(model, tmp_path / "x.onnx", **told))
    assert why in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_detector_that_is_broken_is_told_and_a_card_that_is_missing_is_empty(model, tmp_path):
    broken = parts_of(model) | {detector.DETECTOR_FILES[1]: base64.b64encode(b"broken").decode("ascii")}
    with pytest.raises(ModelError, match=r"x\.onnx: its detector or its segmenter is broken"):
        Portraitist.open(retold(model, tmp_path / "x.onnx", parts=json.dumps(broken)))
    assert Portraitist.open(retold(model, tmp_path / "y.onnx", card=None)).card == ""


def test_the_package_hands_on_the_products_names_and_loads_nothing_until_they_are_asked_for():
    program = (
        "import sys, portraitist; assert 'portraitist.avatar' not in sys.modules; import portraitist.params;"
        "from portraitist import Avatar, Portraitist, avatar;"
        "assert (Avatar, Portraitist) == (avatar.Avatar, avatar.Portraitist)"
    )
    subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, check=True)
    with pytest.raises(AttributeError, match="has no attribute 'Painter'; it has Avatar, Portraitist"):
        portraitist_package.__getattr__("Painter")
