// Gives content items short addresses: the first segment of the path names one.

import { document } from "lectern:plugin/config@{{wit}}";
import { pathPrefix, query } from "lectern:plugin/request@{{wit}}";
import { encode } from "./text.js";

/** Names and GUIDs of content items. They have passed `config.schema.json`. */
const names = () => new Map(Object.entries(JSON.parse(document()).names ?? {}));

export const lifecycle = {
  /** Called once when a configuration is loaded: what the schema cannot say is refused here. */
  check() {
    const named = new Map();
    for (const [name, guid] of names()) {
      const other = named.get(guid);
      if (other !== undefined) {
        throw { tag: "misconfigured", val: `names: ${other} and ${name} are the same content item` };
      }
      named.set(guid, name);
    }
  },
};

export const routing = {
  route() {
    // The narrowest question first: requests that it answers need not be asked about again.
    const first = pathPrefix(1);
    const guid = names().get(first.slice(1));
    if (guid === undefined) return { tag: "next" };
    // `/sales` has one segment, `/sales/` two, of which the second is empty.
    if (pathPrefix(2) === first) {
      const asked = query();
      // What is absent is `null` in a component.
      const location = asked === null ? `${first}/` : `${first}/?${asked}`;
      return { tag: "respond", val: { status: 308, headers: [["location", encode(location)]], body: new Uint8Array() } };
    }
    return {
      tag: "forward",
      val: {
        target: `content:${guid}`,
        rewrite: { tag: "strip-segments", val: 1 },
        setHeaders: [],
        removeHeaders: [],
        stickyKey: null,
        hints: [],
      },
    };
  },
};
