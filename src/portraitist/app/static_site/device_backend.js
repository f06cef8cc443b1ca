// The page's backend for the static site: a worker paints on this device, and the picture never leaves it.

import { drawAvatar } from "./compose.js";

const PREVIEW_SIZE = 512; // pixels a side of the layers that the page shows
export const SHORT_NOTE = "Painted on this device";
export const PRIVACY_NOTE = "Your photos are painted on this device and never leave it. The page also works offline.";

class PaintWorker {
  constructor() {
    this.worker = new Worker(new URL("paint_worker.js", import.meta.url), { type: "module" });
    this.pending = new Map();
    this.count = 0;
    this.worker.addEventListener("message", ({ data: { id, result, error } }) => {
      const [resolve, reject] = this.pending.get(id);
      this.pending.delete(id);
      if (error) reject(new Error(error));
      else resolve(result);
    });
    this.worker.addEventListener("error", (event) => {
      const reason = event.message ?? "module workers are not supported";
      for (const [, reject] of this.pending.values()) reject(new Error(`This browser cannot paint: ${reason}.`));
      this.pending.clear();
    });
  }

  call(task, values = {}, transfer = []) {
    return new Promise((resolve, reject) => {
      this.pending.set(++this.count, [resolve, reject]);
      this.worker.postMessage({ id: this.count, task, values }, transfer);
    });
  }
}

const painter = new PaintWorker();
const ids = new WeakMap(); // of photos: the worker caches their faces

export async function open(onProgress) {
  onProgress("Loading the model…");
  return painter.call("open", { useGpu: false });
}

export function paint(file, options, _, size = PREVIEW_SIZE) {
  if (!ids.has(file)) ids.set(file, crypto.randomUUID?.() ?? Math.random());
  return painter.call("paint", { id: ids.get(file), file, options, size });
}

// Returns an avatar that is painted at its own size, or null if the page's layers have that size.
export async function finish(file, faceNumber, options, finishOptions) {
  if (finishOptions.size === PREVIEW_SIZE) return null;
  const { faces } = await paint(file, options, null, finishOptions.size);
  const canvas = document.createElement("canvas");
  drawAvatar(canvas, faces[faceNumber - 1], finishOptions);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

// A painter of video frames, on WebGPU where there is an adapter, else as WebAssembly in the same worker as photos.
export async function openLive(options) {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  let [worker, backend] = [painter, "on the processor"];
  if (adapter) {
    const accelerated = new PaintWorker();
    try {
      await accelerated.call("open", { useGpu: true });
      [worker, backend] = [accelerated, "on the graphics card"];
    } catch {
      accelerated.worker.terminate(); // the adapter lacks a feature: stay with WebAssembly
    }
  }
  await worker.call("stop"); // forget the face of an earlier session
  return {
    backend,
    paint: (bitmap, time) => worker.call("live", { bitmap, time, options }, [bitmap]),
    close: () => { if (worker !== painter) worker.worker.terminate(); },
  };
}
