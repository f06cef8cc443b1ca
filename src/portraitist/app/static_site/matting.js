// Refines the person's mask for the avatar: the counterpart of matting.py, with the same constants. Lengths are multiples
// of the distance from the eyes to the mouth.

import { faceInCrop } from "./framing.js";
import * as math from "./image_math.js";

const [MIN_CONNECTION, BAND, WINDOW, EPSILON] = [0.3, 0.16, 0.14, 5e-4];
const [LOWEST, HIGHEST] = [0.3, 0.85];
const SAME_IOU = 0.98;
const [MIN_OTHER, MIN_DISTANCE] = [0.5, 1.2];
const GUIDE_SIDE = 256;

// Returns where a crop shows the photo: 255 where the photo covers the crop and is opaque, 0 where it does not.
export const visibleArea = ({ alpha, inside }) =>
  (alpha ? { ...inside, data: inside.data.map((value, i) => Math.min(value, alpha.data[i])) } : inside);

const solidOf = (mask) => ({ ...mask, data: math.mapTo(Uint8ClampedArray, mask.data, (value) => (value > 127 ? 1 : 0)) });

// Returns the mask of a crop without other people: without the pixels beyond a dividing line between their faces and the
// person's. If the mask contains no other face, the mask itself is returned.
export function removeOthers(mask, crop, otherFaces) {
  const { centre: [x, y], length } = faceInCrop(crop);
  const { width: side } = mask;
  let { data } = mask;
  for (const face of otherFaces) {
    const other = faceInCrop({ face, transform: crop.transform });
    const [across, down] = [other.centre[0] - x, other.centre[1] - y];
    if (other.length < MIN_OTHER * length || Math.hypot(across, down) < MIN_DISTANCE * length || !isContained(mask, other)) continue;
    const limit = ((across ** 2 + down ** 2) * length) / (length + other.length);
    data = data.map((value, i) => (across * ((i % side) - x) + down * (Math.floor(i / side) - y) <= limit ? value : 0));
  }
  return data === mask.data ? mask : { ...mask, data };
}

// Returns whether most of a face is in a mask.
function isContained({ width: side, data }, { centre: [x, y], length }) {
  const at = data.filter((_, i) => Math.hypot((i % side) - x, Math.floor(i / side) - y) <= length);
  return at.length > 0 && at.reduce((sum, value) => sum + value, 0) / at.length > 127;
}

// Returns the mask of a crop without parts whose connection to the face is narrower than MIN_CONNECTION.
export function keepPerson(mask, crop) {
  const { centre, length } = faceInCrop(crop);
  const { width: side } = mask;
  const solid = solidOf(mask);
  const connection = disc(MIN_CONNECTION * length);
  const margin = 2 * connection.half + 1; // extend the mask: the person continues beyond its borders
  const opened = dilateBy(erodeBy(math.pad(solid, margin), connection), connection);
  const labels = math.components(opened, Boolean);
  const labelAt = (x, y) => labels[(y + margin) * opened.width + x + margin];

  const low = centre.map((value) => Math.max(0, math.roundHalfEven(value - length / 2)));
  const high = centre.map((value) => Math.min(side, math.roundHalfEven(value + length / 2)));
  const counts = new Map();
  for (let row = low[1]; row < high[1]; row++) {
    for (let column = low[0]; column < high[0]; column++) {
      const label = labelAt(column, row);
      if (label) counts.set(label, (counts.get(label) ?? 0) + 1);
    }
  }
  if (!counts.size) return mask;
  const [label] = [...counts].reduce((best, entry) => (entry[1] > best[1] ? entry : best));
  const body = { ...mask, data: mask.data.map((_, i) => (labelAt(i % side, Math.floor(i / side)) === label ? 1 : 0)) };

  const near = dilateBy(body, disc(2 * MIN_CONNECTION * length)).data.map((value, i) => value & solid.data[i]);
  const parts = math.components({ ...mask, data: near }, Boolean);
  const touching = new Set(parts.filter((_, i) => body.data[i]));
  const kept = { ...mask, data: near.map((_, i) => (touching.has(parts[i]) ? 1 : 0)) };
  const soft = dilateBy(kept, disc(0.1 * length)).data;
  return { ...mask, data: mask.data.map((value, i) => value * soft[i]) };
}

// Returns the person's mask at the size of a crop, aligned with edges in the crop; an alpha channel is not changed.
export function refinePerson(mask, crop) {
  const { picture, alpha, inside } = crop;
  const side = picture.width;
  if (alpha && math.maskIou(math.resize(mask, side, side, "linear"), alpha) > SAME_IOU) return alpha;
  const whole = continueBeyondPhoto(mask, inside);
  const solid = solidOf(math.resize(whole, side, side, "linear"));
  const { length } = faceInCrop(crop);
  const width = disc(2 * BAND * length);
  const [outer, inner] = [dilateBy(solid, width).data, erodeBy(solid, width).data];
  const filtered = guidedFilter(picture, whole, (WINDOW * length) / side);
  const { data } = math.blank(side, side, 1);
  for (let i = 0; i < data.length; i++) {
    data[i] = outer[i] > inner[i] ? (255 * (filtered[i] - LOWEST)) / (HIGHEST - LOWEST) : 255 * solid.data[i];
    data[i] = Math.min(data[i], inside.data[i], alpha ? alpha.data[i] : 255);
  }
  return { ...solid, data };
}

