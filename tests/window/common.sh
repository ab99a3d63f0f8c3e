# What the runs of real windows share. Sourced, after `out` (where pictures and logs go) is set.
# Every person has a home, settings and a control socket of their own.

for need in Xvfb xdotool import convert sha256sum cargo; do
    command -v "$need" >/dev/null || { echo "$0: missing: $need" >&2; exit 2; }
done
# There are no examples; naming them has the same features of the dependencies chosen as for
# tests. Otherwise the window and most of what is below it would be built a second time.
cargo build --workspace --bins --examples
bin=$(realpath "${CARGO_TARGET_DIR:-target}/debug")
window="$bin/peerconnect-gui"
line="$bin/peerconnect"

rm -rf "$out"
mkdir -p "$out"
work=$(mktemp -d)
pids=()
servers=()
# What has to be undone when it ends, however it does: a function's name.
at_end=true
finish() {
    local status=$? pid log display
    trap - EXIT
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    if [ "$status" -ne 0 ]; then
        for display in "$work"/display-*; do
            [ ! -s "$display" ] || DISPLAY=":$(cat "$display")" \
                import -window root "$out/failed-${display##*-}.png" || true
        done
        for log in "$out"/*.log "$out"/*.jsonl; do
            [ ! -s "$log" ] || { echo "--- $log" >&2; tail -n 20 "$log" >&2; }
        done
        echo "$0: FAILED: ${why:-line $line_failed}; pictures and logs are in $out" >&2
    fi
    for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    "$at_end"
    rm -rf "$work"
    exit "$status"
}
why=""
line_failed="?"
trap 'line_failed=$LINENO' ERR
trap finish EXIT
trap 'exit 130' INT TERM

fail() { why=$*; exit 1; }

# until_true SECONDS WHAT COMMAND…: repeats a command until it succeeds.
until_true() {
    local tries=$(($1 * 10)) what=$2
    shift 2
    while ! "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || fail "waited too long for: $what"
        sleep 0.1
    done
}

# as WHO NAME COMMAND…: becomes a command of a person, in what `inside` says. Does not return:
# call it in the background or in parentheses.
inside=()
as() {
    local home="$work/$1" name=$2
    shift 2
    mkdir -p "$home/config" "$home/Downloads" "$home/run"
    chmod 700 "$home/run"
    exec "${inside[@]}" env -u XDG_CONFIG_HOME -u XDG_DATA_HOME -u XDG_STATE_HOME \
        -u WAYLAND_DISPLAY HOME="$home" XDG_RUNTIME_DIR="$home/run" \
        PEERCONNECT_CONFIG_DIR="$home/config" PEERCONNECT_DOWNLOADS="$home/Downloads" \
        PEERCONNECT_PORT=0 PEERCONNECT_NAME="$name" "$@"
}

# screen NAME: starts an X server without a screen, which chooses a free number, and uses it.
screen() {
    Xvfb -displayfd 3 -screen 0 1280x800x24 -nolisten tcp 3>"$work/display-$1" \
        2>"$out/xvfb-$1.log" &
    servers+=("$!")
    until_true 20 "the X server" test -s "$work/display-$1"
    DISPLAY=":$(cat "$work/display-$1")"
    export DISPLAY
}

shot() { import -window "${2:-$id}" -depth 8 "$out/$1.png"; }
titled() { [ -n "$(xdotool search --onlyvisible --name "$1" 2>/dev/null)" ]; }
untitled() { ! titled "$1"; }
gone() { ! kill -0 "$1" 2>/dev/null; }
field() { grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; }

# ended SECONDS WHAT PID: waits for a process and wants it to have ended well.
ended() {
    local code=0
    until_true "$1" "$2 to end" gone "$3"
    wait "$3" || code=$?
    [ "$code" -eq 0 ] || fail "$2 ended with $code"
}

same() {
    [ -f "$2" ] || fail "not there: $2"
    [ "$(sha256sum <"$1")" = "$(sha256sum <"$2")" ] || fail "not the same: $2"
}

# opened: waits for the window on this screen and leaves its number in `id`.
opened() {
    until_true 30 "the window" titled '^PeerConnect$'
    id=$(xdotool search --onlyvisible --name '^PeerConnect$' | head -n 1)
    # Without a window manager nobody gives it the keyboard.
    xdotool windowfocus "$id"
}

# click X Y: in the window.
click() {
    xdotool mousemove --window "$id" "$1" "$2"
    sleep 0.2
    xdotool click 1
    sleep 0.2
}
