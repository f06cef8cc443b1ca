// Replaces the background of a selfie by colours of the person, before the person is painted: the counterpart of isolation.py,
// which has the reasons, with the same constants.

import * as math from "./image_math.js";

const [GROWTH, MIN_OPACITY, PULL] = [0.03, 0.85, 0.3];
const [MEAN_SIDE, MEAN_WINDOWS, WIDER_WEIGHT] = [256, [0.3, 0.09, 0.025, 0.01], 0.01];

// Replaces the background of a crop by colours of the person, and grows the person's mask a little. Returns { crop, area }.
export function isolatePerson(crop, cutout) {
  const background = { ...cutout, data: crop.inside.data.map((value, i) => (cutout.data[i] ? 0 : Math.min(value, crop.alpha?.data[i] ?? 255))) };
  const solid = { ...cutout, data: math.mapTo(Uint8ClampedArray, cutout.data, (value) => (value ? 255 : 0)) };
  const grown = math.dilate(solid, 2 * Math.max(1, math.roundHalfEven(GROWTH * cutout.width)) + 1);
  for (let i = 0; i < grown.data.length; i++) grown.data[i] = Math.min(grown.data[i], crop.inside.data[i]);
  return { crop: { ...crop, picture: estimateForeground(crop.picture, cutout, background) }, area: grown };
}

// Estimates the foreground's own colours where a picture shows a mixture of foreground and background.
export function estimateForeground(picture, alpha, background) {
  const opacity = math.mapTo(Float32Array, alpha.data, (value) => value / 255);
  const foreground = math.mapTo(Float32Array, opacity, (value) => Math.max((value - MIN_OPACITY) / (1 - MIN_OPACITY), 0));
  if (!foreground.some(Boolean)) return picture;
  const mean = localMean(picture, foreground);
  const isBackground = math.mapTo(Float32Array, background.data, (value) => (value === 255 ? 1 : 0));
  const behind = isBackground.some(Boolean) ? localMean(picture, isBackground) : picture.data;
  const result = math.blank(alpha.width, alpha.height, 3);
  for (let i = 0, at = 0; i < opacity.length; i++) {
    const share = opacity[i];
    const gain = share / (share * share + PULL * (1 - share));
    for (const end = at + 3; at < end; at++) {
      const unexplained = picture.data[at] - share * mean[at] - (1 - share) * behind[at];
      result.data[at] = mean[at] + gain * unexplained;
    }
  }
  return result;
}

// Returns the weighted mean colour of a square window around each pixel; windows with little weight follow wider ones.
function localMean({ width, height, data }, weight) {
  const weighted = new Float32Array(4 * width * height); // per pixel: the colours times the weight, and the weight
  for (let i = 0, at = 0; i < weight.length; i++, at += 4) {
    for (let c = 0; c < 4; c++) weighted[at + c] = weight[i] * (c < 3 ? data[3 * i + c] : 1);
  }
  const scale = Math.min(1, MEAN_SIDE / Math.max(width, height));
  const [columns, rows] = [width, height].map((side) => Math.max(1, math.roundHalfEven(scale * side)));
  const small = math.resize({ width, height, channels: 4, data: weighted }, columns, rows, "area");
  const sums = [0, 0, 0, 0];
  small.data.forEach((value, i) => { sums[i % 4] += value; });
  const mean = math.mapTo(Float32Array, new Uint8Array(3 * columns * rows), (_, i) => sums[i % 3] / sums[3]);
  for (const window of MEAN_WINDOWS) {
    const local = math.boxBlur(small.data, columns, rows, 4, 2 * Math.max(1, math.roundHalfEven(window * Math.max(columns, rows))) + 1);
    for (let i = 0, at = 0; i < mean.length; i += 3, at += 4) {
      const share = 1 / (local[at + 3] + WIDER_WEIGHT);
      for (let c = 0; c < 3; c++) mean[i + c] = (local[at + c] + WIDER_WEIGHT * mean[i + c]) * share;
    }
  }
  return math.resize({ width: columns, height: rows, channels: 3, data: mean }, width, height, "linear").data;
}
