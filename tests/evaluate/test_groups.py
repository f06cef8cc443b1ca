import numpy as np
import pytest
from evaluation_toys import SIDE, evaluation_data, uniform

from portraitist.crop.geometry import Face
from portraitist.evaluate.groups import group_selfies, lighting, pose, skin_tone


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ((80, 5, 10), "very light"),  # atan(30 / 10) = 71.6 degrees
        ((70, 5, 20), "light"),  # 45
        ((65, 5, 20), "intermediate"),  # 36.9
        ((60, 5, 20), "tan"),  # 26.6
        ((50, 5, 20), "brown"),  # 0
        ((30, 5, 20), "dark"),  # -45
    ],
)
def test_skin_tone_is_the_typology_angle(colour, name):
    assert skin_tone(np.array(colour, float)) == name


@pytest.mark.parametrize(
    ("nose_x", "expected"), [(15, "front"), (16.4, "front"), (17, "to the right"), (13, "to the left")]
)
def test_pose_is_the_direction_of_the_nose(nose_x, expected):
    landmarks = np.array([[10, 10], [20, 10], [nose_x, 14], [15, 20], [5, 12], [25, 12]], np.float32)
    assert pose(Face(0.9, (0.0, 0.0, 30.0, 30.0), landmarks)) == expected


def test_pose_without_face():
    assert pose(None) == "no face found"


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (30, 30, "dim"),
        (110, 110, "even"),
        (220, 220, "bright"),
        (80, 160, "from a side"),
        (160, 80, "from a side"),
    ],
)
def test_lighting(left, right, expected):
    face = np.zeros((SIDE, SIDE), bool)
    face[8:24, 8:24] = True
    row = np.where(np.arange(SIDE) < SIDE // 2, left, right).astype(np.uint8)
    assert lighting(np.tile(row[None, :, None], (SIDE, 1, 3)), face) == expected


def test_groups_of_all_selfies_in_order():
    groups = group_selfies(evaluation_data(selfies=uniform(20, 235, 120)))
    assert groups["light"] == ["dim", "bright", "even"]
    assert {name: len(values) for name, values in groups.items()} == {"tone": 3, "light": 3, "pose": 3}
