from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn import NO_AUGMENTATION, changed, smooth

from portraitist.augment.backgrounds import (
    ROOM,
    TEST_BACKGROUNDS,
    composite_person,
    draw_background,
    remove_person,
    square_background,
)
from portraitist.augment.library import BackgroundLibrary
from portraitist.augment.make_library import BackgroundError, StageFolders, write_library
from portraitist.augment.params import AugmentParams
from portraitist.augment.recipes import OWN, make_recipes, render_recipe
from portraitist.augment.transforms import RandomTransform
from portraitist.core import manifest
from portraitist.core.blend import alpha_composite
from portraitist.core.image_io import encode_png
from portraitist.core.shards import ShardWriter
from portraitist.core.types import Picture

KINDS = ["solid", "gradient", "noise", "checks", "blur", "room"]
MIXED = changed(NO_AUGMENTATION, backgrounds=KINDS, recipes_per_person=6)
LIVELY = changed(
    NO_AUGMENTATION, flip_probability=0.5, max_rotation_degrees=15, max_zoom=0.2, max_shift=0.1, brightness=0.2, hue=0.1
)
ANNA, BERT, EVE = "00000000000000a1", "00000000000000b2", "fffffffffffffff3"
PICTURE = smooth(1, 48, 48)
MASK = np.zeros((48, 48), np.uint8)
MASK[10:48, 8:30] = 255
MASK[8:10, 8:30] = 128


def recipes_of(
    person: str, ids: list[str], params: AugmentParams = MIXED, library_size: int = 3
) -> list[tuple[str, int]]:
    return [(row["background"], row["seed"]) for row in make_recipes(ids, params, library_size) if row["id"] == person]


def room_of(seed: int) -> Picture:
    return smooth(seed, 48, 48)


def no_room(seed: int) -> Picture:
    raise AssertionError(f"unexpected access to the library with seed {seed}")


def test_recipes_do_not_depend_on_other_people():
    assert recipes_of(BERT, [BERT]) == recipes_of(BERT, [ANNA, BERT, EVE]) == recipes_of(BERT, [EVE, BERT])
    assert recipes_of(BERT, [BERT]) != recipes_of(ANNA, [ANNA])


def test_first_recipe_is_the_original_background():
    for person in (ANNA, BERT, EVE):
        drawn = recipes_of(person, [ANNA, BERT, EVE])
        assert len(drawn) == 6
        assert drawn[0] == (OWN, 0)
        assert all(kind in KINDS for kind, _ in drawn[1:])
        assert len({seed for _, seed in drawn[1:]}) == 5
    assert recipes_of(ANNA, [ANNA], changed(MIXED, recipes_per_person=1)) == [(OWN, 0)]


def test_more_recipes_keep_the_first_ones():
    assert recipes_of(EVE, [EVE], changed(MIXED, recipes_per_person=9))[:6] == recipes_of(EVE, [EVE])
    assert recipes_of(EVE, [EVE], changed(MIXED, seed=4))[1:] != recipes_of(EVE, [EVE])[1:]


def test_recipes_use_all_allowed_backgrounds_only():
    kinds = [kind for kind, _ in recipes_of(ANNA, [ANNA], changed(MIXED, recipes_per_person=80))[1:]]
    assert set(kinds) == set(KINDS)
    assert {kind for kind, _ in recipes_of(ANNA, [ANNA], changed(MIXED, backgrounds=["noise"]))[1:]} == {"noise"}


def test_empty_library_gives_no_rooms():
    many = changed(MIXED, recipes_per_person=80)
    assert {kind for kind, _ in recipes_of(ANNA, [ANNA], many, library_size=0)[1:]} == {*KINDS} - {ROOM}
    assert {kind for kind, _ in recipes_of(ANNA, [ANNA], changed(many, backgrounds=[ROOM]), library_size=0)} == {OWN}


@pytest.mark.parametrize("kind", KINDS)
def test_rendering_depends_on_the_seed(kind: str):
    drawn = [render_recipe(PICTURE, MASK, kind, seed, 0.3, room_of) for seed in (5, 5, 6)]
    assert np.array_equal(drawn[0], drawn[1])
    assert abs(drawn[0].astype(int) - drawn[2])[MASK == 0].mean() > 3
    assert (drawn[0][20:, 14:24] == PICTURE[20:, 14:24]).mean() > 0.5  # inside the person, far from its edge


def test_original_background_leaves_the_picture_unchanged():
    for seed in (0, 7):
        assert np.array_equal(render_recipe(PICTURE, MASK, OWN, seed, 0.3, no_room), PICTURE)


def test_only_rooms_read_the_library():
    for kind in {*KINDS} - {ROOM}:
        render_recipe(PICTURE, MASK, kind, 2, 0.3, no_room)
    room = np.zeros((48, 48, 3), np.uint8)
    room[:12] = (200, 100, 40)
    rendered = render_recipe(PICTURE, MASK, ROOM, 2, 0.0, lambda _: room)
    assert np.abs(rendered[2, 2:46].astype(int) - (200, 100, 40)).max() < 12
    assert rendered[24:, 34:].max() < 12


