"""Array types that every part of the package shares."""

import numpy as np
from jaxtyping import UInt8

Picture = UInt8[np.ndarray, "height width 3"]  # RGB, 0 to 255
MaskArray = UInt8[np.ndarray, "height width"]  # one value a pixel, 0 to 255: a mask or an alpha
SquarePicture = UInt8[np.ndarray, "side side 3"]  # of another size than the picture it was made from
SquareMaskArray = UInt8[np.ndarray, "side side"]
Tile = UInt8[np.ndarray, "_ _ 3"] | UInt8[np.ndarray, "_ _"]  # of any size, whatever the others'
ContactSheet = UInt8[np.ndarray, "_ _ 3"]
HALF_RANGE = 127.5  # of 255: networks see pictures in [-1, 1]
