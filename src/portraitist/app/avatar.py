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
from portraitist.app.model_file import (
    HOUSE_STYLE,
    MIN_SIDE_PX,
    SIDE_STEP,
    ModelError,
    StyleVector,
    load_model,
)
from portraitist.app.model_file import (
    MAX_SIDE_PX as MAX_PAINTED_PX,
)
from portraitist.app.selfie import MAX_SIDE_PX, Source, read_selfie
from portraitist.app.styles import Style, StyleError, StyleOptions, StylePredictor, cache_key, centre_square
from portraitist.clean.decode import CleanPicture, RejectedError
from portraitist.core.blend import extend_foreground
from portraitist.core.types import MaskArray, Picture
from portraitist.core.workers import available_cores
from portraitist.crop.align import Crop, crop_face, crop_faces
from portraitist.crop.detector import FaceDetector
from portraitist.crop.geometry import Face, Landmarks, Transform
from portraitist.mask.params import MaskModel
from portraitist.mask.segmenter import Segmenter, person_mask

__all__ = ["Avatar", "ModelError", "Portraitist", "RejectedError", "Source", "StyleError"]


FaceSelection = Literal["largest", "each"]  # as crop.faces in params.yaml

RIM = 0.012  # width of the edge that is recoloured, as a fraction of the side
MAX_EXAMPLES = 64  # whose style vectors are remembered
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
    def landmarks(self) -> Landmarks:
        """Right eye, left eye, nose, mouth, right ear, left ear; (x, y) in pixels of the upright selfie."""
        return self.crop.face.points

    @property
    def transform(self) -> Transform:
        """The similarity transform from the selfie's pixels to the avatar's."""
        return self.crop.transform


