"""Paint avatars from selfies with an exported model, using onnxruntime, OpenCV and Pillow; torch is not needed.

Crops and masks are computed by the same functions as for the training data.

The crop is a square of the selfie in which the face is upright and the eyes are level; the generator paints the crop.
The frame is the square of the selfie that the avatar shows, by default in the selfie's own orientation.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import cv2
import numpy as np
import onnxruntime
from PIL import Image

from portraitist.app import DEFAULT_MODEL
from portraitist.app.crop_painting import MAX_ENLARGEMENT, paint_crop
from portraitist.app.features import with_features
from portraitist.app.framing import Frame, between, fade_cuts, scale_of, upright_frame, whole_crop
from portraitist.app.isolation import add_change, isolate_person
from portraitist.app.matting import is_alpha, keep_person, on_white, refine_person, remove_others, visible_area
from portraitist.app.model_file import (
    HOUSE_STYLE,
    MIN_SIDE_PX,
    SIDE_STEP,
    LoadedModel,
    ModelError,
    StyleVector,
    load_model,
    remedy,
)
from portraitist.app.model_file import (
    MAX_SIDE_PX as MAX_PAINTED_PX,
)
from portraitist.app.photo_border import continue_person, strip_width
from portraitist.app.selfie import Source, read_selfie
from portraitist.app.shadows import with_shadows
from portraitist.app.stains import grey_weight, stain_weight, with_one_tint, without_stains
from portraitist.app.styles import (
    Style,
    StyleError,
    StyleOptions,
    StylePredictor,
    cache_key,
    centre_square,
)
from portraitist.app.trial_run import first_line
from portraitist.clean.decode import CleanPicture, RejectedError
from portraitist.core.cores import available_cores
from portraitist.core.types import MaskArray, Picture, SquareMaskArray, SquarePicture
from portraitist.crop.align import Crop, crop_face, crop_faces, fade_border
from portraitist.crop.detector import FaceDetector
from portraitist.crop.geometry import Face, Landmarks, Transform, covered_area, warp
from portraitist.mask.params import MaskModel
from portraitist.mask.segmenter import Segmenter, person_mask

if TYPE_CHECKING:
    from portraitist.app.compositing import Background

__all__ = ["Avatar", "ModelError", "Portraitist", "RejectedError", "Source", "StyleError"]


FaceSelection = Literal["largest", "each"]  # as crop.faces in params.yaml

DEFAULT_SIZE_PX, MIN_SIZE_PX = 512, 16  # side of an avatar
MIN_PAINTED_PX = 256  # minimum side of a painting; in smaller ones, strokes are as wide as eyes
MASK_SIDE = 256  # side of the segmenter's input, px
MAX_EXAMPLES = 64  # number of examples whose style vectors are cached
FIRST_RUN_LIMIT_S = 30.0  # a malicious or damaged graph may run for minutes; a valid one takes about a second


@dataclass(frozen=True, eq=False, repr=False)
class Avatar:
    """The result of painting one face: the painted crop, and the frame that the avatar shows.

    Pictures are RGB arrays, uint8, height x width x 3. Masks are uint8, height x width; 255 is the person.

    Attributes:
        isolated: the crop before painting; colours of the person replace the background.
        painting: the painted crop; its background is that of `isolated`, if the method does not paint the background.
            A strip beyond the photo's border shows a mirror image of the person.
        cutout: mask of the person in `painting`.
        crop: the crop of the selfie before painting, with its background; it has the size of `painting`.
        frame: the square of the selfie that the avatar shows.
        size_px: side of the avatar in pixels.
    """

    isolated: SquarePicture
    painting: SquarePicture
    cutout: SquareMaskArray
    crop: Crop
    frame: Frame
    size_px: int

    def __repr__(self) -> str:
        """Return the size, without the pixels."""
        return f"<Avatar of {self.size_px} x {self.size_px} px, painted at {self.painted_px} px>"

    @cached_property
    def picture(self) -> Picture:
        """The avatar with the photo's own background.

        The frame can extend beyond the painted crop. There, the picture has the blurred colours of the crop's border.
        Where the photo is transparent, the picture is white.
        """
        square = self.crop.square
        photo = on_white(square.picture, square.alpha)
        return self._with_border(add_change(photo, self.isolated, self.painting, self.cutout))

    @cached_property
    def selfie(self) -> Picture:
        """The part of the selfie that the avatar shows, before painting, on white; it has the size of `picture`."""
        return self._with_border(on_white(self.crop.square.picture, self.crop.square.alpha))

    @cached_property
    def mask(self) -> MaskArray:
        """Mask of the person in `picture`.

        The mask fades out where the photo's border cuts off the person. Narrow strips beyond the border continue it.
        """
        width = strip_width(self.cutout.shape[0])
        cutout, area = continue_person(self.cutout, self.crop.square.inside, width)
        covered = self._in_frame(area, cv2.BORDER_CONSTANT, width)
        return fade_cuts(self._in_frame(cutout, cv2.BORDER_CONSTANT, width), covered)

    @cached_property
    def background(self) -> MaskArray:
        """Mask of the photo's background in `selfie`: 255 where the photo is opaque and shows nothing of the person."""
        visible = visible_area(self.crop.square)
        return cv2.subtract(self._in_frame(visible, cv2.BORDER_CONSTANT), self._in_frame(self.cutout))

    @cached_property
    def person(self) -> Picture:
        """The painted person, with the size of `picture`. Colours of the person replace the background around it."""
        return self._in_frame(self.painting)

    @property
    def image(self) -> Image.Image:
        """The avatar on a transparent background (RGBA)."""
        return Image.fromarray(np.dstack([self.person, self.mask]))

    @property
    def painted_px(self) -> int:
        """Number of painted pixels across the avatar; less than `size_px` if the painting was enlarged."""
        return min(self.size_px, round(self.frame.side * scale_of(self.crop)))

    @property
    def landmarks(self) -> Landmarks:
        """Right eye, left eye, nose, mouth, right ear, left ear; (x, y) in pixels of the upright selfie."""
        return self.crop.face.points

    @property
    def transform(self) -> Transform:
        """The similarity transform (2 x 3) from the selfie's pixels to the avatar's."""
        return self.frame.transform(self.size_px)

    def save(
        self,
        path: Path | str,
        *,
        background: "Background | Path | str" = "backdrop",
        shape: str = "square",
        size_px: int | None = None,
    ) -> None:
        """Write the avatar to a .png, .webp or .jpg file; an existing file is replaced.

        Args:
            path: the file; its suffix gives the format.
            background: "backdrop" (painted in the colour of the photo's background), "transparent", "keep" (the
                photo's own), a CSS colour, a tuple (red, green, blue) from 0 to 255, a PIL image of at least 16 x 16
                pixels, or the path of a picture.
            shape: "square" or "circle".
            size_px: side in pixels, from 16 to 4096; by default `size_px` of the avatar.

        Raises:
            FinishError: a value is not allowed, or the avatar has transparent parts and the format is JPEG.
            OSError: the file cannot be written.
        """
        from portraitist.app.compositing import save_avatar  # it imports this module

        save_avatar(self, Path(path), background, shape, size_px)

    def _with_border(self, aligned: SquarePicture) -> Picture:
        """Map a picture from the crop to the frame; the area outside gets blurred colours of the crop's border."""
        covered = covered_area(self.cutout.shape, between(self.crop.transform, self.transform), self.size_px)
        return fade_border(self._in_frame(aligned), covered)

    def _in_frame(self, plane: np.ndarray, border: int = cv2.BORDER_REPLICATE, margin: int = 0) -> np.ndarray:
        """Map a picture or mask from the crop to the frame.

        Args:
            plane: the picture or mask.
            border: OpenCV's border mode for the area outside the crop.
            margin: number of pixels by which the crop is first extended on each side, by repeating the border pixels.
        """
        to_frame = between(self.crop.transform, self.transform)
        if margin:
            plane = cv2.copyMakeBorder(plane, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
            to_frame[:, 2] -= to_frame[:, :2] @ np.array([margin, margin], np.float32)
        return warp(plane, to_frame, self.size_px, border)


class Portraitist:
    """A loaded model that paints avatars. Thread-safe.

    Args:
        model: a model file, or a folder with `portraitist.onnx`, as stage export writes it; by default the model that
            the package contains.
        device: "cpu", "cuda" or "coreml"; "cuda" needs the package onnxruntime-gpu instead of
            onnxruntime, and "coreml" needs macOS.
        threads: threads per picture; 0 uses all cores. Also sets OpenCV's thread count for the whole process.

    Raises:
        ModelError: the file is missing, damaged or not an exported model, or the device is not available.
    """

    def __init__(self, model: Path | str = DEFAULT_MODEL, device: str = "cpu", threads: int = 0) -> None:
        threads = threads or available_cores()
        loaded = load_model(model, device, threads)
        cv2.setNumThreads(threads)
        self.card, self.any_side = loaded.card, loaded.any_side
        self._path = loaded.path
        self._generator = _Generator(str(loaded.path), loaded.session)
        self._example_generator = _ExampleGenerator(loaded, self._generator)
        self.crop_params, self.mask_params = loaded.metadata.crop, loaded.metadata.mask
        self._styles = loaded.metadata.styles
        self._example_vectors: dict[object, StyleVector] = {}
        self._networks = _Networks(loaded.metadata.parts, self.mask_params.model)
        try:
            self._networks.load()
        except Exception as error:  # of OpenCV, or of numpy if a network has unexpected layers
            raise ModelError(
                f"{model}: the face detector or the segmenter in the model is damaged; export the model again"
            ) from error

    @property
    def style_names(self) -> tuple[str, ...]:
        """The names of the model's styles; the first one, `house`, is the default."""
        return tuple(self._styles) or (HOUSE_STYLE,)

    def allowed_side(self, wanted_px: int) -> int:
        """Return `wanted_px`, or another side in pixels that the model accepts for square pictures.

        Some models accept only one side; others accept several sides. The result is the largest accepted side that is
        at most `wanted_px`. If all accepted sides are larger than `wanted_px`, the result is the smallest of them.
        """
        if not self.any_side:
            return self.crop_params.size_px
        return min(max(wanted_px // SIDE_STEP * SIDE_STEP, MIN_SIDE_PX), MAX_PAINTED_PX)

    def read_style(self, options: StyleOptions) -> Style:
        """Look up a style of the model, or compute the style of an example portrait.

        At most `MAX_EXAMPLES` computed styles are cached.

        Raises:
            StyleError: the model has no style of this name, or cannot paint in the style of an example.
            RejectedError: the example is not a picture.
            OSError: the example cannot be read.
        """
        if options.like is not None:
            return Style(self._example_vector(options.like), options.strength, options.keep_colours, of_example=True)
        if options.name not in self.style_names:
            raise StyleError(f"no style {options.name!r}; this model's styles are {', '.join(self.style_names)}")
        return Style(self._styles.get(options.name), options.strength, options.keep_colours)

    def _example_vector(self, like: Source) -> StyleVector:
        if not self._styles:
            raise StyleError("this model has only one style; `like` needs a model trained with method masked_stylizer")
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
        """Return the crop of an example's face, and the person mask of that crop.

        If the example has no usable face, return its central square, and its alpha channel there (255 if it has none).
        """
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
            ModelError: a network fails, or a generator takes longer than `FIRST_RUN_LIMIT_S`.
        """
        side = self.crop_params.size_px
        blank = np.zeros((side, side, 3), np.uint8)
        self.crops(CleanPicture(blank, None))
        with _model_errors(self._path, "segmenter"):
            self._networks.segmenter(blank)
        self.paint_squares([blank], [blank[..., 0]])
        if self._styles:
            self.paint_squares([blank], [blank[..., 0]], Style(self._styles[HOUSE_STYLE], of_example=True))

    def paint(
        self,
        selfie: Source,
        *,
        style: str = HOUSE_STYLE,
        like: Source | None = None,
        strength: float = 1.0,
        keep_colours: bool = False,
        size_px: int = DEFAULT_SIZE_PX,
        align: bool = False,
    ) -> Avatar:
        """Paint the largest face of a selfie.

        Args:
            selfie: a path, the bytes of a file, an open file, a PIL image, or an array of RGB pixels.
            style: one of `style_names`.
            like: a portrait whose style is used instead of `style`; the types are those of `selfie`.
            strength: weight of the painting when it is blended with the selfie: 0 gives the selfie, 1 the painting.
            keep_colours: keep the selfie's colours of hair, skin and eyes.
            size_px: side of the avatar in pixels, from 16 to 1024; `Avatar.save` can enlarge it. If the face in the
                selfie is small, the painting is smaller, and it is enlarged to this side.
            align: level the eyes, as in the training data, instead of keeping the selfie's orientation.

        Raises:
            RejectedError: a file is not a picture, or the selfie has no usable face; the message gives the reason.
            StyleError: the model has no style of this name, or cannot paint in the style of an example.
            ValueError: `size_px` is not allowed.
            ModelError: the model file is damaged.
            OSError: a file cannot be read.
        """
        (avatar,) = self.paint_all(
            selfie,
            "largest",
            style=style,
            like=like,
            strength=strength,
            keep_colours=keep_colours,
            size_px=size_px,
            align=align,
        )
        if isinstance(avatar, RejectedError):
            raise avatar
        return avatar

    def paint_all(
        self,
        selfie: Source,
        faces: FaceSelection = "each",
        *,
        style: str = HOUSE_STYLE,
        like: Source | None = None,
        strength: float = 1.0,
        keep_colours: bool = False,
        size_px: int = DEFAULT_SIZE_PX,
        align: bool = False,
    ) -> list[Avatar | RejectedError]:
        """Paint every large face of a selfie, or only the largest one.

        Args:
            selfie: as in `paint`.
            faces: "each" paints all faces that are large compared with the largest one, "largest" only that one.
            style: as in `paint`.
            like: as in `paint`.
            strength: as in `paint`.
            keep_colours: as in `paint`.
            size_px: as in `paint`.
            align: as in `paint`.

        Returns:
            For each face, an avatar, or the error that explains why the face was not painted. The largest face comes
            first.

        Raises:
            RejectedError: a file is not a picture.
            StyleError: the model has no style of this name, or cannot paint in the style of an example.
            ValueError: `faces` is neither "largest" nor "each", or `size_px` is not allowed.
            ModelError: the model file is damaged.
            OSError: the file cannot be read.
        """
        if not MIN_SIZE_PX <= size_px <= MAX_PAINTED_PX:
            allowed = f"allowed are {MIN_SIZE_PX} to {MAX_PAINTED_PX}"
            raise ValueError(f"size_px is {size_px}; {allowed}; for a larger file, use avatar.save(..., size_px=...)")
        chosen = self.read_style(StyleOptions(style, like, strength, keep_colours))
        cleaned = read_selfie(selfie)
        return self.paint_crops(cleaned, self.crops(cleaned, faces), size_px, align, chosen)

    def crops(self, cleaned: CleanPicture, faces: FaceSelection = "each") -> list[Crop | RejectedError]:
        """Detect and crop the faces of a picture, largest first; a picture without a face gives one `RejectedError`.

        Raises:
            ValueError: `faces` is neither "largest" nor "each".
            ModelError: the detector in the model file is damaged.
        """
        if faces not in get_args(FaceSelection):
            raise ValueError(f"faces is {faces!r}; allowed are {' and '.join(get_args(FaceSelection))}")
        with _model_errors(self._path, "face detector"):
            return crop_faces(cleaned, self._networks.detector, self.crop_params.model_copy(update={"faces": faces}))

    def crop(self, cleaned: CleanPicture, face: Face) -> Crop:
        """Crop a face whose landmarks are known.

        Raises:
            RejectedError: the face is too small, or too much of the crop lies outside the picture.
        """
        return crop_face(cleaned, face, self.crop_params)

    def mask(self, crop: Crop) -> MaskArray:
        """Return the mask of the person in a crop.

        Unlike stage `mask`, this function accepts a crop that the person covers completely.

        Raises:
            RejectedError: the person covers too little of the crop.
            ModelError: the segmenter in the model file is damaged.
        """
        params = self.mask_params.model_copy(update={"max_person": 1.0})
        with _model_errors(self._path, "segmenter"):
            return person_mask(crop.square, self._networks.segmenter, params, self.crop_params)

    def person(self, cleaned: CleanPicture, crop: Crop) -> MaskArray:
        """Return the mask of the person in a crop, as a square of `MASK_SIDE` pixels per side.

        Other people, and parts that are only loosely connected to the face, are removed.

        Raises:
            RejectedError: the person covers too little of the crop.
            ModelError: the segmenter in the model file is damaged.
        """
        wide = self._cut(cleaned, crop, MASK_SIDE)
        mask = self.mask(wide)
        person = remove_others(mask, wide, crop.other_faces)
        return person if is_alpha(person, wide) else keep_person(person, wide)

    def paint_crops(
        self,
        cleaned: CleanPicture,
        crops: Sequence[Crop | RejectedError],
        size_px: int = DEFAULT_SIZE_PX,
        align: bool = False,
        style: Style | None = None,
    ) -> list[Avatar | RejectedError]:
        """Segment and paint crops; the default style is `house`. Results are in the order of `crops`.

        If an element of `crops` is an error, its result is the same error. If a crop cannot be painted, its result is a
        `RejectedError` with the reason.
        """
        avatars: list[Avatar | RejectedError] = []
        for crop in crops:
            if isinstance(crop, RejectedError):
                avatars.append(crop)
                continue
            try:
                person = self.person(cleaned, crop)
                frame = whole_crop(crop) if align else upright_frame(crop, person)
                avatars.append(self.paint_frame(cleaned, crop, person, frame, size_px, style))
            except RejectedError as error:
                avatars.append(error)
        return avatars

    def paint_frame(
        self,
        cleaned: CleanPicture,
        crop: Crop,
        person: MaskArray,
        frame: Frame,
        size_px: int = DEFAULT_SIZE_PX,
        style: Style | None = None,
    ) -> Avatar:
        """Paint a crop, and return the avatar that shows the frame.

        Crop and frame are squares of the selfie. Both are scaled by the same factor before the crop is painted. The
        factor is chosen so that the frame has `size_px` pixels per side. The factor is smaller if the face in the
        selfie is small. It is also limited to sides that the model can paint; see `_paint_side`. Before painting,
        colours of the person replace the background. If the selfie is enlarged, it and the painting are blurred a
        little. Where the photo ends in the crop, the person is mirrored for the generator. A black-and-white selfie
        gets one tint. If the model has styles, dark areas stay dark, and eyes and mouth keep the selfie's details. The
        last three steps are left out with an example. Finally, stains are limited.

        Args:
            cleaned: the selfie.
            crop: the aligned crop, at any size.
            person: mask of the person in the crop, at any size.
            frame: the part of the selfie that the avatar shows.
            size_px: side of the avatar; a value above `MAX_PAINTED_PX` is reduced to `MAX_PAINTED_PX`.
            style: by default the style `house`.
        """
        size_px = min(size_px, MAX_PAINTED_PX)
        crop = self._cut(cleaned, crop, self._paint_side(whole_crop(crop).side, frame.side, size_px))
        cutout = refine_person(person, crop)
        isolated, area = isolate_person(crop, cutout)
        selfie = isolated.square.picture
        style = style or Style(None)
        height, width = cleaned.picture.shape[:2]
        stylized = paint_crop(
            lambda picture, mask: self.paint_squares([picture], [mask], style)[0], isolated, area, (width, height)
        )
        area, _ = continue_person(area, crop.square.inside, strip_width(cutout.shape[0]))
        if not style.of_example:  # the colours of an example are kept
            stylized = with_one_tint(stylized, area, grey_weight(selfie, cutout))
            if self._styles:  # `masked_stylizer` takes styles, and smooths its input
                stylized = with_features(with_shadows(stylized, selfie, area), selfie, cutout, crop)
        painting = style.finish(without_stains(stylized, selfie, area, stain_weight(crop)), selfie, area)
        return Avatar(selfie, painting, cutout, crop, frame, size_px)

    def _paint_side(self, crop_px: float, frame_px: float, size_px: int) -> int:
        """Return the side in pixels at which a crop is painted.

        Crop and frame are scaled by the same factor, so that the frame has `size_px` pixels per side. The factor is at
        most `MAX_ENLARGEMENT`, compared with the size in the selfie. A side below `MIN_PAINTED_PX` is then raised to
        `MIN_PAINTED_PX`. Finally, the side is changed to one that the model can paint.

        Args:
            crop_px: side of the crop in the selfie's pixels.
            frame_px: side of the frame in the selfie's pixels.
            size_px: side of the avatar.
        """
        wanted = min(size_px * crop_px / frame_px, MAX_ENLARGEMENT * crop_px)
        return self.allowed_side(max(int(wanted), MIN_PAINTED_PX))

    def _cut(self, cleaned: CleanPicture, crop: Crop, side: int) -> Crop:
        """Cut the same square as `crop` from the selfie, scaled to `side` pixels.

        The crop has passed the checks of its size and position already, so they are not repeated.
        """
        limits = {"size_px": side, "max_upscale": float("inf"), "min_visible": 0.0}
        return crop_face(cleaned, crop.face, self.crop_params.model_copy(update=limits))

    def paint_squares(
        self, pictures: Sequence[Picture], masks: Sequence[MaskArray], style: Style | None = None
    ) -> list[Picture]:
        """Run the generator on square pictures and their masks.

        Args:
            pictures: crops of selfies, all with the same side, which the model must allow (`allowed_side`).
            masks: masks of the persons, with the same side.
            style: its vector is used, and it determines the generator; by default the style `house`.

        Raises:
            ModelError: the graph fails, does not return pictures, or takes too long in its first run.
        """
        style = style or Style(None)
        vector = self._styles.get(HOUSE_STYLE) if style.vector is None else style.vector
        inputs = {"pictures": np.stack(pictures), "masks": np.stack(masks)}
        if vector is not None:
            inputs["styles"] = np.tile(vector, (len(pictures), 1))
        generator = self._example_generator.load() if style.of_example else self._generator
        return list(generator(inputs))


class _Generator:
    """Runs a generator's graph. Thread-safe.

    Args:
        name: name of the graph, for messages; it contains the path of the model file.
        session: has loaded the graph.
    """

    def __init__(self, name: str, session: onnxruntime.InferenceSession) -> None:
        self.name, self.session = name, session
        self._has_run = False

    def __call__(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """Return the painted pictures: uint8, of the shape of `inputs["pictures"]`.

        Raises:
            ModelError: the graph fails, does not return pictures, or takes too long in its first run.
        """
        (stylized,) = self._run(inputs)
        expected = inputs["pictures"].shape
        if not isinstance(stylized, np.ndarray) or stylized.dtype != np.uint8 or stylized.shape != expected:
            found = f"{getattr(stylized, 'dtype', type(stylized))} of shape {getattr(stylized, 'shape', ())}"
            raise ModelError(
                f"{self.name}: the model returns {found}; expected uint8 of shape {expected}; export the model again"
            )
        return stylized

    def _run(self, inputs: dict[str, np.ndarray]) -> list[Any]:
        options = onnxruntime.RunOptions()
        options.log_severity_level = 4  # print nothing: errors are raised as exceptions
        timer = threading.Timer(FIRST_RUN_LIMIT_S, setattr, (options, "terminate", True))
        timer.daemon = True
        if not self._has_run:
            timer.start()
        try:
            outputs = self.session.run(["painted"], inputs, options)
        except Exception as error:  # onnxruntime's exceptions have no common base class
            if getattr(options, "terminate", False):
                raise ModelError(
                    f"{self.name}: the model was stopped, because its first run took more than {FIRST_RUN_LIMIT_S:g} "
                    "s; a valid model takes about a second. Replace the model file if it is damaged, or try again when "
                    "the computer is less busy"
                ) from error
            raise ModelError(f"{self.name}: the model cannot run: {first_line(error)}") from error
        finally:
            timer.cancel()
        self._has_run = True
        return list(outputs)


class _ExampleGenerator:
    """The generator that paints in the style of examples, loaded on first use. Thread-safe."""

    def __init__(self, model: LoadedModel, main: _Generator) -> None:
        self._model, self._main = model, main
        self._lock = threading.Lock()
        self._generator: _Generator | None = None

    def load(self) -> _Generator:
        """Return this generator, or the main one if the model file contains no other.

        Raises:
            ModelError: the generator in the model file is damaged.
        """
        with self._lock:
            if self._generator is None:
                session, name = self._model.open_example_generator(), self._model.example_generator_name
                self._generator = self._main if session is self._main.session else _Generator(name, session)
            return self._generator


class _Networks(threading.local):
    """Face detector and segmenter, loaded once per thread, because OpenCV's networks store their last input."""

    _loading = threading.Lock()

    def __init__(self, parts: dict[str, bytes], model: MaskModel) -> None:
        self._parts, self._model = parts, model
        self._pair: tuple[FaceDetector, Segmenter] | None = None

    def load(self) -> tuple[FaceDetector, Segmenter]:
        """Return the face detector and the segmenter of this thread; they are loaded on first use."""
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
def _model_errors(path: Path, part: str) -> Iterator[None]:
    """Convert exceptions of a damaged network to a `ModelError`.

    Args:
        path: the model file, for the message.
        part: name of the network, for the message.
    """
    try:
        yield
    except (RejectedError, ModelError):
        raise
    except (cv2.error, ArithmeticError, ValueError, LookupError, MemoryError) as error:
        raise ModelError(
            f"{path}: the {part} in the model fails: {first_line(error)}; if the file is damaged, {remedy(path)}"
        ) from error
