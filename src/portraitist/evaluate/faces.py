"""Preservation of the face: whether it is detected, has moved, and is recognised as the same person."""

import numpy as np
import torch
from torch import Tensor

from portraitist.core.geometry import box_iou
from portraitist.crop.geometry import LEFT_EYE, RIGHT_EYE, Face, eye_to_mouth_px
from portraitist.evaluate.content import cosine_distances
from portraitist.evaluate.data import BATCH_SIZE, EvaluationData, ImageSequence, map_batches
from portraitist.evaluate.identity import align_face
from portraitist.evaluate.registry import Measurement, mean_over_faces, metric, rate_over_faces
from portraitist.learning.tensors import Images, to_pictures

DETECTOR = "BlazeFace full range, short range, close-ups"
IDENTITY = "identity"


def face_pairs(data: EvaluationData) -> list[tuple[Face | None, Face | None]]:
    """Return, for each selfie, the face detected in it and the face detected in its avatar. Computed only once.

    None stands for a face that is not found.
    """

    def faces(images: ImageSequence) -> list[Face | None]:
        starts = range(0, len(images), BATCH_SIZE)
        return [data.find_face(picture) for at in starts for picture in to_pictures(images[at : at + BATCH_SIZE])]

    return data.cached("faces", lambda: list(zip(faces(data.selfies), faces(data.stylized), strict=True)))


def landmark_error(face: Face, other: Face) -> float:
    """Return the mean distance between the landmarks of one face and the same landmarks of another face.

    A face has six landmarks. The unit is percent of the distance between the eyes of `face`.
    """
    eyes = float(np.linalg.norm(face.points[RIGHT_EYE] - face.points[LEFT_EYE]))
    return 100 * float(np.linalg.norm(face.points - other.points, axis=1).mean()) / max(eyes, 1e-6)


@metric(
    name="face_found",
    description="Of the selfies in which the detector finds a face: the share whose avatar also has a detected face.",
    optimum=1.0,
)
def face_found(data: EvaluationData) -> Measurement:
    """Return the share of avatars with a detected face, in [0, 1]. Selfies without a detected face are left out."""
    found = [np.nan if selfie is None else float(avatar is not None) for selfie, avatar in face_pairs(data)]
    return rate_over_faces(np.array(found), data, detector=DETECTOR)


@metric(
    name="face_box_iou",
    description="Intersection over union of the face boxes of selfie and avatar; 0 if no face is found in the avatar.",
    optimum=1.0,
)
def face_box_iou(data: EvaluationData) -> Measurement:
    """Return the mean intersection over union of the face boxes of selfie and avatar, in [0, 1].

    Selfies in which no face is found are left out. If no face is found in an avatar, its value is 0.
    """
    values = [
        np.nan if not selfie else box_iou(selfie.box, np.array([avatar.box]))[0] if avatar else 0.0
        for selfie, avatar in face_pairs(data)
    ]
    return mean_over_faces(np.array(values), data, detector=DETECTOR)


@metric(
    name="face_landmark_error",
    description="Mean displacement of eyes, nose, mouth and ears between selfie and avatar, if a face is found in "
    "both.",
    optimum=0.0,
    unit="% of the distance between the eyes",
)
def face_landmark_error(data: EvaluationData) -> Measurement:
    """Return the mean of `landmark_error` over the faces that are found in both selfie and avatar."""
    values = [landmark_error(selfie, avatar) if selfie and avatar else np.nan for selfie, avatar in face_pairs(data)]
    return mean_over_faces(np.array(values), data, detector=DETECTOR)


@metric(
    name="identity",
    description="Cosine similarity of selfie and avatar, by a face recognition network that the user provides; 1 is "
    "an unchanged selfie.",
    optimum=1.0,
    network=IDENTITY,
)
def identity(data: EvaluationData) -> Measurement:
    """Return the mean cosine similarity between the embeddings of a selfie and its avatar, in [-1, 1].

    The face recognition network computes one embedding per face. Faces differ in size, since crops of tight pictures
    are enlarged. Both images are therefore aligned by the face that is detected in the selfie; if none is detected, by
    the size that a face has in crops that are not enlarged.
    """
    params = data.crop_params
    sizes = [
        params.eye_to_mouth if selfie is None else eye_to_mouth_px(selfie) / params.size_px
        for selfie, _ in face_pairs(data)
    ]

    def embeddings(images: Images, eye_to_mouth: Tensor) -> np.ndarray:
        pairs = zip(images.split(1), eye_to_mouth.tolist(), strict=True)
        aligned = [align_face(image, params.eye_line, size) for image, size in pairs]
        return data.networks[IDENTITY].features(torch.cat(aligned))

    stylized, selfies = (map_batches(embeddings, images, Tensor(sizes)) for images in (data.stylized, data.selfies))
    return mean_over_faces(1 - cosine_distances(stylized, selfies), data, **data.networks[IDENTITY].details)
