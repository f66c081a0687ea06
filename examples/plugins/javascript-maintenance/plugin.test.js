// Native tests: node --test

import assert from "node:assert/strict";
import { test } from "node:test";

import { answers, asked, request } from "./testing/host.mjs";
import { decode } from "./text.js";

const { lifecycle, routing } = await import("./plugin.js");

function route(target, now, settings) {
  request(target);
  answers["config.document"] = JSON.stringify({ message: "Back <soon>", open: ["/__api__/"], ...settings });
  answers["clock.unixMillis"] = BigInt(Date.parse(now));
  return routing.route();
}

const night = { from: "2027-01-15T20:00:00Z", until: "2027-01-15T22:00:00Z" };

test("the page stands from one time to another", () => {
  assert.equal(route("/x", "2027-01-15T19:59:59Z", night).tag, "next");
  assert.equal(route("/x", "2027-01-15T22:00:00Z", night).tag, "next");
  const { tag, val } = route("/x", "2027-01-15T21:59:30Z", night);
  assert.equal(tag, "respond");
  assert.equal(decode(val.headers.find(([name]) => name === "retry-after")[1]), "30");
  assert.match(decode(val.body), /Back &lt;soon&gt;/);
});

test("some paths stay open", () => {
  assert.equal(route("/__api__/v1/user", "2027-01-15T21:00:00Z", night).tag, "next");
});

test("without a time the clock is not asked", () => {
  assert.equal(route("/x", "2027-01-15T21:00:00Z", {}).tag, "next");
  assert.deepEqual(asked, ["config.document"]);
});

test("times are checked", () => {
  request("/");
  answers["config.document"] = JSON.stringify({ from: night.until, until: night.from });
  assert.throws(() => lifecycle.check(), (failure) => failure.val.includes("not after"));
});
