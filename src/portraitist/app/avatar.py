"""The product: selfies to avatars by an exported model, with onnxruntime, OpenCV and Pillow; no torch comes in here.

Faces and masks are found by the very functions that made the training data.
"""

import base64
import json
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, get_args, runtime_checkable

import cv2
import numpy as np
import onnxruntime
import pillow_heif
from PIL import Image

from portraitist.clean.decode import (
    FORMATS,
    CleanPicture,
    RejectedError,
    check_dimensions,
    decode_picture,
    load_upright,
)
from portraitist.core.blend import extend_foreground
from portraitist.core.outcome import Status
from portraitist.core.types import MaskArray, Picture
from portraitist.crop.align import Crop, crop_face, crop_faces
from portraitist.crop.detector import DETECTOR_FILES as DETECTORS
from portraitist.crop.detector import FaceDetector
from portraitist.crop.geometry import Face, Landmarks, Transform
from portraitist.crop.params import CropParams
from portraitist.mask.params import MaskModel, MaskParams
from portraitist.mask.segmenter import SEGMENTER_FILES as SEGMENTERS
from portraitist.mask.segmenter import Segmenter, person_mask

__all__ = ["Avatar", "ModelError", "Portraitist", "RejectedError", "Source"]


@runtime_checkable
class OpenFile(Protocol):
    """A file that is open, to read bytes."""

    def read(self, size: int, /) -> bytes:
        """At most so many of them."""


File = Path | str | bytes | bytearray | OpenFile  # its path, its bytes, or the file itself
Source = File | Image.Image | np.ndarray  # or a picture, or its RGB pixels
FaceSelection = Literal["largest", "each"]  # of a selfie that shows several; params.yaml has the same words

MODEL = Path("models/portraitist")  # where stage export leaves it
MODEL_FILE = "portraitist.onnx"
FORMAT = "2"  # export.py writes it
READABLE_FORMATS = (*FORMATS, "HEIF", "AVIF")
RIM = 0.012  # of the side
MAX_SIDE_PX = 2016  # half of what phones take, which JPEG decodes to at once; a whole photo is read for pasting back
FULL_MAX_SIDE_PX = 8192
MAX_MEGABYTES, MAX_MEGAPIXELS, MIN_SIDE_PX = 64.0, 50.0, 16  # of what is read at all
DEVICES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "coreml": "CoreMLExecutionProvider"}

pillow_heif.register_heif_opener()


class ModelError(ValueError):
    """A file is no model that stage export left, or the device to run it on is not there."""


@dataclass(frozen=True)
class Avatar:
    """A painted face: the picture as painted, its person mask (255 is the person), and the crop it was painted from."""

    picture: Picture
    mask: MaskArray
    crop: Crop

    @cached_property
    def person(self) -> Picture:
        """The painted person's own colours, under the soft edge too: there `picture` holds some of the background.

        The outermost of the person counts as edge, for a method that sees grey behind the person paints a rim of it.
        """
        rim = 2 * max(1, round(RIM * self.mask.shape[0])) + 1
        return extend_foreground(self.picture, cv2.erode(self.mask, np.ones((rim, rim), np.uint8)))

    @property
    def landmarks(self) -> Landmarks:
        """Right eye, left eye, nose, mouth, right ear, left ear; in pixels of the selfie as it was read, upright."""
        return self.crop.face.points

    @property
    def transform(self) -> Transform:
        """The similarity from the selfie's pixels to the avatar's."""
        return self.crop.transform


