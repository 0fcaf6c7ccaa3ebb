// Answers each line of the standard input in headless Chromium: node web.mjs model.onnx < words.txt

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { chromium } from "playwright-core";

const here = import.meta.dirname ?? new URL(".", import.meta.url).pathname;
const files = {
  "/": join(here, "web.html"),
  "/model.mjs": join(here, "../../kerass2s/deploy/web/model.mjs"),
  "/model.onnx": process.argv[2],
};
const types = { ".html": "text/html", ".mjs": "text/javascript", ".wasm": "application/wasm" };

const server = createServer(({ url }, response) => {
  const file = files[url] ?? (url.startsWith("/ort/") && join(here, "node_modules/onnxruntime-web/dist", url.slice(5)));
  if (!file) return response.writeHead(404).end();
  response.writeHead(200, { "content-type": types[extname(file)] ?? "application/octet-stream" });
  response.end(readFileSync(file));
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"],
});
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(120_000);
  page.on("pageerror", (error) => {
    console.error(error);
    browser.close(); // what waits for the page ends then
  });
  page.on("console", (message) => console.error(message.text()));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.waitForFunction(() => window.answer);
  const lines = readFileSync(0, "utf-8").split("\n").slice(0, -1);
  for (let start = 0; start < lines.length; start += 50) {
    const texts = await page.evaluate((batch) => window.answer(batch), lines.slice(start, start + 50));
    for (const text of texts) console.log(text);
  }
} finally {
  await browser.close();
  server.close();
}
