# Every task by name. `./just` runs the same on a machine that has no `just` yet.

# Both outlive the checkout, so that a fresh clone starts warm.
cache := env_var_or_default("XDG_CACHE_HOME", env_var("HOME") / ".cache") / "lectern"
export LECTERN_TOOLS := env_var_or_default("LECTERN_TOOLS", cache / "tools")
export LECTERN_UV := LECTERN_TOOLS / "bin" / "uv"
export CARGO_TARGET_DIR := env_var_or_default("CARGO_TARGET_DIR", cache / "target")
export PATH := env_var("PATH") + ":" + env_var("HOME") / ".cargo/bin"

# Show this list.
default:
    @just --justfile "{{ justfile() }}" --list --unsorted

# Build, start, publish two examples, show what to try. `--check`: the same, then stop; exits 0 or 1.
demo *args:
    @exec scripts/demo {{ args }}

# All that CI runs: formatting, lints, unit, integration and end-to-end tests. Installs what they need.
test: (setup "test") fmt lint
    cargo test --workspace --locked --no-fail-fast

# Install what a task needs and this machine lacks: `build`, `run`, `test` or `bench`.
setup for="run":
    @scripts/setup {{ for }}

# Build the release binary, with the plugins inside.
build: (setup "build")
    cargo build --release --locked -p lectern-server --bin lectern

# Check formatting; `just fmt fix` writes it.
fmt fix="":
    cargo fmt --all {{ if fix == "fix" { "" } else { "-- --check" } }}

# Lint the whole workspace; warnings are errors.
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Unit and integration tests of the rooms.
unit:
    cargo test --workspace --exclude lectern-tests --locked

# The whole workspace is selected, so that cargo builds every dependency once, with one set of features; the command
# line's own test makes it build the server.
# One file of end-to-end tests: `just e2e deploy_python`.
e2e file: (setup "test")
    cargo test --workspace --locked --no-run --test cli --test {{ file }}
    cargo test --workspace --locked --test {{ file }}

# Measure: `just bench proxy` (against nginx), `swaps` (of plugins), `ramp` (scaling), `outlive` (kill and upgrade), `starts` (stopped apps).
bench what="proxy" *args: (setup "bench") build
    cargo build --release --locked -p lectern-tests --bin upstream
    @/usr/bin/python3 tests/bench/{{ what }}.py {{ args }}

# Run the server built last, in release if there is one: `just serve --listen 127.0.0.1:4000`.
serve *args: build
    "$CARGO_TARGET_DIR/release/lectern" serve {{ args }}

# What this host gives content, what it lacks, and what to do about it.
doctor: build
    "$CARGO_TARGET_DIR/release/lectern" doctor

# Check a configuration: all its mistakes at once.
check *args: build
    "$CARGO_TARGET_DIR/release/lectern" check {{ args }}

# Check dependencies against deny.toml (needs cargo-deny).
deny:
    cargo deny --all-features check
