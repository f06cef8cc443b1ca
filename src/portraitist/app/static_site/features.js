// Keeps the eyes and the mouth of a photo in its painting: the counterpart of features.py, with its constants.

import { faceInCrop } from "./framing.js";
import * as math from "./image_math.js";

const FEATURES = [[math.RIGHT_EYE, 0.4, 0.18, 1], [math.LEFT_EYE, 0.4, 0.18, 1], [math.MOUTH, 0.52, 0.29, 0.8]];
const [FADE, DETAIL, MARGIN] = [1.5, 0.14, 0.8];
const [STRENGTH, LIGHTENING] = [0.8, 0.5];
const [CONTRAST, MAX_AMPLIFICATION] = [1.1, 2];

// Replaces the details of eyes and mouth in a painting by the photo's.
export function withFeatures(painted, mask, crop) {
  const { picture: photo, face, transform } = crop;
  const { length } = faceInCrop(crop);
  const landmarks = face.points.map((point) => math.applyTransform(transform, point));
  const [[left, right], [top, bottom]] = [0, 1].map((axis) => {
    const values = FEATURES.map(([landmark]) => landmarks[landmark][axis]);
    const ends = [Math.min(...values) - MARGIN * length, Math.max(...values) + MARGIN * length];
    return ends.map((end) => math.clamp(math.roundHalfEven(end), 0, painted.width));
  });
  if (right - left < 2 || bottom - top < 2) return painted;
  const size = { width: right - left, height: bottom - top };
  const [personMask, painting, original] = [mask, painted, photo].map((plane) => math.cut(plane, left, top, size.width, size.height));
  const person = math.mapBytes(Float32Array, personMask.data, (value) => value / 255);
  const weights = weightsOf(landmarks.map(([x, y]) => [x - left, y - top]), length, size, person);
  const lab = math.toLab(painting, { data: weights });
  const [lightness, photoLightness] = [painting, original].map(math.toLightness);
  const window = 2 * Math.max(1, math.roundHalfEven(DETAIL * length)) + 1;
  const blur = (values) => math.boxBlur(values, size.width, size.height, 1, window);
  const [coarse, photoCoarse] = [lightness, photoLightness].map((values) => blur(blur(values)));
  const [detail, photoDetail] = [[lightness, coarse], [photoLightness, photoCoarse]].map(([values, low]) => math.mapTo(Float32Array, values, (value, i) => value - low[i]));
  const amplification = math.clamp((CONTRAST * contrast(detail, weights)) / Math.max(contrast(photoDetail, weights), 1e-3), 1, MAX_AMPLIFICATION);
  const darkening = math.mapTo(Float32Array, photoCoarse, (value, i) => value - coarse[i]);
  const ofFace = Math.max(mean(darkening, person), 0);
  const data = Uint8ClampedArray.from(painted.data);
  for (let i = 0; i < weights.length; i++) {
    if (!weights[i]) continue;
    const replaced = amplification * photoDetail[i] - detail[i];
    const lightened = Math.max(darkening[i] - ofFace, 0);
    const light = math.clamp(lightness[i] + weights[i] * (STRENGTH * replaced + LIGHTENING * lightened), 0, 100);
    const at = 3 * ((top + Math.floor(i / size.width)) * painted.width + left + (i % size.width));
    math.setRgb(data, at, light, lab[3 * i + 1], lab[3 * i + 2]);
  }
  return { ...painted, data };
}

// Returns a weight for each pixel of an area: the largest at eyes and mouth, falling smoothly to 0 around them, times `person`.
function weightsOf(landmarks, length, { width, height }, person) {
  const weights = new Float32Array(person.length);
  for (const [landmark, halfWidth, halfHeight, largest] of FEATURES) {
    const [x, y] = landmarks[landmark];
    const [reachX, reachY] = [halfWidth, halfHeight].map((half) => Math.sqrt(FADE) * half * length);
    const [firstColumn, lastColumn] = [Math.max(0, Math.floor(x - reachX)), Math.min(width - 1, Math.ceil(x + reachX))];
    const lastRow = Math.min(height - 1, Math.ceil(y + reachY));
    for (let row = Math.max(0, Math.floor(y - reachY)); row <= lastRow; row++) {
      for (let column = firstColumn; column <= lastColumn; column++) {
        const across = (column - x) / (halfWidth * length);
        const down = (row - y) / (halfHeight * length);
        const ramp = math.clamp(FADE - across * across - down * down, 0, 1);
        const i = row * width + column;
        weights[i] = Math.max(weights[i], largest * ramp * ramp * (3 - 2 * ramp) * person[i]);
      }
    }
  }
  return weights;
}

// Returns the weighted root mean square of details.
const contrast = (detail, weights) => Math.sqrt(mean(math.mapTo(Float32Array, detail, (value) => value * value), weights));

// Returns the weighted mean; 0 if all weights are 0.
function mean(values, weights) {
  let [sum, total] = [0, 0];
  for (let i = 0; i < weights.length; i++) {
    sum += weights[i] * values[i];
    total += weights[i];
  }
  return sum / Math.max(total, 1e-6);
}
