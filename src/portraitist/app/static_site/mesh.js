// Removes fine patterns that the generator paints where the photo is smooth: the counterpart of mesh.py, with its constants.

import * as math from "./image_math.js";

const [FINE, WINDOW, EPSILON, MAX_AMPLIFICATION] = [2.5, 17, 1e-6, 2.5];

// Reduces the fine structures of a painted person where they are much stronger than the photo's.
export function withoutMesh(painted, photo, mask) {
  const coarse = math.gaussianBlur(painted, FINE);
  const variance = fineVariance(grey(painted), grey(coarse));
  const photoGrey = grey(photo);
  const photoVariance = fineVariance(photoGrey, math.gaussianBlur(photoGrey, FINE));
  const data = Uint8ClampedArray.from(painted.data);
  for (let i = 0, at = 0; i < mask.data.length; i++, at += 3) {
    if (!mask.data[i]) continue;
    const kept = Math.min(1, MAX_AMPLIFICATION * Math.sqrt(photoVariance[i] / (variance[i] + EPSILON)));
    for (let c = at; c < at + 3; c++) data[c] = coarse.data[c] + kept * (painted.data[c] - coarse.data[c]);
  }
  return { ...painted, data };
}

function grey({ width, height, data }) {
  const values = new Uint8ClampedArray(width * height);
  for (let i = 0, at = 0; i < values.length; i++, at += 3) values[i] = 0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2];
  return { width, height, channels: 1, data: values };
}

// Returns the local variance of fine structures, in squared grey values (0 to 255).
function fineVariance({ width, height, data }, coarse) {
  const squares = Float32Array.from(data, (value, i) => (value - coarse.data[i]) ** 2);
  return math.boxBlur(squares, width, height, 1, WINDOW).map((mean) => Math.max(mean, 0)); // rounding can make 0 negative
}
