// Runs the generator on a crop: the counterpart of crop_painting.py, which has the reasons.

import * as math from "./image_math.js";
import { generate } from "./networks.js";
import { mirrorPerson } from "./photo_border.js";

export const MAX_ENLARGEMENT = 4;
const [SELFIE_BLUR, PAINTING_BLUR] = [0.5, 0.25];

// Paints a crop of `photo`, with the person mirrored where the photo ends, and with blurs before and after if it is enlarged.
export async function paintCrop(crop, cutout, style, photo) {
  const [{ picture }, scale] = [crop, math.hypot(crop.transform)];
  const extended = mirrorPerson(crop, cutout, photo);
  const isMirrored = extended.picture !== picture;
  if (!isMirrored && scale <= 1) return generate(picture, cutout, style);
  const given = blurEnlarged(extended.picture, scale, SELFIE_BLUR);
  const painted = await generate(given, extended.mask, style);
  const isBackground = (mask, i) => !mask.data[Math.floor(i / 3)];
  if (painted.data.every((value, i) => !isBackground(extended.mask, i) || value === given.data[i])) {
    const finished = blurEnlarged(painted, scale, PAINTING_BLUR);
    return { ...finished, data: finished.data.map((value, i) => (isBackground(cutout, i) ? picture.data[i] : value)) };
  }
  const whole = isMirrored ? await generate(blurEnlarged(picture, scale, SELFIE_BLUR), cutout, style) : painted;
  return blurEnlarged(whole, scale, PAINTING_BLUR);
}

// `blur` is in pixels of the picture before it was enlarged by the factor `scale`.
const blurEnlarged = (picture, scale, blur) => (scale <= 1 ? picture : math.gaussianBlur(picture, blur * Math.sqrt(scale ** 2 - 1)));
