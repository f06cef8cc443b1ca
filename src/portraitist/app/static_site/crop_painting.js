// Runs the generator on a crop: the counterpart of crop_painting.py, which has the reasons.

import * as math from "./image_math.js";
import { generate } from "./networks.js";
import { mirrorPerson } from "./photo_border.js";

export const MAX_ENLARGEMENT = 4;
const [SELFIE_BLUR, PAINTING_BLUR] = [0.5, 0.25];

// Paints a crop of `photo`, with the person mirrored where the photo ends, and with blurs before and after if it is enlarged.
export async function paintCrop(crop, cutout, style, photo) {
  const scale = math.hypot(crop.transform);
  const { picture, mask } = mirrorPerson(crop, cutout, photo);
  return blurEnlarged(await generate(blurEnlarged(picture, scale, SELFIE_BLUR), mask, style), scale, PAINTING_BLUR);
}

// `blur` is in pixels of the picture before it was enlarged by the factor `scale`.
const blurEnlarged = (picture, scale, blur) => (scale <= 1 ? picture : math.gaussianBlur(picture, blur * Math.sqrt(scale ** 2 - 1)));
