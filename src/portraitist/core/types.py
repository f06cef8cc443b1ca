"""Array types that all packages share."""

import numpy as np
from jaxtyping import UInt8

Picture = UInt8[np.ndarray, "height width 3"]  # RGB, 0 to 255
MaskArray = UInt8[np.ndarray, "height width"]  # a mask or an alpha channel, 0 to 255
# Squares have an axis name of their own, because their size differs from that of the picture that they are cut from.
SquarePicture = UInt8[np.ndarray, "side side 3"]
SquareMaskArray = UInt8[np.ndarray, "side side"]
# A contact sheet is one picture that shows many others as tiles. Tiles may differ in size.
Tile = UInt8[np.ndarray, "_ _ 3"] | UInt8[np.ndarray, "_ _"]
ContactSheet = UInt8[np.ndarray, "_ _ 3"]
HALF_RANGE = 127.5  # networks take pixels in [-1, 1], computed as value / HALF_RANGE - 1
