// Removes fine patterns from paintings of blurred photos: the counterpart of mesh.py, with its constants.

import * as math from "./image_math.js";

const [FINE, WINDOW, OUTLINE, OPAQUE] = [2.5, 17, 5, 250];
const [MAX_AMPLIFICATION, EPSILON] = [2.5, 1e-6];

// Reduces the fine structures of a painted person where they are much stronger than the photo's. `weight` is from 0 to 1.
export function withoutMesh(painted, photo, mask, weight) {
  if (weight === 0) return painted;
  const opaque = { ...mask, data: math.mapTo(Uint8ClampedArray, mask.data, (value) => (value >= OPAQUE ? 255 : 0)) };
  const inner = math.mapTo(Float32Array, math.erode(opaque, 2 * OUTLINE + 1).data, (value) => value / 255);
  if (!inner.some(Boolean)) return painted;
  const { width, height } = mask;
  const kernel = math.gaussianKernel(FINE, 8);
  const [blurred, counts] = [math.convolve(inner, width, height, 1, kernel), math.boxBlur(inner, width, height, 1, WINDOW)];
  const [{ fine, variance }, { variance: photoVariance }] = [painted, photo].map(({ data }) => fineStructures(data, { inner, blurred, counts, width, height, kernel }));
  const data = Uint8ClampedArray.from(painted.data);
  for (let i = 0, at = 0; i < inner.length; i++, at += 3) {
    if (!inner[i]) continue;
    const removed = weight * (1 - Math.min(1, MAX_AMPLIFICATION * Math.sqrt(photoVariance[i] / (variance[i] + EPSILON))));
    for (let c = at; c < at + 3; c++) data[c] = painted.data[c] - removed * fine[c];
  }
  return { ...painted, data };
}

// Returns the difference between each pixel and the local mean, and the local mean of its squares over all channels. Only
// pixels where `inner` is 1 count; `blurred` and `counts` are its local means.
function fineStructures(data, { inner, blurred, counts, width, height, kernel }) {
  const weighted = new Float32Array(data.length);
  for (let i = 0; i < data.length; i++) weighted[i] = data[i] * inner[Math.floor(i / 3)];
  const fine = math.convolve(weighted, width, height, 3, kernel);
  const squares = new Float32Array(inner.length);
  for (let i = 0, at = 0; i < inner.length; i++, at += 3) {
    for (let c = at; c < at + 3; c++) fine[c] = data[c] - fine[c] / (blurred[i] + EPSILON);
    squares[i] = (inner[i] * (fine[at] ** 2 + fine[at + 1] ** 2 + fine[at + 2] ** 2)) / 3;
  }
  const variance = math.boxBlur(squares, width, height, 1, WINDOW);
  for (let i = 0; i < variance.length; i++) variance[i] = Math.max(variance[i], 0) / (counts[i] + EPSILON); // rounding can make a sum of zeros negative
  return { fine, variance };
}
