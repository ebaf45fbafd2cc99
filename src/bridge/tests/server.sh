# A small MCP server for tests: it writes a banner first, as some do, and answers in the order of the lines.
mode=${1-}
log() { printf '%s\n' "$1" >>"$TINY_LOG"; }
say() { printf '%s\n' "$1"; }
result() { say "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":$1}"; }
text() { result "{\"content\":[{\"type\":\"text\",\"text\":\"$1\"}]}"; }
failure() { say "{\"jsonrpc\":\"2.0\",\"id\":$id,\"error\":{\"code\":$1,\"message\":\"no\"}}"; }

log "start $$"
say 'Tiny server 1.0 is ready'
say '{"level":"info","msg":"not a message"}'
echo 'this goes to the log' >&2
if [ "$mode" = broken ]; then exit 3; fi
if [ "$mode" = deaf ]; then
    trap '' TERM
    sleep 600 &
    log "child $!"
fi
changed='{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'

while IFS= read -r line || { [ "$mode" = deaf ] && sleep 600; }; do
    id=${line#*\"id\":}
    id=${id%%[,\}]*}
    token=${line#*\"progressToken\":}
    token=${token%%[,\}]*}
    case $line in
    *'"method":"initialize"'*)
        if [ "$mode" = modern ]; then
            failure -32022
        else
            result '{"protocolVersion":"2025-11-25","x":1.50,"capabilities":{"tools":{}},"serverInfo":{"name":"tiny","version":"1"}}'
        fi
        ;;
    *'"method":"server/discover"'*)
        if [ "$mode" = modern ]; then
            result '{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}'
        else
            failure -32601
        fi
        ;;
    *'"method":"tools/list"'*)
        result '{"tools":[{"name":"pid","x":1.50},{"name":"slow"},{"name":"hidden"}]}'
        ;;
    *'"name":"pid"'*) text $$ ;;
    *'"name":"env"'*) text "$(env | sort | tr '\n' ';')" ;;
    *'"name":"slow"'*)
        slow=$id
        say "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":$token,\"progress\":1}}"
        ;;
    *'"name":"ask"'*)
        asking=$id
        say '{"jsonrpc":"2.0","id":"q","method":"sampling/createMessage","params":{}}'
        ;;
    *'"id":"q"'*)
        log "$line"
        id=$asking
        text asked
        ;;
    *'"name":"die"'*) exit 3 ;;
    *'notifications/release'*)
        id=$slow
        text released
        ;;
    *'notifications/change'*) say "$changed" ;;
    *'notifications/'*) log "$line" ;;
    *'"method":"none"'*) failure -32601 ;;
    *) result '{}' ;;
    esac
done
log "end $$"
