// Adds the two headers without which browsers do not let a page use several threads, because plain file hosts cannot send them.
// Only the page itself and its workers get the headers; all other requests are left alone. Nothing is cached.

const OWN_FILES = /^(|index\.html|paint_worker\.js|ort\/.*\.js)$/; // relative to the page's folder
const MARK = '<meta http-equiv="Content-Security-Policy"'; // in the page; a server sends its policy as a header

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const { destination, url } = event.request;
  const { scope } = self.registration;
  if (!["document", "worker"].includes(destination) || !url.startsWith(scope)) return;
  if (OWN_FILES.test(url.slice(scope.length).replace(/[?#].*/, ""))) event.respondWith(withHeaders(event.request));
});

async function withHeaders(request) {
  const response = await fetch(request);
  if (request.destination === "document") {
    if (response.type === "opaqueredirect") return response; // the browser follows it, and requests the new address
    if (!(await response.clone().text()).includes(MARK)) { // the page was deleted, or replaced by another one
      await self.registration.unregister();
      return response;
    }
  }
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