class Portraitist:
    """A model, ready to paint. Thread-safe.

    Args:
        model: a model file, or a folder with `portraitist.onnx`, as stage export writes it; by default the model in
            the package.
        device: cpu, cuda or coreml; the last two need another build of onnxruntime.
        threads: threads per picture; 0 uses all cores. Also sets OpenCV's thread count for the whole process.

    Raises:
        ModelError: there is no such file, it is damaged or not an exported model, or the device is not available.
    """

    def __init__(self, model: Path | str = DEFAULT_MODEL, device: str = "cpu", threads: int = 0) -> None:
        threads = threads or available_cores()
        loaded = load_model(model, device, threads)
        cv2.setNumThreads(threads)
        self.session, self.card, self.any_side = loaded.session, loaded.card, loaded.any_side
        self.crop_params, self.mask_params = loaded.metadata.crop, loaded.metadata.mask
        self._styles = loaded.metadata.styles
        self._example_vectors: dict[object, StyleVector] = {}
        self._networks = _Networks(loaded.metadata.parts, self.mask_params.model)
        self._has_run = False
        try:
            self._networks.load()
        except Exception as error:  # OpenCV, or numpy where a network has unexpected layers
            raise ModelError(f"{model}: the face detector or the segmenter in the model is damaged") from error

    @property
    def style_names(self) -> tuple[str, ...]:
        """The names of the model's styles; the first one, `house`, is the default."""
        return tuple(self._styles) or (HOUSE_STYLE,)

    def allowed_side(self, wanted_px: int) -> int:
        """Return the largest side of at most `wanted_px` that the model can paint, or its smallest side."""
        if not self.any_side:
            return self.crop_params.size_px
        return min(max(wanted_px // SIDE_STEP * SIDE_STEP, MIN_SIDE_PX), MAX_PAINTED_PX)

    def read_style(self, options: StyleOptions) -> Style:
        """Look up a style of the model, or compute the style of an example; the last examples are remembered.

        Raises:
            StyleError: the model does not have the style, or cannot paint like an example.
            RejectedError: the example is not a picture.
            OSError: the example cannot be read.
        """
        if options.like is not None:
            return Style(self._example_vector(options.like), options.strength, options.keep_colours)
        if options.name not in self.style_names:
            raise StyleError(f"no style {options.name!r}; this model has {', '.join(self.style_names)}")
        return Style(self._styles.get(options.name), options.strength, options.keep_colours)

    def _example_vector(self, like: Source) -> StyleVector:
        if not self._styles:
            raise StyleError("this model has one style only; painting like an example needs one of masked_stylizer")
        key = cache_key(like)
        vector = self._example_vectors.get(key)
        if vector is None:
            vector = self._style_predictor(*self._example_person(read_selfie(like)))
            if key is not None:
                if len(self._example_vectors) >= MAX_EXAMPLES:
                    self._example_vectors.clear()
                self._example_vectors[key] = vector
        return vector

    @cached_property
    def _style_predictor(self) -> StylePredictor:
        return StylePredictor()

    def _example_person(self, example: CleanPicture) -> tuple[Picture, MaskArray]:
        """Return the crop and mask of an example's face, or the middle of the picture if it has no usable face."""
        crop = self.crops(example, "largest")[0]
        if not isinstance(crop, RejectedError):
            try:
                return crop.square.picture, self.mask(crop)
            except RejectedError:  # no person around the face
                pass
        side = self.crop_params.size_px
        opaque = np.full(example.picture.shape[:2], 255, np.uint8) if example.alpha is None else example.alpha
        return centre_square(example.picture, side), centre_square(opaque, side)

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

    def paint(
        self,
        selfie: Source,
        *,
        style: str = HOUSE_STYLE,
        like: Source | None = None,
        strength: float = 1.0,
        keep_colours: bool = False,
    ) -> Avatar:
        """Paint the largest face of a selfie.

        Args:
            selfie: a path, the bytes of a file, an open file, a PIL image, or an array of RGB pixels.
            style: one of `style_names`.
            like: a portrait whose style is used instead of `style`; a source as `selfie`.
            strength: from 0, the selfie, to 1, the painting.
            keep_colours: keep the selfie's colours of hair, skin and eyes.

        Raises:
            RejectedError: a file is not a picture, or the selfie has no usable face; the message gives the reason.
            StyleError: the model does not have the style, or cannot paint like an example.
            ModelError: the model file is damaged.
            OSError: a file cannot be read.
        """
        (avatar,) = self.paint_all(
            selfie, faces="largest", style=style, like=like, strength=strength, keep_colours=keep_colours
        )
        if isinstance(avatar, RejectedError):
            raise avatar
        return avatar

    def paint_all(
        self,
        selfie: Source,
        faces: FaceSelection = "each",
        max_side_px: int = MAX_SIDE_PX,
        *,
        style: str = HOUSE_STYLE,
        like: Source | None = None,
        strength: float = 1.0,
        keep_colours: bool = False,
    ) -> list[Avatar | RejectedError]:
        """Paint every large face of a selfie, or the largest only. The style is chosen as in `paint`.

        Returns:
            For each face, an avatar or the reason why it was not painted; the largest face comes first.

        Raises:
            RejectedError: a file is not a picture.
            StyleError: the model does not have the style, or cannot paint like an example.
            ValueError: `faces` is neither "largest" nor "each".
            ModelError: the model file is damaged.
            OSError: the file cannot be read.
        """
        chosen = self.read_style(StyleOptions(style, like, strength, keep_colours))
        cleaned = read_selfie(selfie, max_side_px)
        return self.paint_crops(self.crops(cleaned, faces), chosen)

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

    def paint_crops(
        self, crops: Sequence[Crop | RejectedError], style: Style | None = None
    ) -> list[Avatar | RejectedError]:
        """Segment and paint crops, by default in the house style; the list of results has the order of the crops."""
        avatars: list[Avatar | RejectedError] = []
        for crop in crops:
            if isinstance(crop, RejectedError):
                avatars.append(crop)
                continue
            try:
                mask = self.mask(crop)
                avatars.append(Avatar(self.paint_squares([crop.square.picture], [mask], style)[0], mask, crop))
            except RejectedError as error:
                avatars.append(error)
        return avatars

    def paint_squares(
        self, pictures: Sequence[Picture], masks: Sequence[MaskArray], style: Style | None = None
    ) -> list[Picture]:
        """Run the generator on cropped pictures and their masks, all of one side that the model allows.

        Raises:
            ModelError: the graph fails, does not return pictures, or its first run takes too long.
        """
        style = style or Style(self._styles.get(HOUSE_STYLE))
        inputs = {"pictures": np.stack(pictures), "masks": np.stack(masks)}
        if style.vector is not None:
            inputs["styles"] = np.tile(style.vector, (len(pictures), 1))
        (stylized,) = self._run(inputs)
        expected = inputs["pictures"].shape
        if not isinstance(stylized, np.ndarray) or stylized.dtype != np.uint8 or stylized.shape != expected:
            found = f"{getattr(stylized, 'dtype', type(stylized))} of shape {getattr(stylized, 'shape', ())}"
            raise ModelError(f"the model returns {found}; expected uint8 of shape {expected}")
        return [style.finish(*each) for each in zip(stylized, pictures, masks, strict=True)]

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
