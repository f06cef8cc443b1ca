"""Methods beside each other: their numbers as one table, their avatars as one sheet."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from portraitist.pictures import Picture


def table(measured: dict[str, dict[str, dict[str, Any]]]) -> pd.DataFrame:
    """A row for each metric and method: value, low, high, n, and `shown`, all three in words."""
    rows = [
        {"metric": metric, "method": method, **{key: found[key] for key in ("value", "low", "high", "n")}}
        for method, metrics in measured.items()
        for metric, found in metrics.items()
    ]
    frame = pd.DataFrame(rows)
    frame["shown"] = [f"{row.value:.3g} [{row.low:.3g}, {row.high:.3g}]" for row in frame.itertuples()]
    return frame


def contact_sheet(models: list[Path]) -> Picture:
    """Input, portraits, each method's avatars, and the mask that was learned, as it sees the last method's."""
    names = ["input", "portraits"]
    strips = [_strip(models[-1] / f"{name}.png", name) for name in names]
    strips += [_strip(model / "painted.png", model.name) for model in models]
    strips.append(_strip(models[-1] / "learned mask.png", "learned mask"))
    return np.concatenate(strips, axis=1)


def _strip(path: Path, label: str) -> Picture:
    with Image.open(path) as picture:
        return np.array(picture.convert("RGB"))
