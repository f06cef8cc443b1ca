import cv2
import numpy as np
import pytest
from drawn import STILL, changed, smooth

from portraitist.augment.params import AugmentParams
from portraitist.augment.render import (
    OWN,
    ROOM,
    TEST_BACKGROUNDS,
    BackgroundLibrary,
    RandomTransform,
    composite_person,
    draw_background,
    make_recipes,
    remove_person,
    render_recipe,
    square_background,
)
from portraitist.core.blend import alpha_composite
from portraitist.core.image_io import encode_png
from portraitist.core.shards import ShardWriter
from portraitist.core.types import Picture

KINDS = ["solid", "gradient", "noise", "checks", "blur", "room"]
MIXED = changed(STILL, backgrounds=KINDS, per_person=6)
LIVELY = changed(STILL, flip=0.5, turn_degrees=15, zoom=0.2, shift=0.1, brightness=0.2, hue=0.1)
ANNA, BERT, EVE = "00000000000000a1", "00000000000000b2", "fffffffffffffff3"
PICTURE = smooth(1, 48, 48)
MASK = np.zeros((48, 48), np.uint8)
MASK[10:48, 8:30] = 255
MASK[8:10, 8:30] = 128


def of(person: str, ids: list[str], params: AugmentParams = MIXED, rooms: int = 3) -> list[tuple[str, int]]:
    return [(row["background"], row["seed"]) for row in make_recipes(ids, params, rooms) if row["id"] == person]


def room_of(seed: int) -> Picture:
    return smooth(seed, 48, 48)


def no_room(seed: int) -> Picture:
    raise AssertionError(f"asked for room {seed}")


def test_a_persons_recipes_do_not_depend_on_who_else_is_there():
    assert of(BERT, [BERT]) == of(BERT, [ANNA, BERT, EVE]) == of(BERT, [EVE, BERT])
    assert of(BERT, [BERT]) != of(ANNA, [ANNA])


def test_each_person_has_its_own_background_first_and_so_many_in_all():
    for person in (ANNA, BERT, EVE):
        drawn = of(person, [ANNA, BERT, EVE])
        assert len(drawn) == 6
        assert drawn[0] == (OWN, 0)
        assert all(kind in KINDS for kind, _ in drawn[1:])
        assert len({seed for _, seed in drawn[1:]}) == 5
    assert of(ANNA, [ANNA], changed(MIXED, per_person=1)) == [(OWN, 0)]


def test_more_recipes_go_on_from_the_fewer_and_another_seed_draws_others():
    assert of(EVE, [EVE], changed(MIXED, per_person=9))[:6] == of(EVE, [EVE])
    assert of(EVE, [EVE], changed(MIXED, seed=4))[1:] != of(EVE, [EVE])[1:]


def test_every_kind_that_params_allow_is_drawn_and_no_other():
    kinds = [kind for kind, _ in of(ANNA, [ANNA], changed(MIXED, per_person=80))[1:]]
    assert set(kinds) == set(KINDS)
    assert {kind for kind, _ in of(ANNA, [ANNA], changed(MIXED, backgrounds=["noise"]))[1:]} == {"noise"}


def test_where_the_library_is_empty_no_room_is_drawn():
    many = changed(MIXED, per_person=80)
    assert {kind for kind, _ in of(ANNA, [ANNA], many, rooms=0)[1:]} == {*KINDS} - {ROOM}
    assert {kind for kind, _ in of(ANNA, [ANNA], changed(many, backgrounds=[ROOM]), rooms=0)} == {OWN}


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_draws_one_picture_and_another_seed_another(kind: str):
    drawn = [render_recipe(PICTURE, MASK, kind, seed, 0.3, room_of) for seed in (5, 5, 6)]
    assert np.array_equal(drawn[0], drawn[1])
    assert abs(drawn[0].astype(int) - drawn[2])[MASK == 0].mean() > 3
    assert (drawn[0][20:, 14:24] == PICTURE[20:, 14:24]).mean() > 0.5  # within the person, far from its edge


def test_own_leaves_the_picture_as_it_was_found():
    for seed in (0, 7):
        assert np.array_equal(render_recipe(PICTURE, MASK, OWN, seed, 0.3, no_room), PICTURE)


