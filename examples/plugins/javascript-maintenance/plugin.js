// Answers with a page while the operator works on something, from one time to another.

import { unixMillis } from "lectern:plugin/clock@0.1.1";
import { document } from "lectern:plugin/config@0.1.1";
import { pathHasPrefix } from "lectern:plugin/request@0.1.1";
import { encode } from "./text.js";

const settings = () => JSON.parse(document());
const time = (text) => (text === undefined ? undefined : Date.parse(text));
const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escape = (text) => text.replace(/[&<>"]/g, (character) => escapes[character]);

export const lifecycle = {
  check() {
    const { from, until } = settings();
    for (const [name, text] of Object.entries({ from, until })) {
      if (text !== undefined && Number.isNaN(time(text))) throw { tag: "misconfigured", val: `${name}: not a time` };
    }
    if (time(until) <= time(from)) throw { tag: "misconfigured", val: "until: is not after from" };
  },
};

export const routing = {
  route() {
    const { from, until, message, open } = settings();
    // No time at all: it is not planned. The clock is asked only when it matters, because such a decision is not reused.
    if (from === undefined && until === undefined) return { tag: "next" };
    const now = Number(unixMillis());
    if (now < time(from) || now >= time(until)) return { tag: "next" };
    if (open.some((prefix) => pathHasPrefix(prefix))) return { tag: "next" };
    const headers = [
      ["content-type", encode("text/html; charset=utf-8")],
      ["cache-control", encode("no-store")],
    ];
    if (until !== undefined) headers.push(["retry-after", encode(String(Math.ceil((time(until) - now) / 1000)))]);
    const body = encode(`<!doctype html><title>Maintenance</title><h1>${escape(message)}</h1>\n`);
    return { tag: "respond", val: { status: 503, headers, body } };
  },
};