class Portraitist:
    """An exported model, ready to paint. Any number of threads may use one at the same time."""

    def __init__(
        self, session: onnxruntime.InferenceSession, parts: dict[str, bytes], crop: CropParams, mask: MaskParams
    ) -> None:
        self.session, self.crop_params, self.mask_params = session, crop, mask
        folder = Path(tempfile.mkdtemp(prefix="portraitist-"))  # OpenCV opens such models by path only
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        for name, data in parts.items():
            (folder / name).write_bytes(data)
        self._eyes = _Eyes(folder, mask.model)

    @classmethod
    def open(cls, model: Path | str = MODEL, device: str = "cpu", threads: int = 0) -> "Portraitist":
        """The model in a file, or in a folder that holds portraitist.onnx.

        Args:
            model: What stage export left.
            device: One of cpu, cuda, coreml; other than cpu need another build of onnxruntime.
            threads: For painting one picture; 0 is one for each core. OpenCV's are the whole process's.

        Raises:
            ModelError: There is no such file, it is no exported model, or the device is not there.
        """
        path = Path(model)
        path = path / MODEL_FILE if path.is_dir() else path
        if not path.is_file():
            raise ModelError(f"{path}: no such file; `make repro` makes it, `--model` names another")
        session = _session(path, device, threads)
        cv2.setNumThreads(threads or -1)
        told = read_metadata(path, session.get_modelmeta().custom_metadata_map)
        try:
            return cls(session, told.parts, told.crop, told.mask)
        except cv2.error as error:
            raise ModelError(f"{path}: its detector or its segmenter is broken") from error

    @property
    def card(self) -> str:
        """What the model is, of which data, how good, and its licence: Markdown."""
        return self.session.get_modelmeta().custom_metadata_map.get("card", "")

    def paint(self, selfie: Source) -> Avatar:
        """The largest face of a selfie, painted.

        Raises:
            RejectedError: It is no picture, or shows no face that can be used; the message says what was found.
            OSError: The file cannot be read.
        """
        (avatar,) = self.paint_all(selfie, faces="largest")
        if isinstance(avatar, RejectedError):
            raise avatar
        return avatar

    def paint_all(
        self, selfie: Source, faces: FaceSelection = "each", max_side_px: int = MAX_SIDE_PX
    ) -> list[Avatar | RejectedError]:
        """Each large face of a selfie, the largest first, or the largest alone; painted, or why not.

        Raises:
            RejectedError: It is no picture.
            ValueError: `faces` is another word.
            OSError: The file cannot be read.
        """
        cleaned = read_selfie(selfie, max_side_px)
        return self.paint_crops(self.crops(cleaned, faces))

    def crops(self, cleaned: CleanPicture, faces: FaceSelection = "each") -> list[Crop | RejectedError]:
        """The faces of a picture, found and cut; no face is one refusal.

        Raises:
            ValueError: `faces` is another word.
        """
        if faces not in get_args(FaceSelection):
            raise ValueError(f"faces is {faces!r}; allowed are {' and '.join(get_args(FaceSelection))}")
        return crop_faces(cleaned, self._eyes.detector, self.crop_params.model_copy(update={"faces": faces}))

    def crop(self, cleaned: CleanPicture, face: Face) -> Crop:
        """A face that is known, cut.

        Raises:
            RejectedError: As `portraitist.crop.crop`.
        """
        return crop_face(cleaned, face, self.crop_params)

    def mask(self, crop: Crop) -> MaskArray:
        """The person of a crop. One that fills it is a close selfie here, and no fault.

        Raises:
            RejectedError: Next to nothing of it is a person.
        """
        near = self.mask_params.model_copy(update={"max_person": 1.0})
        return person_mask(crop.square, self._eyes.segmenter, near, self.crop_params)

    def paint_crops(self, crops: Sequence[Crop | RejectedError]) -> list[Avatar | RejectedError]:
        """Crops masked and painted; what was refused before stays where it is."""
        done: list[Avatar | RejectedError] = []
        for made in crops:
            try:
                if isinstance(made, RejectedError):
                    raise made
                mask = self.mask(made)
                done.append(Avatar(self.paint_squares([made.square.picture], [mask])[0], mask, made))
            except RejectedError as error:
                done.append(error)
        return done

    def paint_squares(self, pictures: Sequence[Picture], masks: Sequence[MaskArray]) -> list[Picture]:
        """Squares with their masks, painted: what is left to do once faces are found and masked."""
        given = {"pictures": np.stack(pictures), "masks": np.stack(masks)}
        return list(self.session.run(["painted"], given)[0])


