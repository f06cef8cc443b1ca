// The page's backend for `portraitist serve`: the server paints. URLs are relative, so that the page works under any path.

const UNREACHABLE = "The server does not respond. Is it still running?";

export const SHORT_NOTE = "Painted on this server, not stored";
export const PRIVACY_NOTE = "Your photos are sent to the server that this page came from, painted there in memory, and not stored or logged.";
export const openLive = null; // live painting exists only on the static site

export async function open() {
  const response = await fetch("styles").catch(() => { throw new Error(UNREACHABLE); });
  return { styles: await response.json(), canFollowExample: true };
}

export async function paint(file, options, onProgress) {
  const ticket = crypto.randomUUID?.() ?? String(Math.random()).slice(2);
  const polling = setInterval(async () => {
    const { position } = await fetch(`position/${ticket}`).then((response) => response.json()).catch(() => ({}));
    if (position) onProgress(`You are number ${position} in the queue.`);
  }, 500);
  try {
    const response = await post("faces", paintForm(file, options), { "X-Ticket": ticket });
    const { faces, left_out: leftOut } = await response.json();
    return { faces: await Promise.all(faces.map(decodeFace)), leftOut };
  } finally {
    clearInterval(polling);
  }
}

// Returns the PNG file, identical to that of the command line.
export async function finish(file, faceNumber, options, { background, backgroundFile, shape, size }) {
  const form = paintForm(file, options);
  form.append("face", faceNumber);
  form.append("shape", shape);
  form.append("size", size);
  form.append("background", background === "picture" ? backgroundFile : background);
  return (await post("avatar", form)).blob();
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

async function post(url, form, headers = {}) {
  const response = await fetch(url, { method: "POST", body: form, headers }).catch(() => {
    throw new Error(UNREACHABLE);
  });
  if (!response.ok) {
    const { error } = await response.json().catch(() => ({}));
    throw new Error(error ?? `The server responded with status ${response.status}.`);
  }
  return response;
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