// Extends a mask beyond the photo's border, which is not an edge of the person and must not become soft.
function continueBeyondPhoto(mask, inside) {
  const covered = math.toSide(inside, mask.width);
  const known = math.erode({ ...covered, data: covered.data.map((value) => (value === 255 ? 255 : 0)) }, 5);
  if (known.data.every(Boolean)) return mask;
  return math.extendForeground(mask, known);
}

// Fast guided filter (He and Sun 2015) of a mask, with a colour picture as guide; `radius` is a fraction of the side.
function guidedFilter(picture, mask, radius) {
  const side = picture.width;
  const [guide, target] = [math.toSide(picture, GUIDE_SIDE).data, math.toSide(mask, GUIDE_SIDE).data];
  const size = 2 * Math.max(1, math.roundHalfEven(radius * GUIDE_SIDE)) + 1;
  const count = GUIDE_SIDE * GUIDE_SIDE;
  const products = new Float32Array(13 * count); // r g b, target, rr rg rb gg gb bb, and r g b times the target
  for (let i = 0, to = 0; i < count; i++) {
    const r = guide[3 * i] / 255;
    const g = guide[3 * i + 1] / 255;
    const b = guide[3 * i + 2] / 255;
    const t = target[i] / 255;
    for (const value of [r, g, b, t, r * r, r * g, r * b, g * g, g * b, b * b, r * t, g * t, b * t]) products[to++] = value;
  }
  const means = math.boxBlur(products, GUIDE_SIDE, GUIDE_SIDE, 13, size);
  const lines = new Float32Array(4 * count); // slope for r, g and b, and offset
  for (let i = 0, at = 0; i < count; i++, at += 13) { // no destructuring: it is slow here
    const r = means[at];
    const g = means[at + 1];
    const b = means[at + 2];
    const t = means[at + 3];
    const rr = means[at + 4] - r * r + EPSILON;
    const rg = means[at + 5] - r * g;
    const rb = means[at + 6] - r * b;
    const gg = means[at + 7] - g * g + EPSILON;
    const gb = means[at + 8] - g * b;
    const bb = means[at + 9] - b * b + EPSILON;
    const slope = solveSymmetric([rr, rg, rb, gg, gb, bb], [means[at + 10] - r * t, means[at + 11] - g * t, means[at + 12] - b * t]);
    for (let c = 0; c < 3; c++) lines[4 * i + c] = slope[c];
    lines[4 * i + 3] = t - slope[0] * r - slope[1] * g - slope[2] * b;
  }
  const smooth = { width: GUIDE_SIDE, height: GUIDE_SIDE, channels: 4, data: math.boxBlur(lines, GUIDE_SIDE, GUIDE_SIDE, 4, size) };
  const { data } = math.resize(smooth, side, side, "linear");
  const result = new Float32Array(side * side);
  for (let i = 0; i < result.length; i++) {
    const [from, at] = [4 * i, 3 * i];
    result[i] = (data[from] * picture.data[at] + data[from + 1] * picture.data[at + 1] + data[from + 2] * picture.data[at + 2]) / 255 + data[from + 3];
  }
  return result;
}

// Solve [[a, b, c], [b, d, e], [c, e, f]] v = (x, y, z) by Cramer's rule.
function solveSymmetric([a, b, c, d, e, f], [x, y, z]) {
  const [p, q, r] = [d * f - e * e, c * e - b * f, b * e - c * d];
  const det = a * p + b * q + c * r;
  const [s, t, u] = [a * f - c * c, b * c - a * e, a * d - b * b];
  return [(p * x + q * y + r * z) / det, (q * x + s * y + t * z) / det, (r * x + t * y + u * z) / det];
}

// OpenCV's elliptical structuring element, as half the width of each row.
function disc(diameter) {
  const half = Math.max(1, math.roundHalfEven(diameter)) >> 1;
  const widths = Array.from({ length: 2 * half + 1 }, (_, row) =>
    (half ? math.roundHalfEven(half * Math.sqrt((half * half - (row - half) ** 2) / (half * half))) : 0));
  return { half, widths };
}

const inverted = (plane) => ({ ...plane, data: plane.data.map((value) => 1 - value) });
const erodeBy = (plane, element) => inverted(dilateBy(inverted(plane), element));

// Dilates a plane of zeros and ones: each run of ones is widened, in the rows around it, by the widths of the element.
function dilateBy(plane, { half, widths }) {
  const { width, height, data } = plane;
  const result = math.blank(width, height, 1);
  for (let y = 0; y < height; y++) {
    const start = y * width;
    for (let first = data.indexOf(1, start); first >= 0 && first < start + width;) {
      let end = first + 1;
      while (end < start + width && data[end]) end++;
      for (let row = Math.max(0, y - half); row <= Math.min(height - 1, y + half); row++) {
        const reach = widths[row - y + half];
        const left = Math.max(first - start - reach, 0);
        result.data.fill(1, row * width + left, row * width + Math.min(end - start + reach, width));
      }
      first = data.indexOf(1, end);
    }
  }
  return result;
}
