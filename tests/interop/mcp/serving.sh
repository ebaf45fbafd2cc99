# What the parts of `run` have in common: the packages, the upstreams, and the gate in front of them.
#
# Never here: an expectation of a client.

# A node that the newest packages run on: the machine's, or the npm registry's for this machine.
with_node() {
    node=$(command -v node)
    if [[ $("$node" -p 'process.versions.node.split(".")[0] >= 22') == true ]]; then
        return
    fi
    local machine
    case $(uname -m) in
        x86_64) machine=x64 ;;
        aarch64) machine=arm64 ;;
        *)
            echo "the npm registry has no node for $(uname -m): install one of version 22 or newer" >&2
            exit 1
            ;;
    esac
    node_with "node-linux-$machine@22.23.3"
    node=$node_modules/node-linux-$machine/bin/node
}

# The scripts lie beside their packages, since modules are looked for there.
with_packages() {
    with_node
    node_with @modelcontextprotocol/inspector@2.12.0
    inspector=$node_modules/@modelcontextprotocol/inspector/clients/cli/build/index.js
    node_with @modelcontextprotocol/conformance@0.2.0-alpha.12
    suite=$node_modules/@modelcontextprotocol/conformance/dist/index.js
    node_with @modelcontextprotocol/server-everything@2026.8.31
    everything=$node_modules/@modelcontextprotocol/server-everything/dist/index.js
    node_with @modelcontextprotocol/sdk@1.32.2 @modelcontextprotocol/client@2.4.0 \
        @modelcontextprotocol/server@2.4.0 @modelcontextprotocol/node@2.1.2
    python_with mcp==1.30.0
    python_one=$python
    python_with mcp==2.3.0
    python_two=$python
    cp "$here"/*.mjs "$here/targets.json" "$work"
    ln -s "$node_modules" "$work/node_modules"
}

free_port() {
    python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# until_open PORT: waits until somebody listens there.
until_open() {
    local tries
    for ((tries = 0; tries < 300; tries++)); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
            return
        fi
        sleep 0.1
    done
    echo "nothing listens at port $1" >&2
    exit 1
}

# The reference server over two of its transports (the third is the gate's to start), and the server of both eras.
# They must be told their ports.
start_upstreams() {
    http_port=$(free_port)
    PORT=$http_port background "$node" "$everything" streamableHttp >"$work/everything.log" 2>&1
    sse_port=$(free_port)
    PORT=$sse_port background "$node" "$everything" sse >"$work/everything-sse.log" 2>&1
    suite_port=$(free_port)
    PORT=$suite_port background "$node" "$work/upstream.mjs" >"$work/suite.log" 2>&1
    until_open "$http_port"
    until_open "$sse_port"
    until_open "$suite_port"
}

# profile NAME TAG TOOLS [LINE]: a profile made of everything.toml. A tool that is in no file is closed.
profile() {
    sed -e "s|NAME|$1|" -e "s|TAG|$2|" -e "s|^SSE\$|${4:-}|" -e "/^TOOLS\$/{r $here/$3" -e "d}" \
        "$here/everything.toml" >"$work/$1.toml"
}

# served NAME UPSTREAM: a listener of its own for a profile.
served() {
    cat <<TOML
[[profile]]
$3
upstream = $2
[[listener]]
listen = "127.0.0.1:0"
profiles = ["$1"]
TOML
}

start_gates() {
    local command
    profile everything ev everything-tools.toml
    profile everything-sse evs everything-tools.toml 'sse = "/sse"'
    profile everything-stdio evo everything-tools.toml
    profile everything-shared eva everything-tools.toml
    profile suite st suite-tools.toml
    {
        echo 'data_dir = "data"'
        echo '[admin]'
        echo 'listen = "127.0.0.1:0"'
        served everything "\"http://127.0.0.1:$http_port\"" 'file = "everything.toml"'
        served everything-sse "\"http://127.0.0.1:$sse_port\"" 'file = "everything-sse.toml"'
        command="command = [\"$node\", \"$everything\", \"stdio\"]"
        served everything-stdio "{ $command, process = \"session\" }" 'file = "everything-stdio.toml"'
        served everything-shared "{ $command, process = \"profile\" }" 'file = "everything-shared.toml"'
        served suite "\"http://127.0.0.1:$suite_port\"" 'file = "suite.toml"'
        served shingleai '"sandbox"' 'name = "shingleai"'
        served socialcrm '"sandbox"' 'name = "socialcrm"'
    } >"$work/keyward.toml"
    start serve --config "$work/keyward.toml"
    export KEYWARD_ADMIN_KEY_FILE=$work/admin.key
}

surface() {
    "$node" -p "JSON.parse(require('fs').readFileSync(process.env.KEYWARD_ANNOUNCED)).surfaces['$1']"
}

# run_of TARGET PROFILE PATH TRANSPORT MODE ERA PLAN: what a client is told of one of its runs.
run_of() {
    printf '{"name":"%s","profile":"%s","url":"%s%s","transport":"%s","mode":"%s","era":"%s","plan":"%s",' \
        "$1" "$2" "$(surface "$2")" "$3" "$4" "$5" "$6" "$7"
    printf '"rate":{"limit":10,"window_s":10}}'
}

# runs one|two|inspector: the runs of the first or the second generation of a client, or of the inspector, which has to
# be started anew for each thing it does. Who finds out the era by itself must find the modern one where there is one: a
# gate that dropped a header would make it fall back without a word.
runs() {
    local legacy=(
        "everything everything /mcp http legacy legacy all"
        "everything everything-sse /sse sse legacy legacy all"
        "everything everything-stdio /mcp http legacy legacy all"
        "everything everything-shared /mcp http legacy legacy all"
        "suite suite /mcp http legacy legacy all"
        "socialcrm socialcrm /api/mcp-app http legacy legacy enterprise"
        "shingleai shingleai /mcp http legacy legacy enterprise"
        "shingleai shingleai /sse sse legacy legacy enterprise"
    )
    local modern=(
        "suite suite /mcp http auto modern all"
        "shingleai shingleai /mcp http modern modern enterprise"
    )
    local all
    case $1 in
        one) all=("${legacy[@]}") ;;
        two)
            all=(
                "${legacy[@]}" "${modern[@]}"
                "everything everything /mcp http auto legacy all"
                "everything everything-stdio /mcp http auto legacy all"
                "suite suite /mcp http modern modern all"
                "shingleai shingleai /mcp http auto modern enterprise"
                "socialcrm socialcrm /api/mcp-app http auto modern enterprise"
            )
            ;;
        inspector) all=("${legacy[@]:0:3}" "${legacy[@]:5:1}" "${modern[@]}") ;;
    esac
    local run comma='['
    for run in "${all[@]}"; do
        if [[ -z ${ONLY:-} || $run =~ $ONLY ]]; then
            printf '%s' "$comma"
            # shellcheck disable=SC2086 # the words of a run
            run_of $run
            comma=,
        fi
    done
    echo ']'
}

# What the suite is run against, in which revisions, and how many checks hold there without the gate.
suite_targets() {
    printf '[{"name":"suite","profile":"suite","upstream":"http://127.0.0.1:%s","surface":"%s",' \
        "$suite_port" "$(surface suite)"
    printf '"revisions":["2025-11-25","2026-07-28"],"least":80},'
    printf '{"name":"server-everything","profile":"everything","upstream":"http://127.0.0.1:%s","surface":"%s",' \
        "$http_port" "$(surface everything)"
    printf '"revisions":["2025-11-25"],"least":20}]'
}
