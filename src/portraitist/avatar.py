"""The product: a selfie's bytes to an avatar, by the very functions that made the training data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from portraitist.checkpoint import CheckpointError, open_learner
from portraitist.clean import RefusedError, read
from portraitist.crop import Crop, FaceDetector, crop_face
from portraitist.images import to_images, to_masks, to_pictures
from portraitist.mask import Segmenter, person_mask
from portraitist.methods import Painter
from portraitist.params import CropParams, MaskParams
from portraitist.pictures import Picture, Plane, over

__all__ = ["Avatar", "CheckpointError", "Portraitist", "RefusedError"]

AT_ONCE = 16  # pictures painted in one go


@dataclass(frozen=True)
class Avatar:
    """A painted face: the picture, its person mask, and the crop that it was painted from."""

    picture: Picture
    mask: Plane
    crop: Crop

    def transparent(self) -> Image.Image:
        """RGBA: the person alone."""
        return Image.fromarray(np.dstack([self.picture, self.mask]))

    def before(self, colour: tuple[int, int, int]) -> Image.Image:
        """RGB: the person before one colour."""
        return Image.fromarray(over(self.picture, self.mask, colour))

    def as_painted(self) -> Image.Image:
        """RGB: with the background that the method left or painted."""
        return Image.fromarray(self.picture)


class Portraitist:
    """A trained model, with the detector and the segmenter that its training pictures went through."""

    def __init__(
        self, painter: Painter, detector: FaceDetector, segmenter: Segmenter, crop: CropParams, mask: MaskParams
    ) -> None:
        self.painter, self.detector, self.segmenter = painter, detector, segmenter
        self.crop_params, self.mask_params = crop, mask

    @classmethod
    def open(cls, model: Path | str, pretrained: Path | str | None = None) -> "Portraitist":
        """The model in a checkpoint; `pretrained` is the folder of stage weights, by default beside the checkpoint.

        Raises:
            CheckpointError: The file is missing, or no model that paints.
            FileNotFoundError: The pretrained parts are not where they should be.
        """
        model = Path(model)
        learner, about = open_learner(model)
        if not isinstance(learner, Painter):
            raise CheckpointError(f"{model}: holds {about['method']}, which does not paint")
        parts = Path(pretrained) if pretrained else model.parent / "pretrained"
        crop, mask = CropParams(**about["crop"]), MaskParams(**about["mask"])
        return cls(learner, FaceDetector(parts), Segmenter(parts, mask.model), crop, mask)

    def paint(self, selfie: Path | str | bytes) -> Avatar:
        """The largest face of a selfie, painted.

        Raises:
            RefusedError: The file is no picture, or shows no face that can be used; the message says what was found.
            OSError: The file cannot be read.
        """
        data = selfie if isinstance(selfie, bytes) else Path(selfie).read_bytes()
        crop = crop_face(read(data), self.detector, self.crop_params)
        mask = person_mask(crop.square, self.segmenter, self.mask_params, self.crop_params)
        return Avatar(self.paint_squares([crop.square.picture], [mask])[0], mask, crop)

    def paint_squares(self, pictures: Sequence[Picture], masks: Sequence[Plane]) -> list[Picture]:
        """Crops with their masks, painted: what `paint` does after finding and masking the face."""
        painted: list[Picture] = []
        for start in range(0, len(pictures), AT_ONCE):
            now = slice(start, start + AT_ONCE)
            painted += to_pictures(self.painter.paint(to_images(list(pictures[now])), to_masks(list(masks[now]))))
        return painted
