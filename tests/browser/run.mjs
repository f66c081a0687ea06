// Runs one script in a real browser, headless and cut off from everything but this machine.
//
//     node run.mjs BROWSER SCRIPT.mjs DIRECTORY JSON
//
// The script's default export is called with `{ page, context, args, shot }`: Playwright's page and context, the parsed
// JSON, and `shot(name)`, which writes DIRECTORY/name.png. What it answers is printed as JSON. When it throws, the error,
// the page's address and its text go to standard error, and DIRECTORY/failure.png shows the page.

import { mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

// A page may start a process on a busy machine.
const PATIENCE_MS = 60_000;

const [browser, script, directory, args] = process.argv.slice(2);
mkdirSync(directory, { recursive: true });
const profile = resolve('profile');

const context = await chromium.launchPersistentContext(profile, {
  executablePath: browser,
  // The pages are our own, and the browser's sandbox wants rights that root in a container has not.
  chromiumSandbox: false,
  args: [
    '--disable-gpu',
    '--disable-quic',
    '--disable-sync',
    '--no-proxy-server',
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost',
  ],
});
context.setDefaultTimeout(PATIENCE_MS);
const page = context.pages()[0] ?? (await context.newPage());
const shot = (name) => page.screenshot({ path: `${directory}/${name}.png`, fullPage: true });

try {
  const { default: run } = await import(pathToFileURL(resolve(script)));
  const result = await run({ page, context, args: JSON.parse(args), shot });
  process.stdout.write(`${JSON.stringify(result ?? null)}\n`);
} catch (error) {
  console.error(error);
  console.error(`--- at ${page.url()}`);
  console.error(await page.innerText('body', { timeout: 1000 }).catch(() => ''));
  await shot('failure').catch(() => {});
  process.exitCode = 1;
} finally {
  await context.close();
}
