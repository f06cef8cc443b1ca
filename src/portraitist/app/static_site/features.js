// Keeps the eyes and the mouth of a photo in its painting: the counterpart of features.py, with its constants.

import * as math from "./image_math.js";

const FEATURES = [[math.RIGHT_EYE, 0.42, 0.19, 1], [math.LEFT_EYE, 0.42, 0.19, 1], [math.MOUTH, 0.55, 0.3, 0.8]];
const [FADE, DETAIL, MARGIN] = [1.5, 0.147, 0.85];
const [STRENGTH, LIGHTENING] = [0.8, 0.5];
const [CONTRAST, MAX_AMPLIFICATION] = [1.1, 2];

// Replaces the details of eyes and mouth in a painting by the photo's.
export function withFeatures(painted, mask, { picture: photo, face, transform }) {
  const landmarks = face.points.map((point) => math.applyTransform(transform, point));
  const across = [0, 1].map((axis) => landmarks[math.LEFT_EYE][axis] - landmarks[math.RIGHT_EYE][axis]);
  const distance = Math.max(Math.hypot(...across), 1);
  const [[left, right], [top, bottom]] = [0, 1].map((axis) => {
    const values = FEATURES.map(([landmark]) => landmarks[landmark][axis]);
    const ends = [Math.min(...values) - MARGIN * distance, Math.max(...values) + MARGIN * distance];
    return ends.map((end) => math.clamp(math.roundHalfEven(end), 0, painted.width));
  });
  if (right - left < 2 || bottom - top < 2) return painted;
  const size = { left, top, width: right - left, height: bottom - top };
  const inArea = landmarks.map(([x, y]) => [x - left, y - top]);
  const weights = weightsOf(inArea, across.map((value) => value / distance), distance, cutArea(mask, size));
  const lab = math.toLab(cutArea(painted, size));
  const [lightness, photoLightness] = [lab, math.toLab(cutArea(photo, size))].map((values) => weights.map((_, i) => values[3 * i]));
  const window = 2 * Math.max(1, math.roundHalfEven(DETAIL * distance)) + 1;
  const blur = (values) => math.boxBlur(values, size.width, size.height, 1, window);
  const [coarse, photoCoarse] = [lightness, photoLightness].map((values) => blur(blur(values)));
  const [detail, photoDetail] = [[lightness, coarse], [photoLightness, photoCoarse]].map(([values, low]) => values.map((value, i) => value - low[i]));
  const amplification = math.clamp((CONTRAST * contrast(detail, weights)) / Math.max(contrast(photoDetail, weights), 1e-3), 1, MAX_AMPLIFICATION);
  const data = Uint8ClampedArray.from(painted.data);
  for (let i = 0; i < weights.length; i++) {
    if (!weights[i]) continue;
    const replaced = amplification * photoDetail[i] - detail[i];
    const lightened = Math.max(photoCoarse[i] - coarse[i], 0);
    const light = math.clamp(lightness[i] + weights[i] * (STRENGTH * replaced + LIGHTENING * lightened), 0, 100);
    const at = 3 * ((top + Math.floor(i / size.width)) * painted.width + left + (i % size.width));
    math.setRgb(data, at, light, lab[3 * i + 1], lab[3 * i + 2]);
  }
  return { ...painted, data };
}

function cutArea({ width: stride, channels, data }, { left, top, width, height }) {
  const result = math.blank(width, height, channels);
  for (let y = 0; y < height; y++) {
    const from = ((top + y) * stride + left) * channels;
    result.data.set(data.subarray(from, from + width * channels), y * width * channels);
  }
  return result;
}

// Returns a weight for each pixel of a mask: the largest at eyes and mouth, falling smoothly to 0 around them, times the mask.
// `axis` is the unit vector from the right eye to the left eye.
function weightsOf(landmarks, [cos, sin], distance, { width, height, data }) {
  const weights = new Float32Array(data.length);
  for (const [landmark, halfWidth, halfHeight, largest] of FEATURES) {
    const [x, y] = landmarks[landmark];
    const [horizontal, vertical] = [halfWidth * distance, halfHeight * distance];
    const reach = Math.sqrt(FADE) * Math.max(horizontal, vertical);
    const [firstColumn, lastColumn] = [Math.max(0, Math.floor(x - reach)), Math.min(width - 1, Math.ceil(x + reach))];
    const lastRow = Math.min(height - 1, Math.ceil(y + reach));
    for (let row = Math.max(0, Math.floor(y - reach)); row <= lastRow; row++) {
      for (let column = firstColumn; column <= lastColumn; column++) {
        const along = ((column - x) * cos + (row - y) * sin) / horizontal;
        const across = ((row - y) * cos - (column - x) * sin) / vertical;
        const rest = FADE - along * along - across * across;
        if (rest <= 0) continue;
        const ramp = Math.min(rest, 1);
        const i = row * width + column;
        weights[i] = Math.max(weights[i], (largest * ramp * ramp * (3 - 2 * ramp) * data[i]) / 255);
      }
    }
  }
  return weights;
}

// Returns the weighted root mean square of details.
function contrast(detail, weights) {
  let [squares, sum] = [0, 0];
  for (let i = 0; i < weights.length; i++) {
    squares += weights[i] * detail[i] * detail[i];
    sum += weights[i];
  }
  return Math.sqrt(squares / Math.max(sum, 1e-6));
}
