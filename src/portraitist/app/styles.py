"""Style options of a painting."""

from dataclasses import dataclass

from portraitist.app.selfie import Source


@dataclass(frozen=True)
class StyleOptions:
    """Which style a selfie is painted in, and how strongly.

    Attributes:
        name: a style of the model.
        like: a portrait whose style is used instead.
        strength: from 0, the selfie, to 1, the painting.
        keep_colours: keep the selfie's colours of hair, skin and eyes.
    """

    name: str = "house"
    like: Source | None = None
    strength: float = 1.0
    keep_colours: bool = False
