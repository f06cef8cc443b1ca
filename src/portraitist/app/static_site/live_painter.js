// Paints video frames: the counterpart of video.py. Canvases warp the frames, which is faster than image_math.js.

import * as math from "./image_math.js";
import { closeUp, config, detectUpright, generate, paintsAnySide, segment, verify } from "./networks.js";

const [MIN_CUTOFF_HZ, BETA, SPEED_CUTOFF_HZ] = [0.7, 4, 1]; // as in video.py
const MASK_MOMENTUM = 0.5; // weight of the previous mask in the moving average
const MIN_TRACKING_SCORE = 0.6; // if the score is lower, the whole frame is searched for a face
const SIDES = [256, 192, 160, 128]; // of the painting in pixels, if the generator paints any side
const [MIN_FRAME_MS, MAX_FRAME_MS, FRAMES] = [45, 125, 8]; // the side is reduced or increased if the median time of 8 frames is outside
const MASK_PERIOD = 2; // the mask is computed for every second frame
const SEARCH_SIDE = 320; // longer side to which a frame is scaled down before it is searched for faces

// One-euro filter on landmarks (Casiez, Roussel, Vogel, CHI 2012); speeds are in face lengths per second.
class OneEuroFilter {
  apply(points, length, time) {
    if (!this.value) [this.value, this.speed] = [points, points.map(() => [0, 0])];
    else {
      const step = Math.max((time - this.time) / 1000, 1e-3);
      const alpha = (cutoff) => 1 / (1 + 1 / (2 * Math.PI * cutoff * step));
      const mix = (old, now, weight) => old.map((point, i) => point.map((value, axis) => value + weight * (now[i][axis] - value)));
      const speed = points.map((point, i) => point.map((value, axis) => (value - this.value[i][axis]) / step / length));
      this.speed = mix(this.speed, speed, alpha(SPEED_CUTOFF_HZ));
      const mean = this.speed.reduce((sum, [x, y]) => sum + Math.hypot(x, y), 0) / points.length;
      this.value = mix(this.value, points, alpha(MIN_CUTOFF_HZ + BETA * mean));
    }
    this.time = time;
    return this.value;
  }
}

// Chooses the side of the painting: a smaller one if frames take too long, and a larger one if they are fast.
export class SideChooser {
  constructor(sides) {
    this.sides = sides;
    this.index = 0;
    this.times = [];
  }

  get side() {
    return this.sides[this.index];
  }

  add(milliseconds) {
    this.times.push(milliseconds);
    if (this.times.length < FRAMES) return;
    const median = this.times.sort((a, b) => a - b)[FRAMES / 2];
    this.times = [];
    const step = Number(median > MAX_FRAME_MS) - Number(median < MIN_FRAME_MS);
    this.index = math.clamp(this.index + step, 0, this.sides.length - 1);
  }
}

export class LivePainter {
  constructor(options, style) {
    this.options = options;
    this.style = style;
    this.filter = new OneEuroFilter();
    this.face = null;
    this.mask = null;
    this.sides = new SideChooser(paintsAnySide() ? SIDES : [config.crop.size_px]);
    this.count = 0;
    this.canvas = new OffscreenCanvas(1, 1);
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.surroundings = new OffscreenCanvas(6, 6); // the frame, very small: its colours are shown where a crop extends beyond it
  }

  // Returns the painted crop of a frame as an ImageBitmap, or null if no face is found. `time` is in milliseconds.
  async paint(bitmap, time) {
    const start = performance.now();
    const face = await this.track(bitmap);
    if (!face) {
      bitmap.close();
      [this.filter, this.face, this.mask] = [new OneEuroFilter(), null, null];
      return null;
    }
    this.face = face;
    const points = this.filter.apply(face.points, math.sideOf(face) / 2, time);
    const params = { ...config.crop, size_px: this.sides.side };
    this.surroundings.getContext("2d").drawImage(bitmap, 0, 0, 6, 6);
    const picture = this.view(bitmap, math.alignment({ ...face, points }, bitmap, params), params.size_px, params.size_px, this.surroundings);
    bitmap.close();
    const mask = await this.segment(picture);
    const painted = math.finishStyle(await generate(picture, mask, this.style), picture, mask, this.options);
    this.sides.add(performance.now() - start);
    return createImageBitmap(math.toImageData(painted));
  }

  // Returns the person's mask, averaged over time. The crop follows the face, so masks can be averaged pixel by pixel.
  async segment(picture) {
    const isCurrent = this.mask?.width === picture.width;
    if (isCurrent && this.count++ % MASK_PERIOD) return this.mask;
    const mask = await segment(picture, false);
    if (isCurrent) for (let i = 0; i < mask.data.length; i++) mask.data[i] += MASK_MOMENTUM * (this.mask.data[i] - mask.data[i]);
    this.mask = mask;
    return mask;
  }

  async track(bitmap) {
    if (this.face) {
      const { transform, side } = closeUp(this.face);
      const face = await verify(this.face, this.view(bitmap, transform, side));
      if (face.score >= MIN_TRACKING_SCORE) return math.moveBox({ ...face, score: 1 });
    }
    const scale = Math.min(1, SEARCH_SIDE / Math.max(bitmap.width, bitmap.height));
    const [width, height] = [Math.round(bitmap.width * scale), Math.round(bitmap.height * scale)];
    const found = await detectUpright(this.view(bitmap, [[scale, 0, 0], [0, scale, 0]], width, height));
    return found.length ? math.scaleFace({ ...found[0], score: 1 }, 1 / scale) : null;
  }

  // Returns a frame under a transform, at width x height. Around the frame is black, or the picture `around`.
  view(bitmap, [[a, c, e], [b, d, f]], width, height = width, around = null) {
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    if (around) this.context.drawImage(around, 0, 0, width, height);
    else this.context.fillRect(0, 0, width, height);
    this.context.setTransform(a, b, c, d, e, f);
    this.context.drawImage(bitmap, 0, 0);
    return math.fromRgba(this.context.getImageData(0, 0, width, height).data, width, height).picture;
  }
}