def test_a_room_is_asked_for_only_by_recipes_of_rooms():
    for kind in {*KINDS} - {ROOM}:
        render_recipe(PICTURE, MASK, kind, 2, 0.3, no_room)
    stripes = np.zeros((48, 48, 3), np.uint8)
    stripes[:12] = (200, 100, 40)
    seen = render_recipe(PICTURE, MASK, ROOM, 2, 0.0, lambda _: stripes)
    assert np.abs(seen[2, 2:46].astype(int) - (200, 100, 40)).max() < 12
    assert seen[24:, 34:].max() < 12


def test_the_library_gives_each_seed_one_of_its_rooms(tmp_path):
    with ShardWriter(tmp_path / "rooms", 2) as shards:
        for name in ("c", "a", "b"):
            shards.add(name, {"png": encode_png(np.full((4, 4, 3), ord(name), np.uint8))})
    rooms = BackgroundLibrary(tmp_path / "rooms")
    assert [rooms(seed)[0, 0, 0] for seed in (0, 1, 2, 3, 7)] == [97, 98, 99, 97, 98]


def test_an_emptied_picture_keeps_its_background_and_shows_nothing_of_the_person():
    picture = np.full((48, 48, 3), (30, 120, 200), np.uint8)
    picture[MASK > 0] = (250, 20, 10)
    assert np.abs(remove_person(picture, MASK).astype(int) - (30, 120, 200)).max() <= 2
    assert np.array_equal(remove_person(PICTURE, np.zeros_like(MASK)), PICTURE)
    assert np.array_equal(remove_person(PICTURE, MASK)[:, 40:], PICTURE[:, 40:])


def test_a_room_is_the_middle_of_a_picture():
    picture = np.zeros((40, 100, 3), np.uint8)
    picture[:, 30:70] = (10, 200, 90)
    assert (square_background(picture, 32) == (10, 200, 90)).all()
    assert square_background(picture.transpose(1, 0, 2), 64).shape == (64, 64, 3)
    assert (square_background(picture.transpose(1, 0, 2), 64) == (10, 200, 90)).all()


