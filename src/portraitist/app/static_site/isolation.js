// Replaces the background of a selfie by colours of the person, before the person is painted: the counterpart of isolation.py,
// which has the reasons, with the same constants.

import * as math from "./image_math.js";
import { visibleArea } from "./matting.js";

const [GROWTH, FAINT, MIN_OPACITY, PULL] = [0.012, 8, 0.85, 0.3];
const [RIM, REACH, MIN_INNER, SPILL_CONTRAST, MAX_OTHER, MAX_SPILL] = [0.012, 0.025, 0.25, [40, 80], 18, 1.3];
const MASK_SIDE = 256;
const [MEAN_SIDE, MEAN_WINDOWS, WIDER_WEIGHT] = [128, [0.3, 0.09, 0.025, 0.01], 0.01];

// Replaces the background of a crop by colours of the person, and grows the person's mask a little. Returns { crop, area }.
export function isolatePerson(crop, cutout) {
  const empty = math.mapPlane(cutout, (value) => (value ? 0 : 255));
  const background = math.minimum(visibleArea(crop), empty);
  const solid = math.mapPlane(cutout, (value) => (value >= FAINT ? 255 : 0));
  const area = math.minimum(math.dilate(solid, windowOf(GROWTH, cutout.width)), crop.inside);
  return { crop: { ...crop, picture: estimateForeground(crop.picture, cutout, background) }, area };
}

// Estimates the foreground's own colours where a square picture shows a mixture of foreground and background, and removes the
// background's colour from the rim of the foreground.
function estimateForeground(picture, alpha, background) {
  const side = alpha.width;
  const [image, opacity, behind] = [picture, alpha, background].map((plane) => math.toSide(plane, Math.min(side, MASK_SIDE)));
  const opaque = math.mapBytes(Float32Array, opacity.data, (value) => Math.max((value / 255 - MIN_OPACITY) / (1 - MIN_OPACITY), 0));
  if (math.allEqual(opaque, 0)) return picture;
  const small = opacity.width;
  const foreground = math.resize(localMean(image, opaque), side, side, "linear").data;
  const isBackground = math.mapBytes(Float32Array, behind.data, (value) => (value === 255 ? 1 : 0));
  if (math.allEqual(isBackground, 0)) {
    return { ...picture, data: math.mapTo(Uint8ClampedArray, foreground, (value, i) => (alpha.data[Math.floor(i / 3)] ? picture.data[i] : value)) };
  }
  const { data: back, width: coarse } = localMean(image, isBackground);
  const solid = math.mapPlane(opacity, (value) => (value === 255 ? 255 : 0));
  const inner = math.mapBytes(Float32Array, math.erode(solid, windowOf(RIM, small)).data, (value) => value / 255);
  const innerMean = !math.allEqual(inner, 0) && localMean(image, inner).data;
  const reached = math.boxBlur(inner, small, small, 1, windowOf(REACH, small));
  const [across, weight] = placesIn(small, side);
  const [coarseAcross, coarseWeight] = placesIn(coarse, side);
  const interpolate = (data, width, channels, start, right, below) => {
    const step = width * channels;
    const upper = data[start] + right * (data[start + channels] - data[start]);
    const lower = data[start + step] + right * (data[start + step + channels] - data[start + step]);
    return upper + below * (lower - upper);
  };
  const [behindHere, meanHere] = [[0, 0, 0], [0, 0, 0]];
  for (let y = 0, i = 0; y < side; y++) {
    for (let x = 0; x < side; x++, i++) {
      const share = alpha.data[i] / 255;
      if (!share) continue;
      const [at, from] = [3 * i, across[y] * small + across[x]];
      const isInner = inner[from] && inner[from + 1] && inner[from + small] && inner[from + small + 1];
      const isRim = innerMean && !isInner;
      if (share === 1 && !isRim) {
        for (let c = at; c < at + 3; c++) foreground[c] = picture.data[c];
        continue;
      }
      const [start, right, below] = [3 * (coarseAcross[y] * coarse + coarseAcross[x]), coarseWeight[x], coarseWeight[y]];
      for (let c = 0; c < 3; c++) behindHere[c] = interpolate(back, coarse, 3, start + c, right, below);
      const gain = share / (share * share + PULL * (1 - share));
      for (let c = 0; c < 3; c++) {
        const [own, near] = [picture.data[at + c], foreground[at + c]];
        foreground[at + c] = share === 1 ? own : near + gain * (own - share * near - (1 - share) * behindHere[c]);
      }
      const nearInner = isRim ? Math.min(interpolate(reached, small, 1, from, weight[x], weight[y]) / MIN_INNER, 1) : 0;
      if (!nearInner) continue;
      for (let c = 0; c < 3; c++) meanHere[c] = interpolate(innerMean, coarse, 3, start + c, right, below);
      removeSpill(foreground, at, meanHere, behindHere, (1 - interpolate(inner, small, 1, from, weight[x], weight[y])) * nearInner);
    }
  }
  return { ...picture, data: new Uint8ClampedArray(foreground) };
}

