// Removes stains of colour from paintings: the counterpart of stains.py, with its constants.

import { faceInCrop } from "./framing.js";
import * as math from "./image_math.js";

const [SHARP, BLURRED] = [0.62, 0.52];
const [FINE, COARSE] = [[1, 3], [2, 6]];
const STRENGTH = [0.7, 1, 1];
const [GRID, SIGMA] = [64, 0.015];
const [MAX_DEVIATION, OUTLIER, LIGHTNESS_WEIGHT] = [3, 5, 0.6];
const [FITS, RIDGE] = [3, 1e-4];
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

// Corrects the low frequencies of a painted person by the photo's. Finer details do not change. `weight`, from 0 to 1, is how far the
// low frequencies are moved towards the photo's before deviations are limited.
export function withoutStains(painted, photo, mask, weight) {
  if (math.allEqual(mask.data, 0)) return painted;
  const opacity = { ...mask, data: math.mapBytes(Float32Array, mask.data, (value) => value / 255) };
  const { data: weights } = math.resize(opacity, GRID, GRID, "area");
  const total = blur(weights, 1);
  const [low, lowPhoto] = [painted, photo].map((picture) => {
    const reduced = math.resize({ ...picture, data: timesMask(picture.data, mask.data) }, GRID, GRID, "area");
    return blur(reduced.data, 3).map((value, i) => value / Math.max(total[Math.floor(i / 3)], 1e-6));
  });
  const original = math.labOfFloats(lowPhoto);
  const moved = movedTowards(math.labOfFloats(low), original, weights, weight);
  const corrected = limitDeviations(moved, original, weights);
  const correction = new Float32Array(low.length);
  for (let i = 0; i < low.length; i += 3) math.setRgb(correction, i, corrected[i], corrected[i + 1], corrected[i + 2]);
  for (let i = 0; i < low.length; i++) correction[i] -= low[i];
  const { width: side } = painted;
  const { data: enlarged } = math.resize({ width: GRID, height: GRID, channels: 3, data: correction }, side, side, "linear");
  const masked = timesMask(enlarged, mask.data);
  const result = new Uint8ClampedArray(masked.length);
  for (let i = 0; i < masked.length; i++) result[i] = painted.data[i] + masked[i];
  return { ...painted, data: result };
}

const blur = (values, channels) => math.convolve(values, GRID, GRID, channels, math.gaussianKernel(SIGMA * GRID, 8));

function timesMask(values, mask) {
  const result = new Float32Array(values.length);
  for (let i = 0, at = 0; i < mask.length; i++, at += 3) {
    const weight = mask[i] / 255;
    result[at] = values[at] * weight;
    result[at + 1] = values[at + 1] * weight;
    result[at + 2] = values[at + 2] * weight;
  }
  return result;
}

// Moves colours of a painting towards the photo's. Their mean and the contrast of their lightness hardly change.
function movedTowards(painted, original, weights, weight) {
  if (weight === 0) return painted;
  const whole = weights.reduce((sum, value) => sum + value, 0);
  const means = [painted, original].map((lab) => [0, 1, 2].map((c) => weights.reduce((sum, value, i) => sum + value * lab[3 * i + c], 0) / whole));
  const [spread, photoSpread] = [painted, original].map((lab, n) =>
    Math.sqrt(weights.reduce((sum, value, i) => sum + value * (lab[3 * i] - means[n][0]) ** 2, 0)));
  const scale = [spread / Math.max(photoSpread, 1e-3), 1, 1];
  return painted.map((value, i) => {
    const c = i % 3;
    return value + weight * STRENGTH[c] * (means[0][c] + (original[i] - means[1][c]) * scale[c] - value);
  });
}

