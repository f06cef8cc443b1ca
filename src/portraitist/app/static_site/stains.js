// Removes stains of colour from paintings of blurred or black-and-white photos: the counterpart of stains.py, with its constants.

import { faceInCrop } from "./framing.js";
import * as math from "./image_math.js";

const [SHARP, BLURRED] = [0.62, 0.52];
const [FINE, COARSE] = [[1, 3], [2, 6]];
const STRENGTH = [0.7, 1, 1];
const [GRID, SIGMA] = [128, 0.015];
const [GREY, COLOURED] = [6, 10];

// Returns how grey the person in a photo is: from 0 (coloured, or no person) to 1 (black and white).
export function greyWeight({ data }, mask) {
  let [sum, count] = [0, 0];
  for (let i = 0, at = 0; i < mask.data.length; i++, at += 3) {
    if (mask.data[i] <= 127) continue;
    sum += Math.max(data[at], data[at + 1], data[at + 2]) - Math.min(data[at], data[at + 1], data[at + 2]);
    count++;
  }
  return count ? math.clamp((COLOURED - sum / count) / (COLOURED - GREY), 0, 1) : 0;
}

// Moves the hues of a painted person towards their mean. The lightness does not change.
export function withOneTint(painted, mask, weight) {
  if (weight === 0) return painted;
  const lab = math.toLab(painted, mask);
  let [a, b, count] = [0, 0, 0];
  for (let i = 0, at = 0; i < mask.data.length; i++, at += 3) {
    if (mask.data[i] <= 127) continue;
    a += lab[at + 1];
    b += lab[at + 2];
    count++;
  }
  if (!count) return painted;
  const result = Uint8ClampedArray.from(painted.data);
  for (let i = 0, at = 0; i < mask.data.length; i++, at += 3) {
    if (!mask.data[i]) continue;
    math.setRgb(result, at, lab[at], lab[at + 1] + weight * (a / count - lab[at + 1]), lab[at + 2] + weight * (b / count - lab[at + 2]));
  }
  return { ...painted, data: result };
}

// Returns how strongly a painting of this crop is corrected: from 0 (the face is sharp) to 1 (blurred).
export function stainWeight(crop) {
  const { picture } = crop;
  const { centre, length: radius } = faceInCrop(crop);
  const [left, top] = centre.map((value) => Math.max(0, math.roundHalfEven(value - radius)));
  const [right, bottom] = centre.map((value) => Math.min(picture.width, math.roundHalfEven(value + radius)));
  if (right <= left || bottom <= top) return 0;
  const [width, height] = [right - left, bottom - top];
  const grey = math.toGrey(math.cut(picture, left, top, width, height)).data;
  return math.clamp((SHARP - detail(grey, width, height)) / (SHARP - BLURRED), 0, 1);
}

// Returns the contrast of fine structures, divided by that of structures of twice the size.
function detail(grey, width, height) {
  const blurred = (sigma) => math.convolve(grey, width, height, 1, math.gaussianKernel(sigma, 8));
  const contrast = ([narrow, wide]) => {
    const second = blurred(wide);
    const difference = math.mapTo(Float32Array, blurred(narrow), (value, i) => value - second[i]);
    const mean = difference.reduce((sum, value) => sum + value, 0) / difference.length;
    return Math.sqrt(difference.reduce((sum, value) => sum + (value - mean) ** 2, 0) / difference.length);
  };
  return contrast(FINE) / Math.max(contrast(COARSE), 1e-6);
}

// Moves the low frequencies of a painted person towards the photo's. Mean colour, contrast and strokes do not change.
export function withoutStains(painted, photo, mask, weight) {
  if (weight === 0 || math.allEqual(mask.data, 0)) return painted;
  const { width: side } = painted;
  const weights = math.mapBytes(Float32Array, math.resize(mask, GRID, GRID, "area").data, (value) => value / 255);
  const total = math.convolve(weights, GRID, GRID, 1, math.gaussianKernel(SIGMA * GRID, 8));
  const paintedLab = math.toLab(painted, mask);
  const low = [paintedLab, math.toLab(photo, mask)].map((lab) => {
    const weighted = new Float32Array(lab.length);
    for (let i = 0, at = 0; i < mask.data.length; i++, at += 3) {
      for (let c = at; c < at + 3; c++) weighted[c] = (lab[c] * mask.data[i]) / 255;
    }
    const sums = math.convolve(math.resize({ ...painted, data: weighted }, GRID, GRID, "area").data, GRID, GRID, 3, math.gaussianKernel(SIGMA * GRID, 8));
    return sums.map((value, i) => value / Math.max(total[Math.floor(i / 3)], 1e-3));
  });
  const whole = weights.reduce((sum, value) => sum + value, 0);
  const means = low.map((plane) => [0, 1, 2].map((c) => weights.reduce((sum, value, i) => sum + value * plane[3 * i + c], 0) / whole));
  const [paintedSpread, photoSpread] = low.map((plane, n) =>
    Math.sqrt(weights.reduce((sum, value, i) => sum + value * (plane[3 * i] - means[n][0]) ** 2, 0)));
  const scale = [paintedSpread / Math.max(photoSpread, 1e-3), 1, 1];
  const correction = low[0].map((value, i) => {
    const c = i % 3;
    return weight * STRENGTH[c] * (means[0][c] + (low[1][i] - means[1][c]) * scale[c] - value);
  });
  const enlarged = math.resize({ width: GRID, height: GRID, channels: 3, data: correction }, side, side, "linear").data;
  const result = Uint8ClampedArray.from(painted.data);
  for (let i = 0, at = 0; i < mask.data.length; i++, at += 3) {
    if (!mask.data[i]) continue;
    for (let c = at; c < at + 3; c++) paintedLab[c] += (enlarged[c] * mask.data[i]) / 255;
    math.setRgb(result, at, paintedLab[at], paintedLab[at + 1], paintedLab[at + 2]);
  }
  return { ...painted, data: result };
}
