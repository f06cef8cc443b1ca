import numpy as np
import pytest
import torch
from evaluation_toys import evaluation_data, measure, uniform, value

from portraitist.crop.geometry import Face
from portraitist.evaluate.data import Network
from portraitist.evaluate.faces import identity
from portraitist.evaluate.identity import align_face


def test_faces_are_compared_with_those_of_their_selfies():
    selfies, stylized = uniform(10, 10, 10), uniform(10, 10, 10)
    selfies[0, :, 12, 14] = selfies[1, :, 12, 14] = 1
    stylized[0, :, 12, 14] = 1
    stylized[1, :, 12, 17] = 1  # three pixels to the right: 7 of 13 columns in common; the eye distance is 4
    images = {"selfies": selfies, "stylized": stylized}
    assert measure("face_box_iou", **images).per_face == pytest.approx([1, 7 / 13, np.nan], nan_ok=True)
    assert measure("face_landmark_error", **images).per_face == pytest.approx([0, 100 * 3 / 4, np.nan], nan_ok=True)
    assert measure("face_found", **images).n == 2


def test_lost_face_lowers_rate_and_iou_but_has_no_landmarks():
    selfies, stylized = uniform(10, 10, 10), uniform(10, 10, 10)
    selfies[:, :, 12, 14] = 1
    stylized[0, :, 12, 14] = stylized[1, :, 12, 14] = 1
    images = {"selfies": selfies, "stylized": stylized}
    assert value("face_found", **images) == pytest.approx(2 / 3)
    assert value("face_box_iou", **images) == pytest.approx(2 / 3)
    assert measure("face_landmark_error", **images).n == 2


def test_interval_of_face_found_is_wilsons():
    assert measure("face_found").low == pytest.approx(3 / (3 + 1.959964**2))


def test_identity_is_the_cosine_similarity_of_embeddings():
    embeddings = iter([np.array([[1.0, 0], [3, 4], [0, 2]]), np.array([[2.0, 0], [4, 3], [1, 0]])])
    networks = {"identity": Network(lambda _: next(embeddings), {"network": "test"})}
    measurement = identity(evaluation_data(networks=networks))
    assert measurement.per_face == pytest.approx([1, 24 / 25, 0])
    assert measurement.details["network"] == "test"


def test_identity_is_measured_on_faces_of_equal_size():
    seen, heights = [], iter([6, 9, None, 3, 4, 5])  # from eyes to mouth: of three selfies, of their avatars

    def features(images):
        seen.append(images)
        return images.mean((2, 3)).numpy()

    def find_face(_):
        height = next(heights)
        points = np.array([[-2, 0], [2, 0], [0, 1], [0, height or 0], [-4, 0], [4, 0]], np.float32)
        return None if height is None else Face(0.9, (0.0, 0.0, 9.0, 9.0), points)

    data = evaluation_data(networks={"identity": Network(features, {"network": "test"})}, find_face=find_face)
    identity(data)
    params = data.crop_params
    sizes = [6 / params.size_px, 9 / params.size_px, params.eye_to_mouth]
    for images, aligned in zip((data.stylized, data.selfies), seen, strict=True):
        expected = [align_face(image[None], params.eye_line, size) for image, size in zip(images, sizes, strict=True)]
        torch.testing.assert_close(aligned, torch.cat(expected), atol=1e-4, rtol=0)
