import base64
import io
import json
import os
import pickle
import re
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from app_helpers import encode, parts_of, resized, touching_people, with_margin, with_metadata
from PIL import Image
from toys import ROOT

import portraitist as portraitist_package
from portraitist.app.avatar import Portraitist, RejectedError
from portraitist.app.crop_painting import SELFIE_BLUR, blur_enlarged, paint_crop
from portraitist.app.framing import between, face_in_crop, scale_of, whole_crop
from portraitist.app.isolation import isolate_person
from portraitist.app.photo_border import continue_person, strip_width
from portraitist.app.selfie import read_selfie
from portraitist.app.stains import stain_weight, without_stains
from portraitist.clean.decode import decode_picture
from portraitist.core.image_io import encode_png
from portraitist.core.params import load
from portraitist.crop.align import crop_faces
from portraitist.crop.detector import FaceDetector
from portraitist.crop.geometry import warp
from portraitist.crop.params import CropParams
from portraitist.mask.params import MaskParams
from portraitist.mask.segmenter import Segmenter, person_mask


@pytest.fixture(scope="module")
def selfie(sample):
    return sorted((sample / "selfies").iterdir())[0]


@pytest.fixture(scope="module")
def portraitist(model):
    return Portraitist(model)


@pytest.fixture(scope="module")
def avatar(portraitist, selfie):
    return portraitist.paint(selfie)