def test_backgrounds_are_what_they_are_called():
    solid, gradient, checks = (draw_background(kind, 3, 48).astype(int) for kind in ("solid", "gradient", "checks"))
    assert len(np.unique(solid.reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(checks.reshape(-1, 3), axis=0)) == 2
    assert len(np.unique(gradient.reshape(-1, 3), axis=0)) > 20
    assert abs(np.diff(gradient, axis=0)).max() <= 8
    assert abs(np.diff(gradient, axis=1)).max() <= 8


def test_a_blur_keeps_the_pictures_colours_and_loses_its_lines():
    stripes = np.zeros((48, 48, 3), np.uint8)
    stripes[:, ::2] = (200, 100, 40)
    blurred = draw_background("blur", 1, 48, stripes)
    assert abs(blurred[10:-10, 10:-10].astype(int) - [100, 50, 20]).max() <= 3


def test_a_kind_that_does_not_exist_is_refused_and_so_is_a_blur_of_nothing():
    with pytest.raises(ValueError, match="no background of kind 'beach'"):
        draw_background("beach", 1, 48)
    with pytest.raises(ValueError, match="'blur' without a picture"):
        draw_background("blur", 1, 48)


@pytest.mark.parametrize("back", [smooth(2, 48, 48), (10, 200, 90)])
def test_without_light_wrap_person_and_background_are_exact(back):
    put = composite_person(PICTURE, MASK, back, 0.0)
    behind = np.broadcast_to(np.asarray(back, np.uint8), PICTURE.shape)
    assert np.array_equal(put[MASK == 0], behind[MASK == 0])
    assert np.array_equal(put[MASK == 255], PICTURE[MASK == 255])
    edge = (PICTURE.astype(float) * 128 + behind.astype(float) * 127) / 255
    assert abs(put - edge)[MASK == 128].max() <= 0.51


def test_light_wraps_over_the_edge_and_reaches_neither_far_in_nor_out():
    dark, light = np.full((48, 48, 3), 20, np.uint8), (250, 250, 250)
    put = composite_person(dark, MASK, light, 0.5).astype(int)
    assert (put[MASK == 0] == 250).all()
    assert (put[20:46, 14:24] == 20).all()
    assert (put[20:40, 8] > 40).all()
    assert (put[20:40, 8] >= composite_person(dark, MASK, light, 0.25)[20:40, 8]).all()
    assert (composite_person(dark, MASK, light, 0.25)[20:40, 8] > 20).all()


def test_light_wrap_leaves_the_background_as_it_is():
    back = np.random.default_rng(1).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    assert np.array_equal(composite_person(PICTURE, MASK, back, 0.5)[MASK == 0], back[MASK == 0])


def test_the_test_backgrounds_are_far_apart():
    colours = np.array(list(TEST_BACKGROUNDS.values()))
    apart = np.linalg.norm(colours[:, None] - colours[None], axis=-1)[np.triu_indices(len(colours), 1)]
    assert len(colours) == 8
    assert apart.min() > 75


def test_picture_and_mask_are_changed_alike():
    vary, plain = RandomTransform(changed(LIVELY, brightness=0, hue=0)), np.dstack([MASK // 255 * 200] * 3)
    seen = []
    for seed in range(8):
        picture, mask = vary(plain, MASK, seed)
        solid = cv2.erode(mask, np.ones((5, 5))) == 255
        empty = cv2.dilate(mask, np.ones((5, 5))) == 0
        assert solid.sum() > 300
        assert (picture[solid] == 200).all()
        assert (picture[empty] == 0).all()
        seen.append(mask.tobytes())
    assert len(set(seen)) == 8


def test_a_variation_is_drawn_by_its_seed_whatever_came_before():
    one, other = RandomTransform(LIVELY), RandomTransform(LIVELY)
    other(PICTURE, MASK, 99)
    for seed in (4, 5):
        first, second = one(PICTURE, MASK, seed), other(PICTURE, MASK, seed)
        assert np.array_equal(first[0], second[0])
        assert np.array_equal(first[1], second[1])
    assert not np.array_equal(one(PICTURE, MASK, 4)[0], one(PICTURE, MASK, 5)[0])


def test_a_shift_moves_picture_and_mask_and_a_persons_edge_stays_soft():
    vary = RandomTransform(changed(STILL, shift=0.2, turn_degrees=10))
    soft = cv2.GaussianBlur(MASK, (0, 0), 2)
    moved = [vary(PICTURE, soft, seed)[1].astype(float) for seed in range(6)]
    centres = {round(float((mask.sum(axis=0) @ np.arange(48)) / mask.sum())) for mask in moved}
    assert len(centres) > 2
    for mask in moved:  # no step is steeper than before, as one of a nearest neighbour would be
        assert np.abs(np.diff(mask, axis=0)).max() <= 1.2 * np.abs(np.diff(soft.astype(float), axis=0)).max()


def test_a_zoom_stretches_nobody():
    disc = cv2.circle(np.zeros((96, 96), np.uint8), (48, 48), 24, 255, -1)
    for seed in range(6):
        mask = RandomTransform(changed(STILL, zoom=0.3))(np.dstack([disc] * 3), disc, seed)[1] > 127
        width, height = mask.any(axis=0).sum(), mask.any(axis=1).sum()
        assert abs(int(width) - int(height)) <= 1


def test_light_changes_the_picture_and_not_the_mask():
    vary = RandomTransform(changed(STILL, brightness=0.3))
    changes = [vary(PICTURE, MASK, seed) for seed in range(4)]
    assert all(np.array_equal(mask, MASK) for _, mask in changes)
    assert max(abs(picture.astype(int) - PICTURE).mean() for picture, _ in changes) > 5


def test_a_variation_of_nothing_changes_nothing_and_a_sure_flip_flips():
    picture, mask = RandomTransform(STILL)(PICTURE, MASK, 1)
    assert abs(picture.astype(int) - PICTURE).max() <= 1
    assert np.array_equal(mask, MASK)
    picture, mask = RandomTransform(changed(STILL, flip=1))(PICTURE, MASK, 1)
    assert abs(picture[:, ::-1].astype(int) - PICTURE).max() <= 1
    assert np.array_equal(mask[:, ::-1], MASK)


def test_over_is_what_compose_puts():
    assert np.array_equal(composite_person(PICTURE, MASK, (1, 2, 3), 0.0), alpha_composite(PICTURE, MASK, (1, 2, 3)))
