// Paints a face, from the crop to the layers that compose.js draws: the counterpart of avatar.py.

import { paintBackdrop } from "./backdrop.js";
import { MAX_ENLARGEMENT, paintCrop } from "./crop_painting.js";
import { withFeatures } from "./features.js";
import { between, fadeCuts, frameTransform, uprightFrame, wholeCrop } from "./framing.js";
import * as math from "./image_math.js";
import { addChange, isolatePerson } from "./isolation.js";
import { keepPerson, refinePerson, removeOthers, visibleArea } from "./matting.js";
import { config, locatePerson, paintsAnySide } from "./networks.js";
import { continuePerson, stripWidth } from "./photo_border.js";
import { withShadows } from "./shadows.js";
import { greyWeight, stainWeight, withOneTint, withoutStains } from "./stains.js";

const [MIN_PAINTED, MAX_PAINTED, SIDE_STEP, MASK_SIDE] = [256, 1024, 8, 256];

// Returns the place of a face's crop, at the size of the training, with the mask of the person in it as `person`.
// `otherFaces` are the other faces in the photo.
export async function openFace({ picture, alpha }, face, otherFaces) {
  const crop = math.placeCrop(picture, face, config.crop);
  math.checkCrop(crop, config.crop);
  const wide = cutAt({ picture, alpha }, face, MASK_SIDE);
  const mask = await personMask(wide);
  const person = removeOthers(mask, wide, otherFaces);
  return { ...crop, person: person === wide.alpha ? person : keepPerson(person, wide) };
}

// Cuts the same square at another size.
const cutAt = ({ picture, alpha }, face, side) => math.cropFace(picture, alpha, face, { ...config.crop, size_px: side });

// Returns the mask of the person in a crop.
export async function personMask(crop) {
  const mask = await locatePerson(crop);
  const share = mask.data.reduce((sum, value) => sum + value, 0) / mask.data.length / 255;
  if (share >= config.mask.min_person) return mask;
  const needed = `at least ${Math.round(config.mask.min_person * 100)}% is needed`;
  throw new Error(`${Math.round(share * 100)}% of the crop is person; ${needed}`);
}

// Paints a face that `openFace` returned. Returns the layers of an avatar of `size` pixels: { picture, mask (optional) }.
export async function paintFace(photo, opened, options, style, size) {
  const frame = options.align ? wholeCrop(opened) : uprightFrame(opened, opened.person);
  const crop = cutAt(photo, opened.face, paintSide(wholeCrop(opened).side, frame.side, size));
  const cutout = refinePerson(opened.person, crop);
  const { crop: isolated, area } = isolatePerson(crop, cutout);
  const selfie = isolated.picture;
  let stylized = await paintCrop(isolated, area, style, photo.picture);
  const [shown] = continuePerson(area, crop.inside, stripWidth(crop.picture.width));
  if (!style.ofExample) { // the colours of an example are kept
    stylized = withOneTint(stylized, shown, greyWeight(selfie, cutout));
    if (style.vector) { // masked_stylizer takes styles, and smooths its input
      stylized = withFeatures(withShadows(stylized, selfie, shown), cutout, isolated);
    }
  }
  const painting = math.finishStyle(withoutStains(stylized, selfie, shown, stainWeight(crop)), selfie, shown, options);
  return layersOf(painting, selfie, cutout, crop, frame, size);
}

// Returns the side at which a crop is painted. The frame then has `size` pixels, or four times as many as in the photo if fewer.
function paintSide(cropPx, framePx, size) {
  if (!paintsAnySide()) return config.crop.size_px;
  const wanted = Math.max(Math.floor(Math.min((size * cropPx) / framePx, MAX_ENLARGEMENT * cropPx)), MIN_PAINTED);
  return Math.min(Math.floor(wanted / SIDE_STEP) * SIDE_STEP, MAX_PAINTED);
}

function layersOf(painting, isolated, cutout, crop, frame, size) {
  const { picture, alpha, inside, transform } = crop;
  const toFrame = between(transform, frameTransform(frame, size));
  const inFrame = (plane, border = "replicate") => math.warp(plane, toFrame, size, border);
  const covered = math.warpCovered(cutout, toFrame, size);
  const person = inFrame(painting);
  const mask = maskInFrame(cutout, inside, toFrame, size);
  const fade = math.borderFade(covered);
  const onWhite = alpha ? math.composite(picture, alpha, 255) : picture; // transparent pixels can have any colour
  const before = math.fadeBorder(inFrame(onWhite), fade);
  const visible = visibleArea(crop);
  const shown = math.allEqual(visible.data, 255) ? covered : inFrame(visible, "constant");
  const personInFrame = inFrame(cutout);
  const background = { ...shown, data: math.mapTo(Uint8ClampedArray, shown.data, (value, i) => value - personInFrame.data[i]) };
  return {
    before: { picture: before },
    keep: { picture: math.fadeBorder(inFrame(addChange(onWhite, isolated, painting, cutout)), fade) },
    transparent: { picture: person, mask },
    backdrop: { picture: math.composite(person, mask, paintBackdrop(person, mask, before, background, size)) },
  };
}

// Returns the person's mask in the frame. Narrow unpainted strips at its border are filled; cut-off edges inside fade out.
function maskInFrame(cutout, inside, toFrame, size) {
  const width = stripWidth(cutout.width);
  const [extended, area] = continuePerson(cutout, inside, width);
  const shifted = math.compose(toFrame, [[1, 0, -width], [0, 1, -width]]);
  const inFrame = (plane) => math.warp(math.pad(plane, width), shifted, size, "constant");
  const isWhole = area === inside;
  const padded = math.blank(inside.width + 2 * width, inside.height + 2 * width, 1);
  return fadeCuts(inFrame(extended), isWhole ? math.warpCovered(padded, shifted, size) : inFrame(area));
}
