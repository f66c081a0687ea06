// Stands in for the host in native tests. Import it before the plugin:
//
//   import { answers, request } from "./testing/host.mjs";
//   const { routing } = await import("./plugin.js");

import { register } from "node:module";

register("./hooks.mjs", import.meta.url);

/**
 * What the host answers, by interface and function: `answers["config.document"] = "{}"`, or a function of the arguments. What is
 * absent is `null`, as in a component.
 */
export const answers = {};
/** The functions that were called, in order. */
export const asked = [];

globalThis.lecternAnswer = (name, given) => {
  asked.push(name);
  if (!(name in answers)) throw new Error(`the test does not say what ${name} answers`);
  const known = answers[name];
  return typeof known === "function" ? known(...given) : known;
};

/** Begins a test: a request, and nothing else that the host knows. */
export function request(target, { method = "GET", headers = {} } = {}) {
  for (const name of Object.keys(answers)) delete answers[name];
  asked.length = 0;
  const [path, query] = target.split(/\?(.*)/s);
  const fields = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), new TextEncoder().encode(value)]);
  Object.assign(answers, {
    "request.method": method,
    "request.path": path,
    "request.pathPrefix": (segments) => path.split("/").slice(0, segments + 1).join("/"),
    "request.pathHasPrefix": (prefix) => path.startsWith(prefix),
    "request.query": query ?? null,
    "request.queryParam": (name) => new URLSearchParams(query).get(name),
    "request.header": (name) => fields.filter(([field]) => field === name.toLowerCase()).map(([, value]) => value),
    "request.headers": fields,
    "request.clientIp": "192.0.2.7",
    "request.host": "lectern.example",
    "logging.log": undefined,
  });
}