def test_library_selects_by_seed(tmp_path):
    with ShardWriter(tmp_path / "rooms", 2) as shards:
        for name in ("c", "a", "b"):
            shards.add(name, {"png": encode_png(np.full((4, 4, 3), ord(name), np.uint8))})
    rooms = BackgroundLibrary(tmp_path / "rooms")
    assert [rooms(seed)[0, 0, 0] for seed in (0, 1, 2, 3, 7)] == [97, 98, 99, 97, 98]


def test_removed_person_leaves_only_background():
    picture = np.full((48, 48, 3), (30, 120, 200), np.uint8)
    picture[MASK > 0] = (250, 20, 10)
    assert np.abs(remove_person(picture, MASK).astype(int) - (30, 120, 200)).max() <= 2
    assert np.array_equal(remove_person(PICTURE, np.zeros_like(MASK)), PICTURE)
    assert np.array_equal(remove_person(PICTURE, MASK)[:, 40:], PICTURE[:, 40:])


def test_square_background_is_the_centre_of_a_picture():
    picture = np.zeros((40, 100, 3), np.uint8)
    picture[:, 30:70] = (10, 200, 90)
    assert (square_background(picture, 32) == (10, 200, 90)).all()
    assert square_background(picture.transpose(1, 0, 2), 64).shape == (64, 64, 3)
    assert (square_background(picture.transpose(1, 0, 2), 64) == (10, 200, 90)).all()


def test_backgrounds_match_their_names():
    solid, gradient, checks = (draw_background(kind, 3, 48).astype(int) for kind in ("solid", "gradient", "checks"))
    assert len(np.unique(solid.reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(checks.reshape(-1, 3), axis=0)) == 2
    assert len(np.unique(gradient.reshape(-1, 3), axis=0)) > 20
    assert abs(np.diff(gradient, axis=0)).max() <= 8
    assert abs(np.diff(gradient, axis=1)).max() <= 8


def test_blur_keeps_colours_and_removes_lines():
    stripes = np.zeros((48, 48, 3), np.uint8)
    stripes[:, ::2] = (200, 100, 40)
    blurred = draw_background("blur", 1, 48, stripes)
    assert abs(blurred[10:-10, 10:-10].astype(int) - [100, 50, 20]).max() <= 3


def test_unknown_background_and_missing_source_are_errors():
    with pytest.raises(ValueError, match="beach"):
        draw_background("beach", 1, 48)
    with pytest.raises(ValueError, match="'blur' needs a source"):
        draw_background("blur", 1, 48)


@pytest.mark.parametrize("background", [smooth(2, 48, 48), (10, 200, 90)])
def test_without_light_wrap_person_and_background_are_exact(background):
    composite = composite_person(PICTURE, MASK, background, 0.0)
    expected = np.broadcast_to(np.asarray(background, np.uint8), PICTURE.shape)
    assert np.array_equal(composite[MASK == 0], expected[MASK == 0])
    assert np.array_equal(composite[MASK == 255], PICTURE[MASK == 255])
    edge = (PICTURE.astype(float) * 128 + expected.astype(float) * 127) / 255
    assert abs(composite - edge)[MASK == 128].max() <= 0.51


def test_light_wrap_changes_the_edge_only():
    dark, light = np.full((48, 48, 3), 20, np.uint8), (250, 250, 250)
    composite = composite_person(dark, MASK, light, 0.5).astype(int)
    assert (composite[MASK == 0] == 250).all()
    assert (composite[20:46, 14:24] == 20).all()
    assert (composite[20:40, 8] > 40).all()
    assert (composite[20:40, 8] >= composite_person(dark, MASK, light, 0.25)[20:40, 8]).all()
    assert (composite_person(dark, MASK, light, 0.25)[20:40, 8] > 20).all()


def test_light_wrap_leaves_the_background_unchanged():
    background = np.random.default_rng(1).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    assert np.array_equal(composite_person(PICTURE, MASK, background, 0.5)[MASK == 0], background[MASK == 0])


def test_test_backgrounds_differ_strongly():
    colours = np.array(list(TEST_BACKGROUNDS.values()))
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=-1)[np.triu_indices(len(colours), 1)]
    assert len(colours) == 8
    assert distances.min() > 75


