// Uses a page of `kerass2s deploy web` in headless Chromium, and says as JSON what it showed: node page.mjs FOLDER [PICTURE]

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname, join } from "node:path";

const { chromium } = createRequire(new URL("../runtimes/package.json", import.meta.url))("playwright-core");
const [folder, picture] = process.argv.slice(2);
const PATH = "/some/where/demo/"; // as a project's pages are served
const types = {
  ".html": "text/html",
  ".mjs": "text/javascript",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
};

const gone = new Set(); // what the server shall not find
const server = createServer(({ url }, response) => {
  const name =
    url.startsWith(PATH) && !gone.has(url.slice(PATH.length)) ? url.slice(PATH.length) || "index.html" : null;
  try {
    const content = readFileSync(join(folder, name));
    response.writeHead(200, { "content-type": types[extname(name)] ?? "application/octet-stream" }).end(content);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const address = `http://127.0.0.1:${server.address().port}${PATH}`;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"],
});
const context = await browser.newContext({ viewport: { width: 1200, height: 860 } });
const page = await context.newPage();
const said = { requests: [], complaints: [] };
context.on("request", (request) => said.requests.push(request.url()));
page.on("console", (message) => said.complaints.push(message.text()));
page.on("pageerror", (error) => said.complaints.push(error.message));

const answered = () =>
  page.waitForFunction(() => document.querySelector("#answer:not(.stale):not(:empty)"), null, { timeout: 60_000 });
const text = (selector) => page.textContent(selector);
const texts = (selector) => page.$$eval(selector, (found) => found.map((each) => each.textContent));

// Sets a field as a keystroke does, and waits for what the page answers to it.
async function enter(selector, value) {
  await page.fill(selector, value);
  await answered();
}

async function shown() {
  return {
    answer: await text("#answer"),
    hypotheses: await texts(".hypothesis .words"),
    scores: (await texts(".hypothesis .score")).map((score) => Number(score.replace("−", "-"))),
    columns: await texts("#map .column"),
    rows: await texts("#map .row"),
    unknown: await texts("#unknown:not([hidden]) mark"),
    cells: await page.$$eval("#map .cell", (cells) =>
      cells.map(({ style }) => [
        Number(style.gridRowStart) - 2,
        Number(style.gridColumnStart) - 2,
        Number(style.getPropertyValue("--weight")),
      ]),
    ),
  };
}

try {
  await page.goto(address);
  await answered();
  said.first = { text: await page.inputValue("#text"), facts: await text("#facts"), ...(await shown()) };
  if (picture) await page.screenshot({ path: picture });

  said.words = {};
  for (const word of JSON.parse(readFileSync(0, "utf-8"))) {
    await enter("#text", word);
    said.words[word] = await shown();
  }

  // A burst of input: one question is on its way when the others come, and only the newest of these is asked.
  await page.evaluate(() => {
    window.seen = [];
    new MutationObserver(() => seen.push(document.querySelector("#facts").textContent)).observe(
      document.querySelector("#facts"),
      { childList: true },
    );
    for (const value of ["d", "da", "day", "dayl", "daylights"]) {
      document.querySelector("#text").value = value;
      document.querySelector("#text").dispatchEvent(new Event("input"));
    }
  });
  await answered();
  said.answers = await page.evaluate(() => seen.length);
  said.burst = await shown();

  // Another hypothesis and another cell, by the keyboard.
  await page.focus(".hypothesis input");
  await page.keyboard.press("ArrowDown");
  said.second = await shown();
  await page.focus("#map .grid");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  said.readout = await text("#readout");

  await page.click("#settings summary");
  await enter("input[name=length_penalty]", "1");
  said.penalised = await shown();
  await enter("input[name=max_length]", "2");
  said.cut = await shown();
  await page.fill("input[name=max_length]", "0");
  said.refused = [await page.getAttribute("input[name=max_length]", "aria-invalid"), await text("#answer")];
  await page.click("#reset");
  await answered();
  said.reset = await shown();

  // A file that is not there, and then is.
  gone.add("models/samples.onnx");
  await page.selectOption("#model", "samples");
  await page.waitForSelector("#error:not([hidden])");
  said.missing = await text("#reason");
  gone.clear();
  await page.click("#retry");
  await page.waitForSelector("#about:not([hidden])");
  await answered();
  said.about = await texts("#description dd");
  await enter("#text", "cat sat unheard-of act");
  await enter("input[name=seed]", "7");
  said.samples = { note: await text("#readout"), ...(await shown()) };

  await page.selectOption("#model", "beams");
  await page.waitForSelector("#about:not([hidden])");
  await page.setViewportSize({ width: 360, height: 740 });
  await enter("#text", "antidisestablishmentarianism");
  said.overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);

  // Without a network: the page and both models come from the browser's own store.
  await page.waitForFunction(async () => {
    const kept = await Promise.all(["./models/beams.onnx", "./models/samples.onnx"].map((file) => caches.match(file)));
    return kept.every(Boolean);
  });
  server.close();
  server.closeAllConnections();
  await page.reload();
  await answered();
  said.offline = { text: await page.inputValue("#text"), ...(await shown()) };
  await page.selectOption("#model", "samples");
  await page.waitForSelector("#about:not([hidden])");
  await answered();
  said.offline.model = (await texts("#description dd"))[1];
  console.log(JSON.stringify({ address, ...said }));
} finally {
  await browser.close();
  server.close();
}
