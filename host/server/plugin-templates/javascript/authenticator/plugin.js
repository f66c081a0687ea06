// Lets one machine in: it sends a token that the host keeps as a secret.

import { document } from "lectern:plugin/config@{{wit}}";
import { findUser } from "lectern:plugin/directory@{{wit}}";
import { header } from "lectern:plugin/request@{{wit}}";
import { matches } from "lectern:plugin/secrets@{{wit}}";

/** The secret's name. `plugin.toml` asks for it. */
const TOKEN = "token";

export const lifecycle = {
  /** Called once when a configuration is loaded: what the schema cannot say is refused here. */
  check() {
    JSON.parse(document());
  },
};

export const auth = {
  authenticate() {
    const settings = JSON.parse(document());
    const [token] = header(settings.header ?? "x-machine-token");
    // No token: another plugin may know this visitor.
    if (token === undefined) return { tag: "abstain" };
    // The host compares; the plugin never sees the secret.
    const right = matches(TOKEN, token);
    // What is absent is `null` in a component.
    if (right === null) throw { tag: "misconfigured", val: `the secret ${TOKEN} is not set` };
    if (!right) return { tag: "rejected", val: "a wrong token" };
    const identity = findUser(settings.user);
    if (identity === null) {
      return { tag: "rejected", val: `nobody is called ${settings.user}, or the account is locked` };
    }
    return { tag: "authenticated", val: identity };
  },
};