def test_picture_and_mask_get_the_same_geometry():
    transform, plain = RandomTransform(changed(LIVELY, brightness=0, hue=0)), np.dstack([MASK // 255 * 200] * 3)
    masks = []
    for seed in range(8):
        picture, mask = transform(plain, MASK, seed)
        solid = cv2.erode(mask, np.ones((5, 5))) == 255
        empty = cv2.dilate(mask, np.ones((5, 5))) == 0
        assert solid.sum() > 300
        assert (picture[solid] == 200).all()
        assert (picture[empty] == 0).all()
        masks.append(mask.tobytes())
    assert len(set(masks)) == 8


def test_transform_depends_on_the_seed_only():
    first, second = RandomTransform(LIVELY), RandomTransform(LIVELY)
    second(PICTURE, MASK, 99)
    for seed in (4, 5):
        (picture, mask), (same_picture, same_mask) = first(PICTURE, MASK, seed), second(PICTURE, MASK, seed)
        assert np.array_equal(picture, same_picture)
        assert np.array_equal(mask, same_mask)
    assert not np.array_equal(first(PICTURE, MASK, 4)[0], first(PICTURE, MASK, 5)[0])


def test_shift_moves_the_mask_and_keeps_its_edge_soft():
    transform = RandomTransform(changed(NO_AUGMENTATION, max_shift=0.2, max_rotation_degrees=10))
    soft = cv2.GaussianBlur(MASK, (0, 0), 2)
    moved = [transform(PICTURE, soft, seed)[1].astype(float) for seed in range(6)]
    centres = {round(float((mask.sum(axis=0) @ np.arange(48)) / mask.sum())) for mask in moved}
    assert len(centres) > 2
    for mask in moved:  # nearest-neighbour interpolation would make steeper steps
        assert np.abs(np.diff(mask, axis=0)).max() <= 1.2 * np.abs(np.diff(soft.astype(float), axis=0)).max()


def test_zoom_keeps_proportions():
    disc = cv2.circle(np.zeros((96, 96), np.uint8), (48, 48), 24, 255, -1)
    for seed in range(6):
        mask = RandomTransform(changed(NO_AUGMENTATION, max_zoom=0.3))(np.dstack([disc] * 3), disc, seed)[1] > 127
        width, height = mask.any(axis=0).sum(), mask.any(axis=1).sum()
        assert abs(int(width) - int(height)) <= 1


def test_brightness_changes_the_picture_only():
    transform = RandomTransform(changed(NO_AUGMENTATION, brightness=0.3))
    changes = [transform(PICTURE, MASK, seed) for seed in range(4)]
    assert all(np.array_equal(mask, MASK) for _, mask in changes)
    assert max(abs(picture.astype(int) - PICTURE).mean() for picture, _ in changes) > 5


def test_zero_parameters_change_nothing_and_flip_flips():
    picture, mask = RandomTransform(NO_AUGMENTATION)(PICTURE, MASK, 1)
    assert abs(picture.astype(int) - PICTURE).max() <= 1
    assert np.array_equal(mask, MASK)
    picture, mask = RandomTransform(changed(NO_AUGMENTATION, flip_probability=1))(PICTURE, MASK, 1)
    assert abs(picture[:, ::-1].astype(int) - PICTURE).max() <= 1
    assert np.array_equal(mask[:, ::-1], MASK)


def test_composite_without_wrap_is_alpha_composite():
    assert np.array_equal(composite_person(PICTURE, MASK, (1, 2, 3), 0.0), alpha_composite(PICTURE, MASK, (1, 2, 3)))


@pytest.fixture
def folders(tmp_path: Path) -> StageFolders:
    """Folders of earlier stages' outputs that contain no picture."""
    for name in ("clean", "crop", "mask"):
        with ShardWriter(tmp_path / name, 4):
            pass
    manifest.write([], tmp_path / "crop" / "manifest.csv", ["id", "picture", "kind", "status"])
    manifest.write([], tmp_path / "split.csv", ["id", "kind", "part"])
    return StageFolders(tmp_path / "clean", tmp_path / "crop", tmp_path / "mask", tmp_path / "split.csv")


def test_library_takes_own_pictures_up_to_its_size(folders: StageFolders, tmp_path: Path):
    (tmp_path / "own").mkdir()
    for number in range(3):
        (tmp_path / "own" / f"{number}.png").write_bytes(encode_png(smooth(number, 60, 80)))
    (tmp_path / "own" / "copy.png").write_bytes(encode_png(smooth(0, 60, 80)))
    for size, expected in ((2, 2), (9, 3)):
        params = changed(NO_AUGMENTATION, backgrounds_folder=tmp_path / "own", library_size=size)
        assert write_library(params, folders, 48, tmp_path / f"rooms {size}") == expected
        assert BackgroundLibrary(tmp_path / f"rooms {size}")(0).shape == (48, 48, 3)


def test_unusable_backgrounds_are_named(folders: StageFolders, tmp_path: Path):
    params = changed(NO_AUGMENTATION, backgrounds_folder=tmp_path / "own", library_size=2)
    with pytest.raises(BackgroundError, match=r"augment\.backgrounds_folder.*own"):
        write_library(params, folders, 48, tmp_path / "first")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "letter.jpg").write_text("no picture", encoding="utf-8")
    with pytest.raises(BackgroundError, match=r"augment\.backgrounds_folder.*letter\.jpg"):
        write_library(params, folders, 48, tmp_path / "second")
    (tmp_path / "own" / "inner").mkdir()
    with pytest.raises(BackgroundError, match=r"augment\.backgrounds_folder.*inner"):
        write_library(params, folders, 48, tmp_path / "third")
