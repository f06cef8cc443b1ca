"""Paint avatars from selfies with an exported model, using onnxruntime, OpenCV and Pillow; torch is not needed.

Crops and masks are computed by the same functions as for the training data.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
import onnxruntime

from portraitist.app import DEFAULT_MODEL
from portraitist.app.model_file import LoadedModel, ModelError, load_model
from portraitist.app.selfie import MAX_SIDE_PX, Source, read_selfie
from portraitist.clean.decode import CleanPicture, RejectedError
from portraitist.core.blend import extend_foreground
from portraitist.core.types import MaskArray, Picture
from portraitist.core.workers import available_cores
from portraitist.crop.align import Crop, crop_face, crop_faces
from portraitist.crop.detector import FaceDetector
from portraitist.crop.geometry import Face, Landmarks, Transform
from portraitist.mask.params import MaskModel
from portraitist.mask.segmenter import Segmenter, person_mask

__all__ = ["Avatar", "ModelError", "Portraitist", "RejectedError", "Source"]


FaceSelection = Literal["largest", "each"]  # as crop.faces in params.yaml

RIM = 0.012  # width of the edge that is recoloured, as a fraction of the side
FIRST_RUN_LIMIT_S = 30.0  # a malicious or damaged graph may run for minutes; a valid one takes about a second


@dataclass(frozen=True)
class Avatar:
    """A stylized face: the painted picture, the mask of the person (255), and the crop that was painted."""

    picture: Picture
    mask: MaskArray
    crop: Crop

    @cached_property
    def person(self) -> Picture:
        """The person's colours, extended outwards so that no background is left under the mask's soft edge.

        The outermost pixels of the person are replaced too, because a method with a grey input paints a grey rim.
        """
        rim = 2 * max(1, round(RIM * self.mask.shape[0])) + 1
        return extend_foreground(self.picture, cv2.erode(self.mask, np.ones((rim, rim), np.uint8)))

    @property
    def painted_px(self) -> int:
        """Side at which the avatar was painted."""
        return self.mask.shape[0]

    @property
    def landmarks(self) -> Landmarks:
        """Right eye, left eye, nose, mouth, right ear, left ear; (x, y) in pixels of the upright selfie."""
        return self.crop.face.points

    @property
    def transform(self) -> Transform:
        """The similarity transform from the selfie's pixels to the avatar's."""
        return self.crop.transform


class Portraitist:
    """An exported model, ready to paint. Thread-safe."""

    def __init__(self, model: LoadedModel) -> None:
        self.session, self.card = model.session, model.card
        self.crop_params, self.mask_params = model.metadata.crop, model.metadata.mask
        self._networks = _Networks(model.metadata.parts, self.mask_params.model)
        self._has_run = False

    @property
    def style_names(self) -> tuple[str, ...]:
        """The styles of the model; the first one is the default."""
        return ("house",)

    @classmethod
    def open(cls, model: Path | str = DEFAULT_MODEL, device: str = "cpu", threads: int = 0) -> "Portraitist":
        """Load a model file, or `portraitist.onnx` from a folder.

        Args:
            model: the output of the export stage.
            device: cpu, cuda or coreml; the last two need another build of onnxruntime.
            threads: threads per picture; 0 uses all cores. Also sets OpenCV's thread count for the whole process.

        Raises:
            ModelError: there is no such file, it is damaged or not an exported model, or the device is not available.
        """
        threads = threads or available_cores()
        loaded = load_model(model, device, threads)
        cv2.setNumThreads(threads)
        portraitist = cls(loaded)
        try:
            portraitist._networks.load()
        except Exception as error:  # OpenCV, or numpy where a network has unexpected layers
            raise ModelError(f"{model}: the face detector or the segmenter in the model is damaged") from error
        return portraitist

    def check(self) -> None:
        """Run all networks once on a blank picture.

        Raises:
            ModelError: one of them fails, or takes longer than `FIRST_RUN_LIMIT_S`.
        """
        side = self.crop_params.size_px
        blank = np.zeros((side, side, 3), np.uint8)
        self.crops(CleanPicture(blank, None))
        with _model_errors("segmenter"):
            self._networks.segmenter(blank)
        self.paint_squares([blank], [blank[..., 0]])

    def paint(self, selfie: Source) -> Avatar:
        """Paint the largest face of a selfie.

        Raises:
            RejectedError: the file is not a picture, or has no usable face; the message gives the reason.
            ModelError: the model file is damaged.
            OSError: the file cannot be read.
        """
        (avatar,) = self.paint_all(selfie, faces="largest")
        if isinstance(avatar, RejectedError):
            raise avatar
        return avatar

    def paint_all(
        self,
        selfie: Source,
        faces: FaceSelection = "each",
        max_side_px: int = MAX_SIDE_PX,
        *,
        style: str = "house",
        like: Source | None = None,
        strength: float = 1.0,
        keep_colours: bool = False,
        size_px: int = 512,
        align: bool = False,
    ) -> list[Avatar | RejectedError]:
        """Paint every large face of a selfie, or the largest only.

        Returns:
            For each face, an avatar or the reason why it was not painted; the largest face comes first.

        Raises:
            RejectedError: the file is not a picture.
            ValueError: `faces` is neither "largest" nor "each".
            ModelError: the model file is damaged.
            OSError: the file cannot be read.
        """
        cleaned = read_selfie(selfie, max_side_px)
        return self.paint_crops(self.crops(cleaned, faces))

    def crops(self, cleaned: CleanPicture, faces: FaceSelection = "each") -> list[Crop | RejectedError]:
        """Detect and crop the faces of a picture; a picture without a face gives one `RejectedError`.

        Raises:
            ValueError: `faces` is neither "largest" nor "each".
            ModelError: the detector in the model file is damaged.
        """
        if faces not in get_args(FaceSelection):
            raise ValueError(f"faces is {faces!r}; allowed are {' and '.join(get_args(FaceSelection))}")
        with _model_errors("face detector"):
            return crop_faces(cleaned, self._networks.detector, self.crop_params.model_copy(update={"faces": faces}))

    def crop(self, cleaned: CleanPicture, face: Face) -> Crop:
        """Crop a face whose landmarks are known.

        Raises:
            RejectedError: the face is too small, or too much of the crop lies outside the picture.
        """
        return crop_face(cleaned, face, self.crop_params)

    def mask(self, crop: Crop) -> MaskArray:
        """Segment the person in a crop. Unlike in the training data, the person may fill the crop (a close-up).

        Raises:
            RejectedError: the person covers too little of the crop.
            ModelError: the segmenter in the model file is damaged.
        """
        params = self.mask_params.model_copy(update={"max_person": 1.0})
        with _model_errors("segmenter"):
            return person_mask(crop.square, self._networks.segmenter, params, self.crop_params)

    def paint_crops(self, crops: Sequence[Crop | RejectedError]) -> list[Avatar | RejectedError]:
        """Segment and paint crops; the list of results has the order of the crops."""
        avatars: list[Avatar | RejectedError] = []
        for crop in crops:
            if isinstance(crop, RejectedError):
                avatars.append(crop)
                continue
            try:
                mask = self.mask(crop)
                avatars.append(Avatar(self.paint_squares([crop.square.picture], [mask])[0], mask, crop))
            except RejectedError as error:
                avatars.append(error)
        return avatars

    def paint_squares(self, pictures: Sequence[Picture], masks: Sequence[MaskArray]) -> list[Picture]:
        """Run the generator on cropped pictures and their masks.

        Raises:
            ModelError: the graph fails, does not return pictures, or its first run takes too long.
        """
        inputs = {"pictures": np.stack(pictures), "masks": np.stack(masks)}
        (stylized,) = self._run(inputs)
        expected = inputs["pictures"].shape
        if not isinstance(stylized, np.ndarray) or stylized.dtype != np.uint8 or stylized.shape != expected:
            found = f"{getattr(stylized, 'dtype', type(stylized))} of shape {getattr(stylized, 'shape', ())}"
            raise ModelError(f"the model returns {found}; expected uint8 of shape {expected}")
        return list(stylized)

    def _run(self, inputs: dict[str, np.ndarray]) -> list[Any]:
        options = onnxruntime.RunOptions()
        options.log_severity_level = 4  # failures are raised; onnxruntime would print them as well
        timer = threading.Timer(FIRST_RUN_LIMIT_S, setattr, (options, "terminate", True))
        timer.daemon = True
        if not self._has_run:
            timer.start()
        try:
            outputs = self.session.run(["painted"], inputs, options)
        except Exception as error:  # onnxruntime's exceptions have no common base class
            if getattr(options, "terminate", False):
                raise ModelError(f"the model takes more than {FIRST_RUN_LIMIT_S:g} s for one picture") from error
            reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
            raise ModelError(f"the model cannot run: {reason}") from error
        finally:
            timer.cancel()
        self._has_run = True
        return list(outputs)


class _Networks(threading.local):
    """Face detector and segmenter, one pair per thread, because OpenCV's networks store their last input."""

    _loading = threading.Lock()

    def __init__(self, parts: dict[str, bytes], model: MaskModel) -> None:
        self._parts, self._model = parts, model
        self._pair: tuple[FaceDetector, Segmenter] | None = None

    def load(self) -> tuple[FaceDetector, Segmenter]:
        """Return this thread's pair, loading it on first use."""
        if self._pair is None:
            with self._loading:
                self._pair = FaceDetector(self._parts), Segmenter(self._parts, self._model)
        return self._pair

    @property
    def detector(self) -> FaceDetector:
        return self.load()[0]

    @property
    def segmenter(self) -> Segmenter:
        return self.load()[1]


@contextmanager
def _model_errors(part: str) -> Iterator[None]:
    """Convert exceptions of a damaged network to a `ModelError`."""
    try:
        yield
    except (RejectedError, ModelError):
        raise
    except (cv2.error, ArithmeticError, ValueError, LookupError, MemoryError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise ModelError(f"the {part} in the model file fails: {reason}") from error
