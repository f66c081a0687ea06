//! The contract of `wit/`, version 0.1, as Rust types. A later, incompatible version gets a module of its own beside this one.
#![allow(missing_docs, clippy::all, unreachable_pub)]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "gate",
    imports: {
        "lectern:plugin/directory.check-password": async,
        "lectern:plugin/accounts.sign-in": async | trappable,
        "lectern:plugin/tokens.verify": async | trappable,
        "lectern:plugin/key-value.get": async | trappable,
        "lectern:plugin/key-value.set": async | trappable,
        "lectern:plugin/key-value.delete": async | trappable,
        "lectern:plugin/key-value.swap": async | trappable,
        "lectern:plugin/outbound.fetch": async | trappable,
        "lectern:plugin/random.bytes": trappable,
    },
    exports: { default: async },
});

/// The version of `lectern:plugin` that this host speaks.
pub(crate) const VERSION: &str = "0.1.1";

/// The interfaces of that version that a plugin may import.
pub(crate) const INTERFACES: &[&str] = &[
    "types",
    "request",
    "connection",
    "visitor",
    "target",
    "logging",
    "config",
    "clock",
    "random",
    "content",
    "directory",
    "accounts",
    "tokens",
    "secrets",
    "secret-values",
    "key-value",
    "limiter",
    "outbound",
];

/// The interfaces of WASI 0.2 that a plugin may import: what Rust's standard library links in whether it is used or not, the
/// clocks and randomness. All are empty-handed: no environment, no arguments, no input, no files, no sockets.
pub(crate) const WASI_INTERFACES: &[&str] = &[
    "cli/environment",
    "cli/exit",
    "cli/stdin",
    "cli/stdout",
    "cli/stderr",
    "cli/terminal-input",
    "cli/terminal-output",
    "cli/terminal-stdin",
    "cli/terminal-stdout",
    "cli/terminal-stderr",
    "clocks/monotonic-clock",
    "clocks/wall-clock",
    "io/error",
    "io/poll",
    "io/streams",
    "random/random",
    "random/insecure",
    "random/insecure-seed",
];