class Metadata(NamedTuple):
    """What a model's file holds beside the generator: detector and segmenter by name, and how to crop and mask."""

    parts: dict[str, bytes]
    crop: CropParams
    mask: MaskParams


def read_metadata(path: Path, told: Mapping[str, str]) -> Metadata:
    """What is told in the model at path. Of its parts only those that are needed, by the names that they have here.

    Raises:
        ModelError: It is of another format, or something is missing or broken.
    """
    if told.get("format") != FORMAT:
        raise ModelError(f"{path}: format {told.get('format', 'unknown')}; this version reads {FORMAT}")
    try:
        crop, mask = CropParams(**json.loads(told["crop"])), MaskParams(**json.loads(told["mask"]))
        held = json.loads(told["parts"])
        # parts become files, and a stranger's model may name one ../x: no name is taken from it
        parts = {name: base64.b64decode(held[name], validate=True) for name in (*DETECTORS, *SEGMENTERS[mask.model])}
    except (KeyError, ValueError, TypeError) as error:
        why = next(iter(str(error).splitlines()), "")
        raise ModelError(f"{path}: something of its metadata is missing or broken: {why}") from error
    return Metadata(parts, crop, mask)


def read_selfie(selfie: Source, max_side_px: int = MAX_SIDE_PX) -> CleanPicture:
    """A selfie upright in sRGB, scaled down to max_side_px if it is larger.

    Raises:
        TypeError: It is none of the kinds that a selfie may be.
        RejectedError: It is no picture, or one that is broken, animated, too small or too large.
        OSError: The file cannot be read.
    """
    if isinstance(selfie, np.ndarray):
        selfie = _of_pixels(selfie)
    if isinstance(selfie, Image.Image):
        check_dimensions(selfie, MAX_MEGAPIXELS, MIN_SIDE_PX)
        return load_upright(selfie.copy(), max_side_px)[0]
    return decode_picture(_bytes(selfie), MAX_MEGAPIXELS, MIN_SIDE_PX, max_side_px, MAX_MEGABYTES, READABLE_FORMATS)


def _bytes(selfie: File) -> bytes:
    """What a file holds; of one that has too much, or no end, not even all of it is read."""
    if isinstance(selfie, (bytes, bytearray)):
        return bytes(selfie)
    if isinstance(selfie, (str, os.PathLike)):
        with Path(selfie).open("rb") as file:
            return _bytes(file)
    most = round(MAX_MEGABYTES * 1e6)
    data = selfie.read(most + 1) if isinstance(selfie, OpenFile) else None
    if not isinstance(data, bytes):
        allowed = "a path, a file's bytes, a file open to read bytes, a PIL picture, or RGB pixels"
        raise TypeError(f"a selfie is {allowed}; not a {type(selfie).__name__}")
    if len(data) > most:
        raise RejectedError(Status.TOO_LARGE, f"more than {MAX_MEGABYTES:g} megabytes; no more are read")
    return data


def _of_pixels(pixels: np.ndarray) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
        found = f"an array of {pixels.dtype}, {' x '.join(map(str, pixels.shape))}"
        raise RejectedError(Status.NOT_A_PICTURE, f"{found}; height x width x 3 of uint8 is expected: RGB, 0 to 255")
    return Image.fromarray(pixels)


class _Eyes(threading.local):
    """Detector and segmenter, for each thread its own: OpenCV's networks keep what they saw last."""

    def __init__(self, parts: Path, model: MaskModel) -> None:
        self.detector, self.segmenter = FaceDetector(parts), Segmenter(parts, model)


def _session(path: Path, device: str, threads: int) -> onnxruntime.InferenceSession:
    there = [name for name, provider in DEVICES.items() if provider in onnxruntime.get_available_providers()]
    if device not in there:
        raise ModelError(f"device {device!r} is not there; this onnxruntime has {', '.join(there)}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors; they come as exceptions too
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[DEVICES[device]])
    except Exception as error:  # onnxruntime raises kinds of its own that have no common parent
        raise ModelError(f"{path}: not a model that stage export left") from error
