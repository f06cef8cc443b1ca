import pytest
import torch

from portraitist.learning.face_map import face_map


def test_eyes_and_mouth_are_1_and_corners_0():
    faces = face_map(100, 100, eye_line=0.44, eye_to_mouth=0.2)
    assert faces.shape == (1, 1, 100, 100)
    for row, column in ((44, 40), (44, 60), (64, 50)):
        assert faces[0, 0, row, column] == pytest.approx(1, abs=0.02)
    assert 0.5 < faces[0, 0, 52, 50] < 0.7  # nose
    assert faces[0, 0, [0, 0, 99, 99], [0, 99, 0, 99]].max() < 0.01


def test_map_is_symmetric_and_scales_with_the_face():
    small, large = (face_map(80, 120, eye_line=0.5, eye_to_mouth=size) for size in (0.1, 0.3))
    for faces in (small, large):
        assert torch.allclose(faces, faces.flip(3), atol=1e-5)
        assert faces.min() >= 0 and faces.max() <= 1
    assert large.sum() > 4 * small.sum()
