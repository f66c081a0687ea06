// Native tests: node --test

import assert from "node:assert/strict";
import { test } from "node:test";

import { answers, request } from "./testing/host.mjs";
import { decode } from "./text.js";

const { auth } = await import("./plugin.js");

function authenticate(token, secret = "not a real token") {
  request("/", { headers: token === undefined ? {} : { "X-Machine-Token": token } });
  Object.assign(answers, {
    "config.document": '{"user": "robot"}',
    "secrets.matches": (name, sent) => (secret === null ? null : decode(sent) === secret),
    "directory.findUser": (name) => (name === "robot" ? "the robot" : null),
  });
  return auth.authenticate();
}

test("the token decides", () => {
  assert.deepEqual(authenticate("not a real token"), { tag: "authenticated", val: "the robot" });
  assert.deepEqual(authenticate("guessed"), { tag: "rejected", val: "a wrong token" });
  assert.deepEqual(authenticate(), { tag: "abstain" });
});

test("a secret that is not set is told", () => {
  assert.throws(() => authenticate("x", null), (failure) => failure.val.includes("secret token"));
});
