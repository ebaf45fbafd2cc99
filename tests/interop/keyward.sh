# What the scripts `run` beside this share: the program, its start and its stop, and what registries bring.
#
# A script says `source "$(dirname "$0")/../keyward.sh"` and then starts, checks and ends. Whatever it started is
# stopped when it ends, however it ends. Nothing is written outside the build's folder: packages stay in
# `target/interop/packages`, and what one run makes is removed with it.
#
# Never here: an expectation of a client.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
packages=$target/interop/packages
mkdir -p "$packages"
work=$(mktemp -d "$target/interop/${here##*/}.XXXXXX")
pids=()
# The Python clients find daemon.py, and leave nothing beside it.
export PYTHONPATH=$root/tests/interop PYTHONDONTWRITEBYTECODE=1

finish() {
    local code=$?
    local pid
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    for pid in "${pids[@]}"; do
        wait "$pid" 2>/dev/null || true
    done
    if [[ $code -ne 0 && -s $work/log ]]; then
        echo "the daemon said last:" >&2
        tail -n 20 "$work/log" >&2
    fi
    rm -rf "$work"
    exit "$code"
}
trap finish EXIT

# The program as the tests have it, so that nothing is built twice: a test's build brings the binary along, and a
# plain build would choose other features of the same packages. KEYWARD names another one.
keyward=${KEYWARD:-$target/debug/keyward}
if [[ -z ${KEYWARD:-} ]]; then
    cargo test --quiet --locked --manifest-path "$root/Cargo.toml" --no-run --test tidy
fi

# not_checked WHY: what the script is about cannot be had here. Only a registry that is out of reach is a reason.
not_checked() {
    echo "NOT CHECKED: $1"
    exit 0
}

# background COMMAND…: starts a process that is stopped at the end; `$!` is its id.
background() {
    "$@" &
    pids+=($!)
}

# start COMMAND…: starts the program and waits until it says where it serves. What it says lies in the file that
# KEYWARD_ANNOUNCED names, its process id in KEYWARD_PID.
start() {
    mkfifo "$work/announcing"
    "$keyward" "$@" --json --log-level warn >"$work/announcing" 2>"$work/log" &
    pids+=($!)
    export KEYWARD_PID=$! KEYWARD_ANNOUNCED=$work/announced.json
    if ! timeout 60 head -n 1 "$work/announcing" >"$KEYWARD_ANNOUNCED" || ! [[ -s $KEYWARD_ANNOUNCED ]]; then
        echo "keyward $1 did not start" >&2
        exit 1
    fi
}

# start_demo: the demo on free ports.
start_demo() {
    start demo --data "$work/demo" --port 0
}

# start_gate UPSTREAM: the daemon in front of an upstream, with the profile `gate.toml` and the admin key in the file
# that KEYWARD_ADMIN_KEY_FILE names.
start_gate() {
    cp "$root/tests/interop/gate.toml" "$work/gate.toml"
    cat >"$work/keyward.toml" <<TOML
data_dir = "data"
[admin]
listen = "127.0.0.1:0"
[[profile]]
file = "gate.toml"
upstream = "$1"
[[listener]]
listen = "127.0.0.1:0"
profiles = ["gate"]
TOML
    start serve --config "$work/keyward.toml"
    export KEYWARD_ADMIN_KEY_FILE=$work/admin.key
    [[ -f $KEYWARD_ADMIN_KEY_FILE ]] || KEYWARD_ADMIN_KEY_FILE=$work/data/admin.key
}

# python_with PACKAGE==VERSION…: `$python` has these packages.
python_with() {
    local place log
    place=$packages/python-$(echo "$*" | tr -c 'a-zA-Z0-9.\n' '-')
    python=$place/bin/python
    if ! [[ -f $place/whole ]]; then
        rm -rf "$place"
        python3 -m venv "$place"
        log=$work/pip.log
        if ! "$python" -m pip install --quiet --disable-pip-version-check "$@" >"$log" 2>&1; then
            if grep -q -i -e 'connection' -e 'timed out' -e 'name resolution' -e 'could not fetch' "$log"; then
                not_checked "the Python package registry cannot be reached"
            fi
            cat "$log" >&2
            exit 1
        fi
        touch "$place/whole"
    fi
}

# node_with PACKAGE@VERSION…: `$node_modules` holds these packages.
node_with() {
    local place log
    place=$packages/node-$(echo "$*" | tr -c 'a-zA-Z0-9.\n' '-')
    node_modules=$place/node_modules
    if ! [[ -f $place/whole ]]; then
        rm -rf "$place"
        mkdir -p "$place"
        log=$work/npm.log
        if ! npm install --prefix "$place" --no-audit --no-fund --no-package-lock "$@" >"$log" 2>&1; then
            if grep -q -E 'ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EAI_AGAIN|ENETUNREACH' "$log"; then
                not_checked "the npm registry cannot be reached"
            fi
            cat "$log" >&2
            exit 1
        fi
        touch "$place/whole"
    fi
}

# with_nginx: `$nginx` is Debian's; one that is not installed is unpacked, not installed, where its libraries are
# there, and else installed by whoever may.
with_nginx() {
    nginx=$(PATH=$PATH:/usr/sbin command -v nginx || true)
    if [[ -n $nginx ]]; then
        return
    fi
    local place=$packages/nginx
    nginx=$place/usr/sbin/nginx
    if "$nginx" -v >/dev/null 2>&1; then
        return
    fi
    if [[ $(id -u) -eq 0 ]]; then
        apt-get update >"$work/apt.log" 2>&1 || true # old lists may do
    fi
    mkdir -p "$place"
    if (cd "$work" && apt-get download nginx >>"$work/apt.log" 2>&1); then
        dpkg -x "$work"/nginx_*.deb "$place"
        if "$nginx" -v >/dev/null 2>&1; then
            return
        fi
        # In runlevel 1 the package starts no service: only the program is wanted.
        if [[ $(id -u) -eq 0 ]] && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
            apt-get install -y --no-install-recommends nginx-light >>"$work/apt.log" 2>&1; then
            nginx=/usr/sbin/nginx
            return
        fi
        cat "$work/apt.log" >&2
        exit 1
    fi
    not_checked "nginx is not installed, and apt cannot be reached"
}
