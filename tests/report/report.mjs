// Opens a report in headless Chromium and says as JSON what it shows: node report.mjs REPORT [PICTURES]

import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const { chromium } = createRequire(new URL("../runtimes/package.json", import.meta.url))("playwright-core");
const [report, pictures] = process.argv.slice(2);
const address = pathToFileURL(resolve(report)).href;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"],
});
const context = await browser.newContext({ viewport: { width: 1200, height: 900 } });
const page = await context.newPage();
const said = { requests: [], complaints: [] };
context.on("request", (request) => said.requests.push(request.url()));
page.on("console", (message) => said.complaints.push(message.text()));
page.on("pageerror", (error) => said.complaints.push(error.message));
page.on("dialog", (dialog) => said.complaints.push(`dialog: ${dialog.message()}`) && dialog.dismiss());

const texts = (selector) =>
  page.$$eval(selector, (found) => found.map((each) => each.textContent.replace(/\s+/g, " ").trim()));

try {
  await page.goto(address);
  said.title = await page.title();
  said.headings = await texts("h2, summary");
  said.figures = await page.$$eval("#figures tbody tr", (rows) =>
    Object.fromEntries(
      rows.map((row) => [
        row.querySelector("th").firstChild.textContent,
        {
          values: [...row.querySelectorAll(".figure")].map((each) => each.textContent),
          rest: [...row.querySelectorAll("td:not(.bar)")].map((each) => each.textContent.replace(/\s+/g, " ").trim()),
          whiskers: [...row.querySelectorAll(".track")].map((each) => {
            const { width } = getComputedStyle(each, "::after");
            return parseFloat(width) / each.getBoundingClientRect().width;
          }),
        },
      ]),
    ),
  );
  said.groups = await page.$$eval(".breakdown", (found) =>
    Object.fromEntries(
      found.map((each) => [
        each.querySelector("h2").textContent,
        [...each.querySelectorAll("tbody tr")].map((row) => [
          row.querySelector("th").textContent,
          Number(row.querySelector(".number").textContent.replace(",", "")),
        ]),
      ]),
    ),
  );
  said.unknown = (await texts("#unknown b")).join(" ");
  said.columns = await page.$$eval(".column", (found) => found.length);
  said.confusions = await texts(".confusions tbody tr");
  for (const details of await page.$$("details")) await details.evaluate((each) => (each.open = true));
  said.examples = await texts(".examples:first-of-type h3, .example h3");
  said.alignments = await page.$$eval(".alignment", (found) =>
    found.map((each) =>
      [...each.querySelectorAll("li:not(.names)")].map((step) => [...step.children].map((part) => part.textContent)),
    ),
  );
  said.scheme = {};
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    said.scheme[colorScheme] = await page.evaluate(() => {
      const { backgroundColor, color } = getComputedStyle(document.body);
      return [backgroundColor, color];
    });
    if (pictures) await page.screenshot({ path: join(pictures, `${colorScheme}.png`), fullPage: true });
  }
  await page.setViewportSize({ width: 360, height: 740 });
  said.overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (pictures) await page.screenshot({ path: join(pictures, "phone.png") });
  console.log(JSON.stringify({ address, ...said }));
} finally {
  await browser.close();
}
