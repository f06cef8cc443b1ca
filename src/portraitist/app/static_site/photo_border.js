// Continues a crop beyond the photo's border: the counterpart of photo_border.py. `inside` is 255 where the photo covers the crop.

import * as math from "./image_math.js";

const MIRROR_PX = 32;
const SLIVER = 0.02;
const coversAll = (inside) => math.allEqual(inside.data, 255);
const isCovered = (value) => value === 255;

// Returns the crop's picture and mask, with the person mirrored at the border of `photo`.
export function mirrorPerson({ picture, inside, transform }, mask, photo) {
  if (coversAll(inside)) return { picture, mask };
  const side = inside.width;
  const distances = math.distanceTransform(inside, isCovered, math.CHAMFER_3);
  const inverse = math.invert(transform);
  const margin = 0.5 / math.hypot(transform); // half a pixel of the crop, so that rounding leaves sources in the photo
  const last = [photo.width, photo.height].map((size) => size - Math.max(1, margin));
  const fold = (value, axis) => math.clamp(last[axis] - Math.abs(last[axis] - Math.abs(value)), margin, last[axis] - margin);
  const [pixels, person] = [picture.data.slice(), mask.data.slice()];
  let isMirrored = false;
  distances.forEach((distance, i) => {
    if (distance === 0 || distance > MIRROR_PX) return;
    const folded = math.applyTransform(inverse, [i % side, Math.floor(i / side)]).map(fold);
    const [column, row] = math.applyTransform(transform, folded).map((value) => math.clamp(math.roundHalfEven(value), 0, side - 1));
    const source = row * side + column;
    if (!mask.data[source]) return;
    isMirrored = true;
    person[i] = mask.data[source];
    for (let c = 0; c < 3; c++) pixels[3 * i + c] = picture.data[3 * source + c];
  });
  return isMirrored ? { picture: { ...picture, data: pixels }, mask: { ...mask, data: person } } : { picture, mask };
}

// Gives each pixel of a mask beyond the photo's border the value of the nearest pixel in the photo.
export function repeatBorder(mask, inside) {
  if (coversAll(inside) || !inside.data.includes(255)) return mask;
  const { nearest } = math.nearestTargets(inside, isCovered, math.CHAMFER_5);
  return { ...mask, data: math.mapTo(Uint8ClampedArray, nearest, (source) => mask.data[source]) };
}

// Continues a mask of the person in a strip beyond the photo's border; `width` is twice the strip's width, plus 1. Returns the new
// mask, and the area of the photo and the strip.
export function continuePerson(mask, inside, width) {
  const area = coversAll(inside) ? inside : math.dilate(inside, width);
  const isPainted = math.mapPlane(area, (value) => (value ? 255 : 0));
  return [math.minimum(repeatBorder(mask, inside), isPainted), area];
}

export const stripWidth = (side) => 2 * Math.max(1, math.roundHalfEven(SLIVER * side)) + 1;
