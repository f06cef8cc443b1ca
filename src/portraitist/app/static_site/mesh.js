// Removes fine patterns from paintings of blurred photos: the counterpart of mesh.py, with its constants.

import * as math from "./image_math.js";

const [FINE, WINDOW, MAX_AMPLIFICATION, EPSILON] = [2.5, 17, 2.5, 1e-6];

// Reduces the fine structures of a painted person where they are much stronger than the photo's. `weight` is from 0 to 1.
export function withoutMesh(painted, photo, mask, weight) {
  if (weight === 0 || !mask.data.some(Boolean)) return painted;
  const person = math.mapTo(Float32Array, mask.data, (value) => (value ? 1 : 0));
  const fine = fineStructures(painted, person);
  const [photoVariance, variance] = [fineStructures(photo, person), fine].map((each) => localVariance(each, person, mask));
  const data = Uint8ClampedArray.from(painted.data);
  for (let i = 0, at = 0; i < person.length; i++, at += 3) {
    if (!person[i]) continue;
    const removed = weight * (1 - Math.min(1, MAX_AMPLIFICATION * Math.sqrt(photoVariance[i] / (variance[i] + EPSILON))));
    for (let c = at; c < at + 3; c++) data[c] = painted.data[c] - removed * fine[c];
  }
  return { ...painted, data };
}

// Returns the difference between each pixel and the local mean of the person.
function fineStructures({ width, height, data }, person) {
  const kernel = math.gaussianKernel(FINE, 8);
  const total = math.convolve(person, width, height, 1, kernel);
  const weighted = new Float32Array(data.length);
  for (let i = 0; i < data.length; i++) weighted[i] = data[i] * person[Math.floor(i / 3)];
  const mean = math.convolve(weighted, width, height, 3, kernel);
  for (let i = 0; i < data.length; i++) mean[i] = data[i] - mean[i] / (total[Math.floor(i / 3)] + EPSILON);
  return mean;
}

// Returns the local mean of the squares of fine structures, over all channels and the person's pixels.
function localVariance(fine, person, { width, height }) {
  const squares = new Float32Array(person.length);
  for (let i = 0, at = 0; i < squares.length; i++, at += 3) squares[i] = (person[i] * (fine[at] ** 2 + fine[at + 1] ** 2 + fine[at + 2] ** 2)) / 3;
  const [sums, total] = [squares, person].map((plane) => math.boxBlur(plane, width, height, 1, WINDOW));
  for (let i = 0; i < sums.length; i++) sums[i] = Math.max(sums[i], 0) / (total[i] + EPSILON); // rounding can make 0 negative
  return sums;
}
