// The page's backend for `portraitist serve`: the server paints. URLs are relative, so that the page works under any path.

import { TemporaryError } from "./dom.js";

const MAX_ATTEMPTS = 3; // of a request that the server refuses because it is busy
const UNREACHABLE = "The server does not respond. Is it still running?";

export const SHORT_NOTE = "Painted on this server, not stored";
export const PRIVACY_NOTE = "Your photos are sent to the server that this page came from, painted there in memory, and not stored or logged.";
export const openLive = null; // live painting exists only on the static site

export async function open(onProgress) {
  onProgress("Loading the styles…");
  const response = await request("styles");
  return { styles: await response.json(), canFollowExample: true };
}

export async function paint(file, options, onProgress) {
  const ticket = crypto.randomUUID?.() ?? String(Math.random()).slice(2);
  let wasWaiting = false;
  const polling = setInterval(async () => {
    const { position } = await fetch(`position/${ticket}`).then((response) => response.json()).catch(() => ({}));
    if (position) onProgress(`You are number ${position} in the queue.`);
    else if (wasWaiting) onProgress(); // it is painted now
    wasWaiting = Boolean(position);
  }, 500);
  try {
    const response = await post("faces", paintForm(file, options), onProgress, { "X-Ticket": ticket });
    const { faces, left_out: leftOut } = await response.json();
    return { faces: await Promise.all(faces.map(decodeFace)), leftOut };
  } finally {
    clearInterval(polling);
  }
}

// Returns the PNG file, identical to that of the command line.
export async function finish(file, faceNumber, options, { background, backgroundFile, shape, size }, onProgress) {
  const form = paintForm(file, options);
  form.append("face", faceNumber);
  form.append("shape", shape);
  form.append("size", size);
  form.append("background", background === "picture" ? backgroundFile : background);
  return (await post("avatar", form, onProgress)).blob();
}

function paintForm(file, { style, like, strength, keepColours, align }) {
  const form = new FormData();
  form.append("selfie", file);
  if (like) form.append("like", like);
  else form.append("style", style);
  form.append("strength", strength);
  form.append("keep_colours", keepColours);
  form.append("align", align);
  return form;
}

// Sends a form. If the server is busy, waits for the time in its header Retry-After, and sends the form again.
async function post(url, form, onProgress, headers = {}) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await request(url, { method: "POST", body: form, headers });
    } catch (error) {
      if (!error.retryAfter || attempt === MAX_ATTEMPTS) throw error;
      onProgress(`The server is busy. The page tries again in ${error.retryAfter} s.`);
      await new Promise((resolve) => setTimeout(resolve, 1000 * error.retryAfter));
      onProgress();
    }
  }
}

// Returns the server's response. Otherwise, throws an error with the server's message. Its `retryAfter` is the number of seconds
// in the header Retry-After; 0 if there is none.
async function request(url, options) {
  const response = await fetch(url, options).catch(() => { throw new TemporaryError(UNREACHABLE); });
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({}));
  const isTemporary = response.status >= 500 || [408, 429].includes(response.status);
  throw Object.assign(new (isTemporary ? TemporaryError : Error)(error ?? `The server responded with status ${response.status}.`), {
    retryAfter: Number(response.headers.get("Retry-After")) || 0,
  });
}

async function decodeFace(face) {
  if (face.error) return face;
  const layers = {};
  for (const [name, address] of Object.entries(face)) {
    const image = new Image();
    image.src = address;
    await image.decode();
    layers[name] = image;
  }
  return layers;
}
