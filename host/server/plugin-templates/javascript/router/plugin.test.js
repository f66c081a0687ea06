// Native tests: node --test

import assert from "node:assert/strict";
import { test } from "node:test";

import { answers, asked, request } from "./testing/host.mjs";
import { decode, encode } from "./text.js";

const { lifecycle, routing } = await import("./plugin.js");

const SALES = "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162";

function route(target) {
  request(target);
  answers["config.document"] = JSON.stringify({ names: { sales: SALES } });
  return routing.route();
}

test("names lead to content", () => {
  const { tag, val } = route("/sales/2026");
  assert.equal(tag, "forward");
  assert.equal(val.target, `content:${SALES}`);
});

test("a name alone gets its slash", () => {
  const { val } = route("/sales?page=2");
  assert.deepEqual([val.status, decode(val.headers[0][1])], [308, "/sales/?page=2"]);
});

test("other requests cost one question", () => {
  assert.equal(route("/salesforce/").tag, "next");
  assert.deepEqual(asked, ["request.pathPrefix", "config.document"]);
});

test("one content item has one name", () => {
  request("/");
  answers["config.document"] = JSON.stringify({ names: { a: "1", b: "1" } });
  assert.throws(() => lifecycle.check(), (failure) => failure.tag === "misconfigured" && failure.val.includes("a and b"));
});

test("texts are UTF-8", () => {
  for (const text of ["", "a", "ä", "€", "😀"]) {
    assert.deepEqual(encode(text), new TextEncoder().encode(text));
    assert.equal(decode(encode(text)), text);
  }
  assert.equal(decode(new Uint8Array([0x61, 0xff])), "a\ufffd");
});
