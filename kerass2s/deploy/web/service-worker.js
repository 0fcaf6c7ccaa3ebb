// Keeps the page, the runtime and the models that were used, so that all of it opens again without a network.

const VERSION = "unversioned"; // written by `kerass2s deploy web`: a digest of all files, so that a new one replaces the old
const CACHE = `kerass2s ${registration.scope} ${VERSION}`;

async function keep() {
  const { files } = await (await fetch("models.json", { cache: "no-cache" })).json();
  const cache = await caches.open(CACHE);
  await cache.addAll(["./", "models.json", ...files].map((file) => new Request(file, { cache: "no-cache" })));
}

// Drops what earlier versions kept for this very place.
async function tidy() {
  const old = (await caches.keys()).filter(
    (name) => name.startsWith(`kerass2s ${registration.scope} `) && name !== CACHE,
  );
  await Promise.all(old.map((name) => caches.delete(name)));
  await clients.claim();
}

async function respond(request) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request, { ignoreSearch: true });
  if (kept) return kept;
  const response = await fetch(request);
  if (response.ok) await cache.put(request, response.clone());
  return response;
}

// A page says which model it has loaded, perhaps before this worker saw it do so.
async function keepModel(file) {
  const cache = await caches.open(CACHE);
  if (!(await cache.match(file))) await cache.add(file);
}

self.addEventListener("message", (event) => event.waitUntil(keepModel(event.data.keep)));
self.addEventListener("install", (event) => event.waitUntil(keep().then(() => skipWaiting())));
self.addEventListener("activate", (event) => event.waitUntil(tidy()));
self.addEventListener("fetch", (event) => {
  if (event.request.method === "GET" && event.request.url.startsWith(registration.scope))
    event.respondWith(respond(event.request));
});
