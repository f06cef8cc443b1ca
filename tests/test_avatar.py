import numpy as np
import pytest
from toys import ROOT, checkpoint

from portraitist.avatar import AT_ONCE, CheckpointError, Portraitist, RefusedError
from portraitist.clean import read
from portraitist.crop import FaceDetector, crop_face
from portraitist.mask import Segmenter, person_mask
from portraitist.params import CropParams, MaskParams, load
from portraitist.pictures import encode, over


@pytest.fixture(scope="module")
def selfie(sample):
    return sorted((sample / "selfies").iterdir())[0]


@pytest.fixture(scope="module")
def portraitist(pretrained, tmp_path_factory):
    return Portraitist.open(checkpoint(tmp_path_factory.mktemp("models") / "model.pt"), pretrained)


@pytest.fixture(scope="module")
def avatar(portraitist, selfie):
    return portraitist.paint(selfie)


def test_a_selfie_goes_through_the_very_crop_and_mask_of_the_stages(avatar, selfie, pretrained):
    frame, masking = load(CropParams, "crop", ROOT), load(MaskParams, "mask", ROOT)
    crop = crop_face(read(selfie.read_bytes()), FaceDetector(pretrained), frame)
    assert avatar.crop.square.members() == crop.square.members()
    assert encode(avatar.mask) == encode(person_mask(crop.square, Segmenter(pretrained, masking.model), masking, frame))


def test_what_is_painted_is_what_stage_paint_paints_of_the_same_square(avatar, portraitist):
    (painted,) = portraitist.paint_squares([avatar.crop.square.picture], [avatar.mask])
    assert np.array_equal(avatar.picture, painted)
    assert np.abs(painted.astype(int) - avatar.crop.square.picture)[avatar.mask == 255].mean() > 5


def test_it_is_painted_with_its_own_mask(avatar, portraitist):
    (other,) = portraitist.paint_squares([avatar.crop.square.picture], [255 - avatar.mask])
    assert not np.array_equal(avatar.picture, other)


def test_a_path_and_its_bytes_are_the_same_selfie(avatar, portraitist, selfie):
    assert np.array_equal(portraitist.paint(selfie.read_bytes()).picture, avatar.picture)
    assert np.array_equal(portraitist.paint(str(selfie)).picture, avatar.picture)


def test_transparent_is_the_painted_picture_with_the_mask_as_alpha(avatar):
    pixels = np.array(avatar.transparent())
    assert pixels.shape == (*avatar.mask.shape, 4)
    assert np.array_equal(pixels[..., 3], avatar.mask)
    assert np.array_equal(pixels[..., :3], avatar.picture)
    assert {0, 255} <= set(avatar.mask.ravel().tolist())


def test_before_a_colour_the_person_stands_on_that_colour(avatar):
    pixels = np.array(avatar.before((10, 200, 30)))
    assert (pixels[avatar.mask == 0] == (10, 200, 30)).all()
    assert np.array_equal(pixels[avatar.mask == 255], avatar.picture[avatar.mask == 255])
    assert np.array_equal(pixels, over(avatar.picture, avatar.mask, (10, 200, 30)))


def test_as_painted_keeps_the_selfies_own_background(avatar):
    pixels = np.array(avatar.as_painted())
    assert np.array_equal(pixels, avatar.picture)
    assert np.array_equal(pixels[avatar.mask == 0], avatar.crop.square.picture[avatar.mask == 0])


def test_more_squares_than_go_at_once_are_painted_all_and_in_their_order(portraitist):
    rng = np.random.default_rng(1)
    squares = [rng.integers(0, 256, (16, 16, 3), np.uint8) for _ in range(AT_ONCE + 2)]
    masks = [rng.integers(0, 2, (16, 16), np.uint8) * 255 for _ in squares]
    painted = portraitist.paint_squares(squares, masks)
    assert len(painted) == AT_ONCE + 2
    for place in (0, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1):
        (alone,) = portraitist.paint_squares(squares[place : place + 1], masks[place : place + 1])
        assert np.abs(painted[place].astype(int) - alone).max() <= 1


def test_a_picture_without_a_face_is_refused_with_what_was_found(portraitist):
    with pytest.raises(RefusedError, match="no face found in the 80 x 64 picture"):
        portraitist.paint(encode(np.full((64, 80, 3), 90, np.uint8)))


def test_bytes_that_are_no_picture_are_refused(portraitist):
    with pytest.raises(RefusedError, match="not a picture"):
        portraitist.paint(b"hello")


@pytest.mark.parametrize("name", ["unet_mask", "perceptual"])
def test_a_model_that_does_not_paint_is_refused(name, pretrained, tmp_path):
    with pytest.raises(CheckpointError, match=rf"mask\.pt: holds {name}, which does not paint"):
        Portraitist.open(checkpoint(tmp_path / "mask.pt", name), pretrained)


def test_pretrained_parts_lie_beside_the_model_or_are_missed_by_name(pretrained, tmp_path):
    path = checkpoint(tmp_path / "model.pt")
    with pytest.raises(FileNotFoundError, match=r"pretrained.*\.tflite is missing: `dvc repro weights` brings it"):
        Portraitist.open(path)
    (tmp_path / "pretrained").symlink_to(pretrained)
    assert Portraitist.open(str(path)).crop_params == load(CropParams, "crop", ROOT)
