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
export const visibleArea = ({ alpha, inside }) => (alpha ? math.minimum(inside, alpha) : inside);

const solidOf = (mask) => math.mapPlane(mask, (value) => (value > 127 ? 1 : 0));

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
  const labels = math.cut({ ...opened, data: math.components(opened, Boolean) }, margin, margin, side).data;

  const low = centre.map((value) => Math.max(0, math.roundHalfEven(value - length / 2)));
  const high = centre.map((value) => Math.min(side, math.roundHalfEven(value + length / 2)));
  const counts = new Map();
  for (let row = low[1]; row < high[1]; row++) {
    for (let column = low[0]; column < high[0]; column++) {
      const label = labels[row * side + column];
      if (label) counts.set(label, (counts.get(label) ?? 0) + 1);
    }
  }
  if (!counts.size) return mask;
  const [label] = [...counts].reduce((best, entry) => (entry[1] > best[1] ? entry : best));
  const body = { ...mask, data: math.mapTo(Uint8ClampedArray, labels, (each) => (each === label ? 1 : 0)) };

  const near = math.minimum(dilateBy(body, disc(2 * MIN_CONNECTION * length)), solid);
  const parts = math.components(near, Boolean);
  const touching = new Set(parts.filter((_, i) => body.data[i]));
  const kept = { ...mask, data: math.mapTo(Uint8ClampedArray, parts, (part) => (touching.has(part) ? 1 : 0)) };
  const soft = dilateBy(kept, disc(0.1 * length)).data;
  return { ...mask, data: math.mapTo(Uint8ClampedArray, mask.data, (value, i) => value * soft[i]) };
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
  const refined = math.mapPlane(solid, (value) => 255 * value);
  replaceEdge(refined.data, filtered, outer, inner);
  return math.minimum(refined, visibleArea(crop));
}

// Replaces the values of a mask near its edge: where `outer` is 1 and `inner` is 0.
function replaceEdge(mask, values, outer, inner) {
  for (let i = 0; i < mask.length; i++) if (outer[i] > inner[i]) mask[i] = (255 * (values[i] - LOWEST)) / (HIGHEST - LOWEST);
}

// Extends a mask beyond the photo's border, which is not an edge of the person and must not become soft.
function continueBeyondPhoto(mask, inside) {
  const covered = math.toSide(inside, mask.width);
  const known = math.erode(math.mapPlane(covered, (value) => (value === 255 ? 255 : 0)), 5);
  if (math.allEqual(known.data, 255)) return mask;
  return math.extendForeground(mask, known);
}

// Fast guided filter (He and Sun 2015) of a mask, with a colour picture as guide; `radius` is a fraction of the side.
function guidedFilter(picture, mask, radius) {
  const side = picture.width;
  const [guide, target] = [math.toSide(picture, GUIDE_SIDE).data, math.toSide(mask, GUIDE_SIDE).data];
  const size = 2 * Math.max(1, math.roundHalfEven(radius * GUIDE_SIDE)) + 1;
  const means = math.boxBlur(productsOf(guide, target), GUIDE_SIDE, GUIDE_SIDE, 13, size);
  const smooth = { width: GUIDE_SIDE, height: GUIDE_SIDE, channels: 4, data: math.boxBlur(linearModels(means), GUIDE_SIDE, GUIDE_SIDE, 4, size) };
  return applyModels(math.resize(smooth, side, side, "linear").data, picture.data);
}

// Returns 13 numbers for each pixel: the guide's r, g and b, the target t, r r, r g, r b, g g, g b, b b, r t, g t and b t. (These
// functions use neither arrays nor destructuring per pixel, which are slow.)
function productsOf(guide, target) {
  const products = new Float32Array(13 * target.length);
  for (let i = 0, to = 0; i < target.length; i++, to += 13) {
    const r = guide[3 * i] / 255;
    const g = guide[3 * i + 1] / 255;
    const b = guide[3 * i + 2] / 255;
    const t = target[i] / 255;
    products[to] = r;
    products[to + 1] = g;
    products[to + 2] = b;
    products[to + 3] = t;
    products[to + 4] = r * r;
    products[to + 5] = r * g;
    products[to + 6] = r * b;
    products[to + 7] = g * g;
    products[to + 8] = g * b;
    products[to + 9] = b * b;
    products[to + 10] = r * t;
    products[to + 11] = g * t;
    products[to + 12] = b * t;
  }
  return products;
}

// Returns, for the means of these products, the linear model that best predicts the target: factors of r, g and b, and the offset.
function linearModels(means) {
  const models = new Float32Array((4 * means.length) / 13);
  for (let at = 0, to = 0; at < means.length; at += 13, to += 4) {
    const r = means[at];
    const g = means[at + 1];
    const b = means[at + 2];
    const t = means[at + 3];
    const rr = means[at + 4] - r * r + EPSILON; // covariances
    const rg = means[at + 5] - r * g;
    const rb = means[at + 6] - r * b;
    const gg = means[at + 7] - g * g + EPSILON;
    const gb = means[at + 8] - g * b;
    const bb = means[at + 9] - b * b + EPSILON;
    const rt = means[at + 10] - r * t;
    const gt = means[at + 11] - g * t;
    const bt = means[at + 12] - b * t;
    const p = gg * bb - gb * gb; // adjugate of the symmetric matrix [[rr, rg, rb], [rg, gg, gb], [rb, gb, bb]]
    const q = rb * gb - rg * bb;
    const u = rg * gb - rb * gg;
    const det = rr * p + rg * q + rb * u;
    const v = rr * bb - rb * rb;
    const w = rg * rb - rr * gb;
    const factorR = (p * rt + q * gt + u * bt) / det;
    const factorG = (q * rt + v * gt + w * bt) / det;
    const factorB = (u * rt + w * gt + (rr * gg - rg * rg) * bt) / det;
    models[to] = factorR;
    models[to + 1] = factorG;
    models[to + 2] = factorB;
    models[to + 3] = t - factorR * r - factorG * g - factorB * b;
  }
  return models;
}

function applyModels(models, colours) {
  const result = new Float32Array(models.length / 4);
  for (let i = 0, at = 0, from = 0; i < result.length; i++, at += 3, from += 4) {
    const sum = models[from] * colours[at] + models[from + 1] * colours[at + 1] + models[from + 2] * colours[at + 2];
    result[i] = sum / 255 + models[from + 3];
  }
  return result;
}

// OpenCV's elliptical structuring element, as half the width of each row.
function disc(diameter) {
  const half = Math.max(1, math.roundHalfEven(diameter)) >> 1;
  const widths = Array.from({ length: 2 * half + 1 }, (_, row) =>
    (half ? math.roundHalfEven(half * Math.sqrt((half * half - (row - half) ** 2) / (half * half))) : 0));
  return { half, widths };
}

const inverted = (plane) => math.mapPlane(plane, (value) => 1 - value);
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
