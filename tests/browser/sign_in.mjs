// Opens `args.url` and signs in where the page asks for it.
async function signIn({ page, args }) {
  await page.goto(args.url);
  const name = page.locator('input[name=username]');
  if (await name.count()) {
    await name.fill(args.name);
    await page.locator('input[name=password]').fill(args.password);
    await page.locator('button[type=submit], input[type=submit]').first().click();
    await page.waitForURL((url) => !url.pathname.startsWith('/__plugin__/'));
  }
}
