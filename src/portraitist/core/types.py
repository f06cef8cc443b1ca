"""Array types that all packages share."""

import numpy as np
from jaxtyping import UInt8

Picture = UInt8[np.ndarray, "height width 3"]  # RGB, 0 to 255
MaskArray = UInt8[np.ndarray, "height width"]  # a mask or an alpha channel, 0 to 255
SquarePicture = UInt8[np.ndarray, "side side 3"]  # own axis name: its size differs from that of its source picture
SquareMaskArray = UInt8[np.ndarray, "side side"]
Tile = UInt8[np.ndarray, "_ _ 3"] | UInt8[np.ndarray, "_ _"]  # a tile of a contact sheet; tiles may differ in size
ContactSheet = UInt8[np.ndarray, "_ _ 3"]
HALF_RANGE = 127.5  # networks take pixel values in [-1, 1]: value / HALF_RANGE - 1
