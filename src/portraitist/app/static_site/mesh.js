// Removes fine patterns from paintings of blurred photos: the counterpart of mesh.py, with its constants.

import * as math from "./image_math.js";

const [FINE, WINDOW, OUTLINE, OPAQUE] = [2.5, 17, 5, 250];
const [MAX_AMPLIFICATION, EPSILON] = [2.5, 1e-6];

// Reduces the fine structures of a painted person where they are much stronger than the photo's. `weight` is from 0 to 1.
export function withoutMesh(painted, photo, mask, weight) {
  if (weight === 0) return painted;
  const opaque = { ...mask, data: math.mapTo(Uint8ClampedArray, mask.data, (value) => (value >= OPAQUE ? 255 : 0)) };
  const inner = math.mapTo(Float32Array, math.erode(opaque, 2 * OUTLINE + 1).data, (value) => value / 255);
  const { width, height } = mask;
  const kernel = math.gaussianKernel(FINE, 8);
  const blurred = math.convolve(inner, width, height, 1, kernel);
  const [fine, photoFine] = [painted, photo].map(({ data }) => {
    const weighted = new Float32Array(data.length);
    for (let i = 0; i < data.length; i++) weighted[i] = data[i] * inner[(i / 3) | 0];
    const result = math.convolve(weighted, width, height, 3, kernel); // sums, from which the means are subtracted in place
    for (let i = 0; i < data.length; i++) result[i] = data[i] - result[i] / (blurred[(i / 3) | 0] + EPSILON);
    return result;
  });
  const [energy, photoEnergy] = [fine, photoFine].map((each) => localEnergy(each, inner, mask));
  const data = Uint8ClampedArray.from(painted.data);
  for (let i = 0, at = 0; i < inner.length; i++, at += 3) {
    if (!inner[i]) continue;
    const removed = weight * (1 - Math.min(1, MAX_AMPLIFICATION * Math.sqrt(photoEnergy[i] / (energy[i] + EPSILON))));
    for (let c = at; c < at + 3; c++) data[c] = painted.data[c] - removed * fine[c];
  }
  return { ...painted, data };
}

// Returns the local mean of the squares of fine structures, over all channels; pixels outside `inner` count as 0.
function localEnergy(fine, inner, { width, height }) {
  const squares = new Float32Array(inner.length);
  for (let i = 0, at = 0; i < squares.length; i++, at += 3) {
    squares[i] = (inner[i] * (fine[at] ** 2 + fine[at + 1] ** 2 + fine[at + 2] ** 2)) / 3;
  }
  return math.boxBlur(squares, width, height, 1, WINDOW).map((mean) => Math.max(mean, 0)); // rounding can make a sum of zeros negative
}