// Limits how far a painting's colours deviate from those between the photo's colours and their prediction.
function limitDeviations(painted, original, weights) {
  const scaled = (lab, factor) => lab.map((value, i) => (i % 3 ? value : value * factor));
  const [targets, colours] = [painted, original].map((lab) => scaled(lab, LIGHTNESS_WEIGHT));
  const predicted = predict(targets, colours, weights);
  const result = new Float32Array(targets.length);
  for (let at = 0; at < targets.length; at += 3) writeLimited(result, at, targets, colours, predicted);
  return scaled(result, 1 / LIGHTNESS_WEIGHT);
}

// Writes the target colour, moved towards the nearest colour between `colours` and `predicted` if it is too far from it.
function writeLimited(result, at, targets, colours, predicted) {
  let [product, length] = [0, 0];
  for (let c = at; c < at + 3; c++) {
    const segment = colours[c] - predicted[c];
    product += (targets[c] - predicted[c]) * segment;
    length += segment * segment;
  }
  const position = math.clamp(product / Math.max(length, 1e-6), 0, 1);
  let squares = 0;
  for (let c = at; c < at + 3; c++) {
    result[c] = predicted[c] + position * (colours[c] - predicted[c]);
    squares += (targets[c] - result[c]) ** 2;
  }
  const kept = Math.min(1, MAX_DEVIATION / Math.max(Math.sqrt(squares), 1e-6));
  for (let c = at; c < at + 3; c++) result[c] += kept * (targets[c] - result[c]);
}

// Fits an affine function of the colours to the target colours, with less weight for outliers, and returns its values.
function predict(targets, colours, weights) {
  const whole = weights.reduce((sum, value) => sum + value, 0);
  const robust = Float64Array.from(weights, (value) => value / whole);
  const predicted = new Float32Array(targets.length);
  for (let fit = 0; fit < FITS; fit++) {
    const [offset, ...slopes] = solve(...normalEquations(targets, colours, robust));
    for (let i = 0, at = 0; i < weights.length; i++, at += 3) {
      let squares = 0;
      for (let c = 0; c < 3; c++) {
        const slope = slopes[0][c] * colours[at] + slopes[1][c] * colours[at + 1] + slopes[2][c] * colours[at + 2];
        predicted[at + c] = offset[c] + slope / 100;
        squares += (targets[at + c] - predicted[at + c]) ** 2;
      }
      robust[i] = (weights[i] / whole) * Math.min(1, OUTLIER / Math.max(Math.sqrt(squares), 1e-6));
    }
  }
  return predicted;
}

// Returns the matrix and the right-hand sides of a weighted least-squares fit of three colours by 1 and three colours.
function normalEquations(targets, colours, weights) {
  const matrix = Array.from({ length: 4 }, () => [0, 0, 0, 0]);
  const sides = Array.from({ length: 4 }, () => [0, 0, 0]);
  for (let i = 0, at = 0; i < weights.length; i++, at += 3) {
    const values = [1, colours[at] / 100, colours[at + 1] / 100, colours[at + 2] / 100];
    for (let row = 0; row < 4; row++) {
      const weighted = weights[i] * values[row];
      for (let column = 0; column < 4; column++) matrix[row][column] += weighted * values[column];
      for (let c = 0; c < 3; c++) sides[row][c] += weighted * targets[at + c];
    }
  }
  for (let row = 1; row < 4; row++) matrix[row][row] += RIDGE;
  return [matrix, sides];
}

// Solves a system of linear equations with a positive definite matrix, by elimination. Both arguments are overwritten.
function solve(matrix, sides) {
  const subtract = (rows, row, pivot, factor) => rows[row].forEach((_, c) => { rows[row][c] -= factor * rows[pivot][c]; });
  matrix.forEach((_, pivot) => {
    for (let row = 0; row < matrix.length; row++) {
      if (row === pivot) continue;
      const factor = matrix[row][pivot] / matrix[pivot][pivot];
      for (const rows of [matrix, sides]) subtract(rows, row, pivot, factor);
    }
  });
  return sides.map((side, row) => side.map((value) => value / matrix[row][row]));
}
