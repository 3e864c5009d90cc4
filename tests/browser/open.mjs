// Opens one page, does what a list of actions says, and prints what came of each as JSON.
// node open.mjs CHROMIUM PAGE '[["wait", "#viewer"], ["text", "h1"], ...]'
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [executablePath, file, list] = process.argv.slice(2);
const args = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking"];
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
let session;
const found = { console: [], requests: [], results: [] };

const actions = {
  wait: (page, selector) => page.waitForSelector(selector, { state: "attached", timeout: 60_000 }).then(() => true),
  text: (page, selector) => page.locator(selector).first().textContent(),
  texts: (page, selector) => page.locator(selector).allTextContents(),
  visible: (page, selector) => page.locator(selector).first().isVisible(),
  value: (page, selector) => page.locator(selector).first().inputValue(),
  checked: (page, selector) => page.locator(selector).first().isChecked(),
  click: (page, selector, x, y) =>
    page.locator(selector).first().click(x === undefined ? {} : { position: { x, y } }).then(() => true),
  press: (page, selector, key) => page.locator(selector).first().press(key).then(() => true),
  select: (page, selector, value) => page.locator(selector).first().selectOption(value),
  // Several values so soon after each other that nothing of the page's own can come between.
  choose: (page, selector, ...values) =>
    page.locator(selector).first().evaluate((element, chosen) => {
      for (const value of chosen) {
        element.value = value;
        element.dispatchEvent(new Event("change"));
      }
    }, values),
  fill: (page, selector, text) => page.locator(selector).first().fill(text).then(() => true),
  shot: (page, selector, path) => page.locator(selector).first().screenshot({ path }).then(() => true),
  screen: (page, path) => page.screenshot({ path }).then(() => true),
  pdf: (page, path) => page.pdf({ path }).then(() => true),
  pause: (page, milliseconds) => page.waitForTimeout(milliseconds).then(() => true),
  media: (page, colorScheme) => page.emulateMedia({ colorScheme }).then(() => true),
  reload: (page) => page.reload().then(() => true),
  number: (page, selector) => page.locator(selector).count(),
  // Seconds of processor time until something was seen: those of the clock tell how busy the machine is.
  async paint(page) {
    await page.waitForFunction(() => performance.getEntriesByName("first-contentful-paint").length);
    const { metrics } = await session.send("Performance.getMetrics");
    return metrics.find(({ name }) => name === "ProcessTime").value;
  },
  upload: (page, selector, path) => page.locator(selector).setInputFiles(path).then(() => true),
  async download(page, selector, path) {
    const [download] = await Promise.all([page.waitForEvent("download"), page.locator(selector).first().click()]);
    await download.saveAs(path);
    return download.suggestedFilename();
  },
  async axe(page) {
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => globalThis.axe.run({ resultTypes: ["violations"] }));
    return violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => node.html).join(" ")}`);
  },
};

const extra = process.env.WITHOUT_WEBGL ? ["--disable-3d-apis"] : [];
const browser = await chromium.launch({ executablePath, args: [...args, ...extra] });
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, acceptDownloads: true });
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) found.console.push(message.text());
  });
  page.on("pageerror", (error) => found.console.push(error.message));
  page.on("request", (request) => {
    if (!/^(data|blob|file):/.test(request.url())) found.requests.push(request.url());
  });
  page.on("dialog", (dialog) => dialog.accept());
  session = await page.context().newCDPSession(page);
  await session.send("Performance.enable");
  await page.goto(pathToFileURL(file).href);
  for (const [name, ...rest] of JSON.parse(list)) found.results.push(await actions[name](page, ...rest));
} finally {
  await browser.close();
}
process.stdout.write(JSON.stringify(found));
