// Lets Node.js load `lectern:plugin/…`: modules with the functions that the contract gives each interface, answered by host.mjs.

import { readFile } from "node:fs/promises";

const contract = await readFile(new URL("../wit/deps/lectern/imports.wit", import.meta.url), "utf8");
const camel = (name) => name.replace(/-([a-z0-9])/g, (_, letter) => letter.toUpperCase());

function functions(wanted) {
  let inside = "";
  const found = [];
  for (const line of contract.split("\n")) {
    inside = line.match(/^interface ([a-z-]+) \{/)?.[1] ?? inside;
    const name = line.match(/^ {4}([a-z0-9-]+): func\(/)?.[1];
    if (name && inside === wanted) found.push(camel(name));
  }
  return found;
}

export async function resolve(specifier, context, next) {
  if (!specifier.startsWith("lectern:plugin/")) return next(specifier, context);
  return { url: specifier, shortCircuit: true };
}

export async function load(url, context, next) {
  const found = url.match(/^lectern:plugin\/([a-z-]+)@/);
  if (!found) return next(url, context);
  const interfaceName = found[1];
  const lines = functions(interfaceName).map((name, at) => {
    const full = JSON.stringify(`${camel(interfaceName)}.${name}`);
    return `const f${at} = (...given) => globalThis.lecternAnswer(${full}, given); export { f${at} as ${name} };`;
  });
  return { format: "module", source: lines.join("\n"), shortCircuit: true };
}
