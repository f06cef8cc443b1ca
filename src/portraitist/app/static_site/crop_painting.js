// Runs the generator on a crop: the counterpart of crop_painting.py, which has the reasons.

import * as math from "./image_math.js";
import { generate } from "./networks.js";

export const MAX_ENLARGEMENT = 4;
const [SELFIE_BLUR, PAINTING_BLUR, MIRROR_PX] = [0.5, 0.25, 32];

// Paints a crop of `photo`. A background that the generator does not paint, and the area beyond the photo, stay those of the crop.
export async function paintCrop(crop, cutout, style, photo) {
  const [scale, { picture }] = [math.hypot(crop.transform), crop];
  const mirrored = mirrorPixels(crop, cutout, photo);
  const person = withPixels(cutout, mirrored);
  const given = blurEnlarged(withPixels(picture, mirrored), scale, SELFIE_BLUR);
  const painted = await generate(given, person, style);
  const finished = blurEnlarged(painted, scale, PAINTING_BLUR);
  if (!painted.data.every((value, i) => person.data[Math.floor(i / 3)] || value === given.data[i])) return finished;
  return { ...finished, data: finished.data.map((value, i) => (cutout.data[Math.floor(i / 3)] ? value : picture.data[i])) };
}

// Returns pairs of pixels of the crop. The first is beyond the photo, at most `MIRROR_PX` from it; it mirrors the second, which
// shows the person.
function mirrorPixels({ inside, transform }, cutout, photo) {
  if (inside.data.every((value) => value === 255)) return [];
  const side = inside.width;
  const distances = math.distanceTransform(inside, (value) => value === 255, math.CHAMFER_3);
  const inverse = math.invert(transform);
  const last = [photo.width - 1, photo.height - 1];
  const pairs = [];
  distances.forEach((distance, i) => {
    if (distance === 0 || distance > MIRROR_PX) return;
    const position = math.applyTransform(inverse, [i % side, Math.floor(i / side)]);
    const folded = position.map((value, axis) => math.clamp(last[axis] - Math.abs(last[axis] - Math.abs(value)), 0, last[axis]));
    const [column, row] = math.applyTransform(transform, folded).map((value) => math.clamp(math.roundHalfEven(value), 0, side - 1));
    if (cutout.data[row * side + column]) pairs.push([i, row * side + column]);
  });
  return pairs;
}

function withPixels(plane, pairs) {
  const { channels, data } = plane;
  const copy = data.slice();
  for (const [to, from] of pairs) {
    for (let c = 0; c < channels; c++) copy[to * channels + c] = data[from * channels + c];
  }
  return { ...plane, data: copy };
}

// `blur` is in pixels of the picture before it was enlarged by the factor `scale`.
const blurEnlarged = (picture, scale, blur) => (scale <= 1 ? picture : math.gaussianBlur(picture, blur * Math.sqrt(scale ** 2 - 1)));