// Removes the background's part from the colour at `at`. `mean` is the foreground's colour near it, `back` the background's.
function removeSpill(colours, at, mean, back, most) {
  let [squared, along, difference] = [0, 0, 0];
  for (let c = 0; c < 3; c++) {
    const [away, direction] = [colours[at + c] - mean[c], back[c] - mean[c]];
    squared += direction ** 2;
    along += away * direction;
    difference += away ** 2;
  }
  const share = along / Math.max(squared, 1);
  if (share < 0 || share > MAX_SPILL) return;
  const [low, high] = SPILL_CONTRAST;
  const contrast = math.clamp((Math.sqrt(squared) - low) / (high - low), 0, 1);
  const weight = most * contrast * Math.exp((share ** 2 * squared - difference) / MAX_OTHER ** 2);
  for (let c = 0; c < 3; c++) colours[at + c] -= weight * share * (back[c] - mean[c]);
}

// For each column of a picture of `side` pixels, returns the column of a plane of `small` pixels to its left, and the weight of the
// next column, for bilinear interpolation; the same for rows.
function placesIn(small, side) {
  const [left, weight] = [new Int32Array(side), new Float32Array(side)];
  for (let i = 0; i < side; i++) {
    const position = math.clamp(((i + 0.5) * small) / side - 0.5, 0, small - 1);
    left[i] = Math.min(Math.floor(position), small - 2);
    weight[i] = position - left[i];
  }
  return [left, weight];
}

// Returns the width of a window in pixels; its half-width is given as a fraction of the side.
const windowOf = (half, side) => 2 * Math.max(1, math.roundHalfEven(half * side)) + 1;

// Returns the weighted mean colour of a square window around each pixel, for a picture of at most MEAN_SIDE pixels per side. If a
// window contains little weight, the result of the next wider window has more influence.
function localMean({ width, data }, weight) {
  const side = Math.min(width, MEAN_SIDE);
  const whole = { width, height: width, channels: 4, data: weighColours(data, weight) };
  const weighted = math.resize(whole, side, side, "area").data;
  const mean = overallMean(weighted);
  for (const window of MEAN_WINDOWS) mixMeans(mean, math.boxBlur(weighted, side, side, 4, windowOf(window, side)));
  return { width: side, height: side, channels: 3, data: mean };
}

// Returns for each pixel its colour times its weight, and the weight.
function weighColours(colours, weight) {
  const result = new Float32Array(4 * weight.length);
  for (let i = 0, from = 0, to = 0; i < weight.length; i++, from += 3, to += 4) {
    result[to] = weight[i] * colours[from];
    result[to + 1] = weight[i] * colours[from + 1];
    result[to + 2] = weight[i] * colours[from + 2];
    result[to + 3] = weight[i];
  }
  return result;
}

// Returns a colour for each pixel: the same everywhere, the weighted mean of all.
function overallMean(weighted) {
  const sums = new Float64Array(4);
  for (let i = 0; i < weighted.length; i++) sums[i & 3] += weighted[i];
  const mean = new Float32Array((3 * weighted.length) / 4);
  for (let i = 0; i < mean.length; i += 3) for (let c = 0; c < 3; c++) mean[i + c] = sums[c] / sums[3];
  return mean;
}

function mixMeans(mean, local) {
  for (let i = 0, at = 0; i < mean.length; i += 3, at += 4) {
    const share = 1 / (local[at + 3] + WIDER_WEIGHT);
    for (let c = 0; c < 3; c++) mean[i + c] = (local[at + c] + WIDER_WEIGHT * mean[i + c]) * share;
  }
}

// Returns a photo in which a person is painted: photo + alpha * (painting - before), with alpha from 0 to 1.
export function addChange(photo, before, painting, alpha) {
  const result = photo.data.slice();
  addWeighted(result, painting.data, before.data, alpha.data);
  return { ...photo, data: result };
}

function addWeighted(target, after, before, alpha) {
  for (let i = 0, at = 0; i < alpha.length; i++, at += 3) {
    const share = alpha[i] / 255;
    if (!share) continue;
    for (let c = at; c < at + 3; c++) target[c] += share * (after[c] - before[c]);
  }
}
