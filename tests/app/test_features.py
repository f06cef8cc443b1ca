import cv2
import numpy as np
import pytest
from app_helpers import inverting_graph

from portraitist import app
from portraitist.app.avatar import Portraitist
from portraitist.app.features import with_features
from portraitist.app.isolation import isolate_person
from portraitist.app.shadows import with_shadows
from portraitist.crop.align import Crop, CropImage
from portraitist.crop.geometry import Face

SIDE = 256
EYES, MOUTH = ((98, 110), (158, 110)), (128, 175)
EVERYWHERE = np.full((SIDE, SIDE), 255, np.uint8)
SKIN = (200, 160, 140)


def crop(points=(*EYES, (128, 140), MOUTH), transform=((1, 0, 0), (0, 1, 0))):
    landmarks = np.array([*points, (70, 120), (186, 120)], np.float32)
    square = CropImage(np.zeros((SIDE, SIDE, 3), np.uint8), None, EVERYWHERE)
    return Crop(square, Face(1.0, (0.0, 0.0, 1.0, 1.0), landmarks), np.array(transform, np.float32))


def face(contrast=100):
    """Return a face with stripes at eyes, mouth and forehead."""
    picture = np.full((SIDE, SIDE, 3), SKIN, np.uint8)
    for x, y in (*EYES, MOUTH, (128, 50)):
        for row in range(-6, 7, 6):
            picture[y + row : y + row + 3, x - 18 : x + 18] -= np.uint8(contrast)
    return picture


def lightness(picture):
    return cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[..., 0]


def around(centre, reach=14):
    return np.s_[centre[1] - reach : centre[1] + reach, centre[0] - reach : centre[0] + reach]


def likeness(first, second, centre):
    """Return the correlation of two pictures around a point."""
    return np.corrcoef(lightness(first)[around(centre)].ravel(), lightness(second)[around(centre)].ravel())[0, 1]


SELFIE = face()
PAINTING = cv2.GaussianBlur(SELFIE, (0, 0), 8)


@pytest.mark.parametrize("centre", [*EYES, MOUTH])
def test_eyes_and_mouth_get_the_selfies_details(centre):
    result = with_features(PAINTING, SELFIE, EVERYWHERE, crop())
    assert likeness(PAINTING, SELFIE, centre) < 0.6
    assert likeness(result, SELFIE, centre) > 0.95


def test_the_rest_of_the_face_and_the_background_do_not_change():
    mask = EVERYWHERE.copy()
    mask[:, : SIDE // 2] = 0
    result = with_features(PAINTING, SELFIE, mask, crop())
    assert np.array_equal(result[:, : SIDE // 2], PAINTING[:, : SIDE // 2])
    assert not np.array_equal(result[around(EYES[1])], PAINTING[around(EYES[1])])
    assert np.array_equal(result[:80], PAINTING[:80])
    assert np.array_equal(result[130:145], PAINTING[130:145])
    assert np.array_equal(result[200:], PAINTING[200:])


def test_colours_are_the_paintings():
    painting = PAINTING[..., ::-1].copy()
    result = with_features(painting, SELFIE, EVERYWHERE, crop())
    labs = [
        cv2.cvtColor(each.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[around(EYES[0])] for each in (result, painting)
    ]
    assert np.abs(labs[0] - labs[1])[..., 1:].max() < 2
    assert np.abs(labs[0] - labs[1])[..., 0].max() > 10


# The contrast of the selfie, and that of the result relative to the painting's.
@pytest.mark.parametrize(("weak", "contrast"), [(100, 1.08), (60, 1.08), (25, 0.6)])
def test_contrast_is_the_paintings_up_to_twice_the_selfies(weak, contrast):
    painting = SELFIE
    result = with_features(painting, face(weak), EVERYWHERE, crop())
    spread = [lightness(each)[around(EYES[0])].std() for each in (result, painting)]
    assert spread[0] / spread[1] == pytest.approx(contrast, abs=0.06)


def test_eyes_that_are_darkened_more_than_the_face_are_lightened_by_half():
    selfie = np.full_like(SELFIE, 160)
    painting = np.full_like(SELFIE, 160)
    painting[80:140] = 60  # much wider than the areas that are blurred
    before, after = (
        lightness(each)[110, 98] for each in (painting, with_features(painting, selfie, EVERYWHERE, crop()))
    )
    assert 0.2 < (after - before) / (lightness(selfie)[0, 0] - before) < 0.5


@pytest.mark.parametrize("value", [60, 220])
def test_a_painting_that_is_darker_or_lighter_everywhere_stays(value):
    painting = np.full_like(SELFIE, value)
    assert np.array_equal(with_features(painting, np.full_like(SELFIE, 140), EVERYWHERE, crop()), painting)


def test_areas_follow_the_transform():
    points = [(x / 2 - 5, y / 2) for x, y in (*EYES, (128, 140), MOUTH)]
    moved = with_features(PAINTING, SELFIE, EVERYWHERE, crop(points, ((2, 0, 10), (0, 2, 0))))
    assert np.array_equal(moved, with_features(PAINTING, SELFIE, EVERYWHERE, crop()))


def test_areas_of_a_turned_face_are_as_high_as_those_of_a_frontal_one():
    turned = crop([(118, 110), (138, 110), (128, 140), MOUTH])
    changed = [
        (with_features(PAINTING, SELFIE, EVERYWHERE, each) != PAINTING).any(axis=(1, 2)).nonzero()[0]
        for each in (crop(), turned)
    ]
    assert changed[0].tolist() == changed[1].tolist()


@pytest.mark.parametrize(
    "points", [[(300, 300), (360, 300), (330, 330), (330, 365)], [(-9, 5), (20, 5), (5, 20), (5, 30)], [(128, 128)] * 4]
)
def test_faces_outside_or_without_extent_are_no_error(points):
    result = with_features(PAINTING, SELFIE, EVERYWHERE, crop(points))
    assert np.array_equal(result[150:], PAINTING[150:])


def test_avatars_of_models_with_styles_keep_shadows_eyes_and_mouth(shipped, model, sample, tmp_path, monkeypatch):
    # The selfie is coloured, so the limit of stains is the only other correction that changes the painting.
    monkeypatch.setattr(app.avatar, "without_stains", lambda painting, *_: painting)
    selfie = sample.parents[1] / "docs" / "astronaut.jpg"
    with_styles, without = (
        Portraitist(inverting_graph(folder, tmp_path / name), threads=1).paint(selfie)
        for folder, name in ((shipped.parent, "styles.onnx"), (model, "none.onnx"))
    )
    isolated, area = isolate_person(with_styles.crop, with_styles.cutout)
    original = isolated.square.picture
    darkened = with_shadows(without.painting, original, area)
    expected = with_features(darkened, original, with_styles.cutout, with_styles.crop)
    assert np.array_equal(with_styles.painting, expected)
    assert not np.array_equal(without.painting, darkened)
    assert not np.array_equal(darkened, expected)
