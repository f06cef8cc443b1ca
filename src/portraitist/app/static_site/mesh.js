// Removes fine patterns that the generator paints where the photo is smooth: the counterpart of mesh.py, with its constants.

import * as math from "./image_math.js";

const [FINE, WINDOW, MAX_AMPLIFICATION] = [2.5, 17, 2.5];

// Reduces the fine structures of a painted person where they are much stronger than the photo's.
export function withoutMesh(painted, photo, mask) {
  const coarse = math.gaussianBlur(painted, FINE);
  const contrast = fineContrast(painted, coarse);
  const photoContrast = fineContrast(photo, math.gaussianBlur(photo, FINE));
  const data = Uint8ClampedArray.from(painted.data);
  for (let i = 0, at = 0; i < mask.data.length; i++, at += 3) {
    if (!mask.data[i]) continue;
    const kept = Math.min(1, (MAX_AMPLIFICATION * photoContrast[i]) / (contrast[i] + 1e-3));
    for (let c = at; c < at + 3; c++) data[c] = coarse.data[c] + kept * (painted.data[c] - coarse.data[c]);
  }
  return { ...painted, data };
}

// Returns the local standard deviation of fine structures, in grey values from 0 to 255.
function fineContrast({ width, height, data }, coarse) {
  const squares = new Float32Array(width * height);
  for (let i = 0, at = 0; i < squares.length; i++, at += 3) {
    const fine = (data[at] + data[at + 1] + data[at + 2] - coarse.data[at] - coarse.data[at + 1] - coarse.data[at + 2]) / 3;
    squares[i] = fine * fine;
  }
  return math.boxBlur(squares, width, height, 1, WINDOW).map((mean) => Math.sqrt(Math.max(mean, 0))); // rounding can make 0 negative
}
