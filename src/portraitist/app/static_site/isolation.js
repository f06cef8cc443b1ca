// Replaces the background of a selfie by colours of the person, before the person is painted: the counterpart of isolation.py,
// which has the reasons, with the same constants.

import * as math from "./image_math.js";

const [GROWTH, MIN_OPACITY, PULL] = [0.03, 0.85, 0.3];
const [RIM, REACH, MIN_INNER, SPILL_CONTRAST, MAX_OTHER, MAX_SPILL] = [0.012, 0.025, 0.25, [40, 80], 18, 1.3];
const [MEAN_SIDE, MEAN_WINDOWS, WIDER_WEIGHT] = [256, [0.3, 0.09, 0.025, 0.01], 0.01];

// Replaces the background of a crop by colours of the person, and grows the person's mask a little. Returns { crop, area }.
export function isolatePerson(crop, cutout) {
  const background = { ...cutout, data: crop.inside.data.map((value, i) => (cutout.data[i] ? 0 : Math.min(value, crop.alpha?.data[i] ?? 255))) };
  const solid = { ...cutout, data: math.mapTo(Uint8ClampedArray, cutout.data, (value) => (value ? 255 : 0)) };
  const grown = math.dilate(solid, windowOf(GROWTH, cutout.width));
  for (let i = 0; i < grown.data.length; i++) grown.data[i] = Math.min(grown.data[i], crop.inside.data[i]);
  return { crop: { ...crop, picture: estimateForeground(crop.picture, cutout, background) }, area: grown };
}

// Estimates the foreground's own colours where a picture shows a mixture of foreground and background.
function estimateForeground(picture, alpha, background) {
  const opacity = math.mapTo(Float32Array, alpha.data, (value) => value / 255);
  const opaque = math.mapTo(Float32Array, opacity, (value) => Math.max((value - MIN_OPACITY) / (1 - MIN_OPACITY), 0));
  if (!opaque.some(Boolean)) return picture;
  const foreground = localMean(picture, opaque);
  const isBackground = math.mapTo(Float32Array, background.data, (value) => (value === 255 ? 1 : 0));
  const hasBackground = isBackground.some(Boolean);
  const behind = hasBackground ? localMean(picture, isBackground) : picture.data;
  for (let i = 0, at = 0; i < opacity.length; i++) {
    const share = opacity[i];
    const gain = share / (share * share + PULL * (1 - share));
    for (const end = at + 3; at < end; at++) {
      foreground[at] += gain * (picture.data[at] - share * foreground[at] - (1 - share) * behind[at]);
    }
  }
  if (hasBackground) removeSpill(foreground, alpha, behind);
  return { ...picture, data: math.mapTo(Uint8ClampedArray, foreground, (value) => value) };
}

// Removes the background's colour from the rim of the foreground, where an alpha can be too high.
function removeSpill(foreground, alpha, behind) {
  const { width, height } = alpha;
  const side = Math.max(width, height);
  const opaque = { ...alpha, data: math.mapTo(Uint8ClampedArray, alpha.data, (value) => (value === 255 ? 255 : 0)) };
  const inner = math.mapTo(Float32Array, math.erode(opaque, windowOf(RIM, side)).data, (value) => value / 255);
  if (!inner.some(Boolean)) return;
  const reached = math.boxBlur(inner, width, height, 1, windowOf(REACH, side));
  const mean = localMean({ width, height, data: foreground }, inner);
  const [low, high] = SPILL_CONTRAST;
  for (let i = 0; i < inner.length; i++) {
    if (inner[i] || !alpha.data[i] || !reached[i]) continue;
    let [squared, along, difference] = [0, 0, 0];
    for (let at = 3 * i; at < 3 * i + 3; at++) {
      const [away, direction] = [foreground[at] - mean[at], behind[at] - mean[at]];
      squared += direction ** 2;
      along += away * direction;
      difference += away ** 2;
    }
    const spill = along / Math.max(squared, 1);
    if (spill < 0 || spill > MAX_SPILL) continue;
    const contrast = math.clamp((Math.sqrt(squared) - low) / (high - low), 0, 1);
    const weight = Math.exp((spill ** 2 * squared - difference) / MAX_OTHER ** 2) * contrast * Math.min(reached[i] / MIN_INNER, 1);
    for (let at = 3 * i; at < 3 * i + 3; at++) foreground[at] -= weight * spill * (behind[at] - mean[at]);
  }
}

// Returns the width of a window in pixels; its half-width is given as a fraction of the side.
const windowOf = (half, side) => 2 * Math.max(1, math.roundHalfEven(half * side)) + 1;

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
    const local = math.boxBlur(small.data, columns, rows, 4, windowOf(window, Math.max(columns, rows)));
    for (let i = 0, at = 0; i < mean.length; i += 3, at += 4) {
      const share = 1 / (local[at + 3] + WIDER_WEIGHT);
      for (let c = 0; c < 3; c++) mean[i + c] = (local[at + c] + WIDER_WEIGHT * mean[i + c]) * share;
    }
  }
  return math.resize({ width: columns, height: rows, channels: 3, data: mean }, width, height, "linear").data;
}