@pytest.fixture(scope="module")
def two(sample):
    """A photo of two persons; the larger one is on the right."""
    left, right = (Image.open(sample / "selfies" / f"{number:04d}.jpg") for number in (0, 6))
    photo = Image.new("RGB", (480, 256), (120, 140, 130))
    photo.paste(left.resize((176, 176)), (20, 60))
    photo.paste(right, (224, 0))
    return photo


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_mask_contains_only_one_of_two_people(portraitist, sample, monkeypatch, mode):
    cleaned = read_selfie(touching_people(sample).convert(mode))
    crops = portraitist.crops(cleaned)
    if mode == "RGB":
        monkeypatch.setattr(portraitist, "mask", lambda crop: np.full(crop.square.inside.shape, 255, np.uint8))
    faces = [crop.face for crop in crops]
    assert [crop.other_faces for crop in crops] == [(faces[1],), (faces[0],)]
    for crop in crops:
        mask = portraitist.person(cleaned, crop)
        scale = mask.shape[0] / crop.square.inside.shape[0]
        shown = []
        for face in (crop.face, *crop.other_faces):
            x, y, length = np.rint(scale * np.array(face_in_crop(crop, face))).astype(int).tolist()
            shown.append(mask[cv2.circle(np.zeros_like(mask), (x, y), length // 2, 1, -1) > 0].mean())
        assert shown == [255, 0]


def test_crop_and_mask_are_those_of_the_stages(portraitist, selfie, pretrained):
    crop_params, mask_params = load(CropParams, "crop", ROOT), load(MaskParams, "mask", ROOT)
    expected = crop_faces(decode_picture(selfie.read_bytes()), FaceDetector(pretrained), crop_params)[0]
    (crop,) = portraitist.crops(read_selfie(selfie))
    assert crop.square.members() == expected.square.members()
    segmenter = Segmenter(pretrained, mask_params.model)
    assert encode_png(portraitist.mask(crop)) == encode_png(
        person_mask(expected.square, segmenter, mask_params, crop_params)
    )


def test_generator_gets_the_isolated_person(avatar, portraitist, selfie):
    isolated, area = isolate_person(avatar.crop, avatar.cutout)
    square = isolated.square.picture
    with Image.open(selfie) as opened:
        size = opened.size
    shown, _ = continue_person(area, avatar.crop.square.inside, strip_width(area.shape[0]))
    stylized = [
        paint_crop(lambda picture, given: portraitist.paint_squares([picture], [given])[0], isolated, mask, size)
        for mask in (area, 255 - area)
    ]
    expected, inverted = (without_stains(each, square, shown, stain_weight(avatar.crop)) for each in stylized)
    assert np.array_equal(avatar.painting, expected)
    assert not np.array_equal(avatar.painting, inverted)
    assert np.abs(expected.astype(int) - square)[area == 255].mean() > 5


def test_every_kind_of_source_gives_the_same_avatar(avatar, portraitist, selfie):
    with Image.open(selfie) as opened:
        picture = opened.convert("RGB")
    data = selfie.read_bytes()
    for source in (str(selfie), data, bytearray(data), io.BytesIO(data), picture, np.array(picture)):
        assert np.array_equal(portraitist.paint(source).picture, avatar.picture)
    with selfie.open("rb") as file:
        assert np.array_equal(portraitist.paint(file).picture, avatar.picture)


def run_python(program, *arguments):
    """Run a program without the type checks of the tests, and return its last line on stderr."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", program, *arguments]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return process.stderr.splitlines()[-1]


@pytest.mark.parametrize(("source", "kind"), [("[1, 2]", "list"), ("io.StringIO('me.jpg')", "StringIO")])
def test_other_types_are_a_type_error(source, kind):
    program = f"import io; from portraitist.app.selfie import read_selfie; read_selfie({source})"
    message = run_python(program)
    assert message.startswith("TypeError: ")
    assert message.endswith(kind)


def test_file_in_text_mode_is_a_type_error(tmp_path):
    Image.new("RGB", (64, 64), "red").save(tmp_path / "me.jpg")
    message = run_python(
        "import sys; from portraitist.app.selfie import read_selfie; read_selfie(open(sys.argv[1]))",
        tmp_path / "me.jpg",
    )
    assert message.startswith("TypeError: ")
    assert message.endswith("TextIOWrapper")


def test_pipe_is_read_to_its_end(selfie):
    class SlowPipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = io.BytesIO(selfie.read_bytes())

        def read(self, size=-1):
            return self.data.read(min(size, 1000))

    assert np.array_equal(read_selfie(SlowPipe()).picture, read_selfie(selfie).picture)


def test_reading_stops_at_the_size_limit(tmp_path):
    large = tmp_path / "large.jpg"
    with large.open("wb") as file:
        file.truncate(10**12)
    for path in (large, "/dev/zero"):
        with pytest.raises(RejectedError, match="64 megabytes"):
            read_selfie(path)


def test_aligned_avatar_has_level_eyes(portraitist, selfie):
    params, avatar = load(CropParams, "crop", ROOT), portraitist.paint(selfie, align=True, size_px=256)
    mapped = avatar.landmarks @ avatar.transform[:, :2].T + avatar.transform[:, 2]
    eyes = (mapped[0] + mapped[1]) / 2
    assert eyes == pytest.approx([128, params.eye_line * 256], abs=0.1)
    assert mapped[0, 1] == pytest.approx(mapped[1, 1], abs=0.1)
    assert mapped[0, 0] < eyes[0] < mapped[1, 0]


def test_transform_maps_the_selfie_to_the_avatar(avatar, selfie):
    assert avatar.transform[0, 1] == 0  # the avatar is not rotated
    expected = warp(read_selfie(selfie).picture, avatar.transform, avatar.size_px, cv2.BORDER_REPLICATE).astype(int)
    covered = warp(
        avatar.crop.square.inside, between(avatar.crop.transform, avatar.transform), 512, cv2.BORDER_CONSTANT
    )
    assert avatar.selfie.shape == avatar.picture.shape == (512, 512, 3)
    assert np.abs(avatar.selfie - expected)[covered == 255].mean() < 8


class FreeSession:
    """A session of a graph that accepts any side and returns the selfie."""

    def __init__(self, side):
        self.side = side

    def get_inputs(self):
        return [SimpleNamespace(name="pictures", shape=["n", self.side, self.side, 3])]

    def run(self, names, inputs, options):
        self.given = inputs
        return [inputs["pictures"]]


def with_side(model, side):
    portraitist = Portraitist(model)
    portraitist._generator.session, portraitist.any_side = FreeSession(side), isinstance(side, str)
    return portraitist


def test_selfie_is_enlarged_at_most_four_times_before_it_is_painted(model, selfie):
    portraitist = with_side(model, "side")
    sharp = portraitist.paint(resized(selfie, 1200), size_px=512)
    small = portraitist.paint(resized(selfie, 120), size_px=1024)
    for avatar in (sharp, small):
        assert avatar.painting.shape[0] % 8 == 0
    assert 480 < sharp.painted_px <= 512
    assert 3.9 < scale_of(small.crop) <= 4
    assert 256 < small.painted_px <= 480 < small.size_px


@pytest.mark.parametrize("side", [1200, 120])
def test_only_enlarged_selfies_are_blurred_for_the_generator(model, selfie, side):
    portraitist = with_side(model, "side")
    avatar = portraitist.paint(with_margin(selfie, side), size_px=512)
    square, scale = isolate_person(avatar.crop, avatar.cutout)[0].square.picture, scale_of(avatar.crop)
    (given,) = portraitist._generator.session.given["pictures"]
    assert np.array_equal(given, blur_enlarged(square, scale, SELFIE_BLUR))
    assert np.array_equal(given, square) == (side == 1200)


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_strength_blends_with_the_selfie_before_the_blur(portraitist, selfie, strength):
    small = resized(selfie, 120)
    whole = portraitist.paint(small)
    square = isolate_person(whole.crop, whole.cutout)[0].square.picture
    expected = square + strength * (whole.painting.astype(float) - square)
    assert np.abs(portraitist.paint(small, strength=strength).painting - expected).max() <= 1


def test_background_of_a_small_photo_stays_sharp(portraitist, selfie):
    small = np.array(resized(selfie, 160))
    small[:, :30] = np.random.default_rng(4).integers(0, 256, (160, 30, 3))
    avatar = portraitist.paint(small)
    background = avatar.cutout == 0
    kept = replace(avatar, frame=whole_crop(avatar.crop), size_px=avatar.painting.shape[0]).picture
    assert np.array_equal(kept[background], avatar.crop.square.picture[background])


def test_painting_of_a_black_and_white_selfie_has_one_tint(portraitist, selfie):
    with Image.open(selfie) as opened:
        grey = opened.convert("L")
    avatar = portraitist.paint(grey)
    person = avatar.painting[avatar.cutout > 127].astype(int)
    coloured = portraitist.paint(selfie)
    spread = np.ptp(person[:, 0] - person[:, 2])
    assert spread < 0.3 * np.ptp(np.subtract(*coloured.painting[coloured.cutout > 127].astype(int)[:, ::2].T))


def test_model_of_a_fixed_side_paints_at_that_side(model, selfie):
    portraitist = with_side(model, 64)
    trained = portraitist.crop_params.size_px
    avatar = portraitist.paint(selfie, size_px=512)
    assert avatar.painting.shape[:2] == (trained, trained)
    assert avatar.painted_px <= trained
    assert avatar.image.size == (512, 512)


def test_faces_are_sorted_by_size(portraitist, two):
    avatars = portraitist.paint_all(two)
    assert [round(avatar.landmarks[2, 0]) > 224 for avatar in avatars] == [True, False]
    assert np.array_equal(portraitist.paint(two).picture, avatars[0].picture)
    assert len(portraitist.paint_all(two, faces="largest")) == 1


@pytest.mark.parametrize("size_px", [15, 1025, 0, -5])
def test_sizes_that_cannot_be_painted_are_a_value_error(portraitist, selfie, size_px):
    with pytest.raises(ValueError, match=f"size_px is {size_px}; allowed are 16 to 1024"):
        portraitist.paint(selfie, size_px=size_px)


def test_unknown_face_selection_is_a_value_error(model, selfie):
    program = (
        "import sys\nfrom portraitist import Portraitist\nPortraitist(sys.argv[1]).paint_all(sys.argv[2], faces='all')"
    )
    message = run_python(program, str(model), str(selfie))
    assert message == "ValueError: faces is 'all'; allowed are largest and each"


def encode_fast(picture):
    return encode(picture, "PNG", compress_level=1)


@pytest.mark.parametrize("convert", [encode_fast, Image.Image.copy, np.array], ids=["bytes", "picture", "pixels"])
def test_size_limits_hold_for_every_source(convert):
    for size, message in (((40, 15), "40 x 15"), ((7200, 7000), "50 megapixels")):
        with pytest.raises(RejectedError, match=message):
            read_selfie(convert(Image.new("RGB", size)))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((64, 80, 3)), "float64, 64 x 80 x 3"),
        (np.zeros((64, 80, 3), np.uint16), "uint16"),
        (np.zeros((64, 80), np.uint8), "uint8, 64 x 80$"),
        (np.zeros((0, 0, 3), np.uint8), "0 x 0"),
        (np.zeros((3, 64, 80), np.uint8), "uint8, 3 x 64 x 80"),
    ],
)
def test_arrays_that_are_not_rgb_are_rejected(pixels, message):
    with pytest.raises(RejectedError, match=message):
        read_selfie(pixels)


def test_threads_can_share_a_model(portraitist, sample):
    selfies = sorted((sample / "selfies").iterdir())[:6]
    alone = [portraitist.paint(path).picture for path in selfies]
    ready = threading.Barrier(3)

    def paint(order):
        ready.wait()
        return {index: portraitist.paint(selfies[index]).picture for index in order}

    with ThreadPoolExecutor(3) as pool:
        for pictures in pool.map(paint, ([0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [2, 0, 4, 1, 5, 3])):
            for index, picture in pictures.items():
                assert np.array_equal(picture, alone[index])


def test_person_has_no_background_colour_at_its_edge(portraitist, sample):
    with Image.open(sample / "selfies" / "0006.jpg") as opened:
        selfie = np.array(opened.convert("RGB"))
    avatar = portraitist.paint(selfie)
    edge = (avatar.mask > 25) & (avatar.mask < 230)
    inner = avatar.mask == 255
    assert edge.sum() > 50

    def brightness(picture, where):
        return float(picture[where].mean())

    assert brightness(avatar.selfie, avatar.mask == 0) > brightness(avatar.picture, inner) + 40
    assert abs(brightness(avatar.person, edge) - brightness(avatar.person, inner)) < 0.6 * abs(
        brightness(avatar.picture, edge) - brightness(avatar.picture, inner)
    )


def test_rotated_heic_is_read_upright(avatar, portraitist, selfie):
    with Image.open(selfie) as opened:
        rotated, exif = opened.convert("RGB").transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    # with an Exif object instead of bytes, the writer would not rotate
    rotated.save(buffer, "HEIF", quality=95, exif=exif.tobytes())
    assert b"ftypheic" in buffer.getvalue()[:32]
    found = portraitist.paint(buffer.getvalue())
    assert found.landmarks == pytest.approx(avatar.landmarks, abs=2)


def test_twelve_megapixels_are_decoded_at_half_size():
    picture = np.random.default_rng(1).integers(0, 256, (63, 84, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture).resize((4032, 3024)).save(buffer, "JPEG", quality=60)
    assert read_selfie(buffer.getvalue()).picture.shape == (1512, 2016, 3)


def test_close_up_is_painted(portraitist, avatar, selfie):
    with Image.open(selfie) as opened:
        left, top = avatar.landmarks[:, 0].min() - 6, avatar.landmarks[:, 1].min() - 12
        right, bottom = avatar.landmarks[:, 0].max() + 6, avatar.landmarks[:, 1].max() + 24
        close_up = opened.convert("RGB").crop((round(left), round(top), round(right), round(bottom))).resize((300, 300))
    assert (portraitist.paint(close_up).mask > 127).mean() > 0.3


def test_picture_without_a_face_is_rejected(portraitist):
    with pytest.raises(RejectedError, match=r"no face .* 80 x 64"):
        portraitist.paint(encode_png(np.full((64, 80, 3), 90, np.uint8)))


@pytest.mark.parametrize("data", [b"hello", b""])
def test_bytes_that_are_not_a_picture_are_rejected(portraitist, data):
    with pytest.raises(RejectedError, match="not a picture"):
        portraitist.paint(data)


def test_every_precision_opens_and_paints_alike(model, avatar, selfie):
    for name in ("portraitist.onnx", "portraitist.fp16.onnx", "portraitist.int8.onnx"):
        opened = Portraitist(str(model / name), threads=1)
        assert opened.card == "A card."
        assert np.abs(opened.paint(selfie).painting.astype(int) - avatar.painting).max() <= 6
    assert opened.crop_params == load(CropParams, "crop", ROOT)


def test_missing_card_is_empty(model, tmp_path):
    assert Portraitist(with_metadata(model, tmp_path / "x.onnx", card=None)).card == ""


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no files in memory on this system")
def test_painting_needs_no_temporary_folder(model, selfie, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    Portraitist(model).paint(selfie)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_process_paints_after_its_parent_has_ended(model, selfie):
    """As in a server that forks its workers. A new thread in the child process loads the networks again."""
    program = (
        "import os, sys, threading, time\nfrom portraitist import Portraitist\n"
        "portraitist, parent = Portraitist(sys.argv[1], threads=1), os.getpid()\n"
        "if os.fork(): sys.exit()\n"
        "while os.getppid() == parent: time.sleep(0.01)\n"
        "threading.Thread(target=lambda: print(portraitist.paint(sys.argv[2]).picture.shape)).start()"
    )
    command = [sys.executable, "-c", program, str(model), str(selfie)]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout  # until the child ends
    assert output.startswith("(")


def test_file_names_in_a_model_are_ignored(model, tmp_path, monkeypatch, selfie, avatar):
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    evil = base64.b64encode(b"evil").decode("ascii")
    names = ("../x", "../../x", str(tmp_path / "x"), "x")
    path = with_metadata(model, tmp_path / "evil.onnx", parts=json.dumps(parts_of(model) | dict.fromkeys(names, evil)))
    assert np.array_equal(Portraitist(path).paint(selfie).picture, avatar.picture)
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["evil.onnx"]


def test_package_exports_are_imported_on_first_use():
    program = (
        "import sys, portraitist; assert 'portraitist.app.avatar' not in sys.modules; import portraitist.core.params;"
        "from portraitist import Avatar, Portraitist; from portraitist.app import avatar;"
        "assert (Avatar, Portraitist) == (avatar.Avatar, avatar.Portraitist)"
    )
    subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, check=True)
    with pytest.raises(AttributeError, match=r"'Painter'.* Avatar, Portraitist"):
        portraitist_package.__getattr__("Painter")


def test_static_site_reads_only_existing_parameters():
    scripts = "".join(path.read_text("utf-8") for path in (ROOT / "src/portraitist/app/static_site").glob("*.js"))
    crop = set(re.findall(r"\b(?:config\.crop|params)\.(\w+)", scripts))
    assert crop == crop & set(CropParams.model_fields)
    mask = set(re.findall(r"\bconfig\.mask\.(\w+)", scripts))
    assert mask == mask & set(MaskParams.model_fields)
    assert {"min_visible", "min_relative_size"} <= crop


def test_avatars_can_be_compared_and_shown(portraitist, selfie, avatar):
    again = portraitist.paint(selfie)
    assert avatar in {again, avatar}
    assert avatar != again
    assert repr(avatar) == f"<Avatar of {avatar.size_px} x {avatar.size_px} px, painted at {avatar.painted_px} px>"


def test_rejection_can_be_passed_between_processes(portraitist):
    with pytest.raises(RejectedError) as caught:
        portraitist.paint(np.full((64, 64, 3), 255, np.uint8))
    received = pickle.loads(pickle.dumps(caught.value))
    assert (type(received), received.status, str(received)) == (RejectedError, caught.value.status, str(caught.value))


def test_open_file_is_read_from_its_start(portraitist, selfie, avatar):
    with tempfile.NamedTemporaryFile() as file:
        file.write(selfie.read_bytes())
        assert np.array_equal(portraitist.paint(file).picture, avatar.picture)
