// The page's backend for the static site: a web worker paints on this device. Pictures never leave the device.

import { drawAvatar } from "./compose.js";

const PREVIEW_SIZE = 512; // side in pixels of the layers that the page shows
const WARM_UP_SIZE = 256;
export const SHORT_NOTE = "Painted on this device";
export const PRIVACY_NOTE = "Your photos are painted on this device and never leave it. The page also works offline.";

const MAX_WAIT_MS = 2000; // for the service worker to start
const RELOADED = "portraitist-reloaded"; // in the tab's storage: the page has been reloaded once
await allowThreads().catch(() => {}); // without them, painting only takes longer

// Installs the service worker whose headers allow several threads, and reloads the page once: the headers have no effect on a page
// that is already loaded. If the visitor uses the page already, they have an effect when it is opened next.
async function allowThreads() {
  const { serviceWorker } = navigator; // missing on http pages, except on localhost
  if (self.crossOriginIsolated || !serviceWorker || serviceWorker.controller || window.top !== window) return;
  if (sessionStorage.getItem(RELOADED)) return;
  const controlled = new Promise((resolve) => { serviceWorker.addEventListener("controllerchange", () => resolve(true)); });
  const isBypassed = ({ active }) => active && !serviceWorker.controller; // as after a forced reload
  const installed = serviceWorker.register(new URL("service_worker.js", import.meta.url))
    .then((registration) => !isBypassed(registration) && controlled, () => false);
  const timeout = new Promise((resolve) => { setTimeout(resolve, MAX_WAIT_MS, false); });
  if (!(await Promise.race([installed, timeout])) || (navigator.userActivation?.hasBeenActive ?? true)) return;
  sessionStorage.setItem(RELOADED, "yes");
  location.reload();
  await new Promise(() => {}); // nothing else starts before the page is reloaded
}

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
      const reason = event.message ?? "a script cannot be loaded";
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

let painter = null; // the worker, once `open` was called
const ids = new WeakMap(); // photo -> id, under which the worker caches its faces

export async function open(onProgress) {
  onProgress("Loading the model…");
  painter?.worker.terminate(); // the runtime does not start twice in the same worker
  painter = new PaintWorker();
  return painter.call("open", { useGpu: false });
}

export function paint(file, options, _, size = PREVIEW_SIZE, only) {
  if (!ids.has(file)) ids.set(file, crypto.randomUUID?.() ?? Math.random());
  return painter.call("paint", { id: ids.get(file), file, options, size, only });
}

// Paints the example selfie at a small size and discards the result. The first painting takes longer than later ones, because
// the browser compiles the code meanwhile. A photo that is chosen during this time waits until the example is painted.
export async function warmUp(options) {
  const example = await fetch(new URL("example_1_selfie.webp", import.meta.url));
  await paint(await example.blob(), options, null, WARM_UP_SIZE);
}

// Returns a PNG that is painted at the requested size, or null if the layers on the page have this size already.
export async function finish(file, faceNumber, options, finishOptions) {
  if (finishOptions.size === PREVIEW_SIZE) return null;
  const { faces } = await paint(file, options, null, finishOptions.size, faceNumber - 1);
  const canvas = document.createElement("canvas");
  drawAvatar(canvas, faces[faceNumber - 1], finishOptions);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

// Returns a painter of video frames: on WebGPU if an adapter works, else in WebAssembly, in the worker that paints photos.
export async function openLive(options) {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  let [worker, backend] = [painter, "on the processor"];
  if (adapter) {
    const accelerated = new PaintWorker();
    try {
      await accelerated.call("open", { useGpu: true });
      [worker, backend] = [accelerated, "on the graphics card"];
    } catch {
      accelerated.worker.terminate(); // the adapter does not work: use WebAssembly
    }
  }
  await worker.call("stop"); // forget the face of an earlier session
  return {
    backend,
    paint: (bitmap, time) => worker.call("live", { bitmap, time, options }, [bitmap]),
    close: () => { if (worker !== painter) worker.worker.terminate(); },
  };
}
