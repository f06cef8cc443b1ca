"""Parameters and small pictures that many tests use."""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from portraitist.augment.params import AugmentParams
from portraitist.clean.params import CleanParams
from portraitist.core.types import MaskArray, Picture
from portraitist.crop.params import CropParams
from portraitist.mask.params import MaskParams
from portraitist.split.params import SplitParams

CLEAN = CleanParams(
    min_side_px=16,
    max_megapixels=50,
    max_side_px=1024,
    max_megabytes=20,
    max_aspect=3,
    min_entropy_bits=1,
    min_sharpness={"selfies": 0, "portraits": 0},
    max_hamming_distance=8,
    min_correlation=0.97,
    task_memory_mb=2048,
    task_cpu_s=5,
    task_wall_s=60,
    shard_size=4,
)
CROP = CropParams(
    size_px=96,
    eye_line=0.44,
    eye_to_mouth=0.2,
    closest_eye_to_mouth=0.32,
    min_score=0.5,
    max_upscale=2,
    min_visible=0.5,
    faces="largest",
    min_relative_size=0.5,
    shard_size=4,
)
MASK = MaskParams(model="refined", min_person=0.1, max_person=0.95, shard_size=4)
SPLIT = SplitParams(salt="portraitist", train=0.6, validation=0.1, max_hamming_distance=6)
NO_AUGMENTATION = AugmentParams(
    seed=3,
    backgrounds=["solid"],
    backgrounds_folder=Path("none"),
    library_size=0,
    recipes_per_person=1,
    light_wrap=0,
    flip_probability=0,
    max_rotation_degrees=0,
    max_zoom=0,
    max_shift=0,
    brightness=0,
    hue=0,
    shard_size=4,
)


def changed(section: Any, **values: Any) -> Any:
    """Return a validated copy of a section of parameters, with some values changed."""
    return type(section)(**(section.model_dump() | values))


def smooth(seed: int, height: int = 40, width: int = 56) -> Picture:
    """Return an asymmetric picture of smooth random colours, which JPEG hardly changes."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).round().astype(np.uint8)


def encoded(picture: Picture | MaskArray | Image.Image, form: str, **how: Any) -> bytes:
    """Return a picture as a file in one of Pillow's formats; `how` are options of `Image.save`."""
    buffer = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(buffer, form, **how)
    return buffer.getvalue()


def selfie(sample: Path, number: int) -> Picture:
    """Return selfie `number` of the sample: RGB, uint8."""
    return np.array(Image.open(sample / "selfies" / f"{number:04d}.jpg"))
