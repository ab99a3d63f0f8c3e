#!/bin/sh
# Drives a real window once from end to end: the window receives a file that the command line
# sends, under an X server without a screen, and is left again. Pictures go to target/window/.
#
# Usage: tests/window/drive.sh [debug|release]      (build first: cargo build --workspace)
# Needs: xvfb xdotool imagemagick libxcursor1 libxi6 libxkbcommon-x11-0 (Debian's names)
set -eu

cd "$(dirname "$0")/../.."
profile=${1:-debug}
bin="${CARGO_TARGET_DIR:-target}/$profile"
window="$PWD/$bin/peerconnect-gui"
line="$PWD/$bin/peerconnect"
case $bin in /*) window="$bin/peerconnect-gui" line="$bin/peerconnect" ;; esac
out="$PWD/target/window"
size=$((32 * 1024 * 1024 + 17))

for need in Xvfb xdotool import sha256sum "$window" "$line"; do
    command -v "$need" >/dev/null || { echo "missing: $need" >&2; exit 2; }
done

rm -rf "$out"
mkdir -p "$out"
work=$(mktemp -d)
pids=""
finish() {
    status=$?
    trap - EXIT
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    rm -rf "$work"
    [ "$status" -eq 0 ] || { echo "FAILED; see $out" >&2; tail -n 20 "$out"/*.log >&2 || true; }
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

fail() { echo "drive.sh: $*" >&2; exit 1; }

# until_true SECONDS WHAT COMMAND…: repeats a command until it succeeds.
until_true() {
    tries=$(($1 * 10)); what=$2; shift 2
    while ! "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || fail "waited too long for: $what"
        sleep 0.1
    done
}

# as WHO NAME COMMAND…: becomes a command of a person with a home, settings and a control socket
# of their own. Does not return: call it in the background or in parentheses.
as() {
    home="$work/$1" name=$2; shift 2
    mkdir -p "$home/config" "$home/downloads" "$home/run"
    chmod 700 "$home/run"
    exec env -u XDG_CONFIG_HOME -u XDG_DATA_HOME -u XDG_STATE_HOME -u WAYLAND_DISPLAY \
        HOME="$home" XDG_RUNTIME_DIR="$home/run" PEERCONNECT_CONFIG_DIR="$home/config" \
        PEERCONNECT_DOWNLOADS="$home/downloads" PEERCONNECT_PORT=0 PEERCONNECT_NAME="$name" "$@"
}

shot() { import -window root "$out/$1.png"; }
titled() { [ -n "$(xdotool search --onlyvisible --name "$1" 2>/dev/null)" ]; }
untitled() { ! titled "$1"; }

# Without a display there is one line that says what to do, and exit code 2.
code=0
(as nobody nobody env -u DISPLAY "$window") >"$out/no-display.log" 2>&1 || code=$?
[ "$code" -eq 2 ] || fail "without a display the exit code is $code instead of 2"
grep -q '^No display found. Use the command line: peerconnect send' "$out/no-display.log" ||
    fail "without a display the window does not say what to do"
[ "$(wc -l <"$out/no-display.log")" -eq 1 ] || fail "it says more than one line"

# The X server chooses a free number itself.
Xvfb -displayfd 3 -screen 0 1280x800x24 -nolisten tcp 3>"$work/display" 2>"$out/xvfb.log" &
pids="$pids $!"
until_true 20 "the X server" test -s "$work/display"
DISPLAY=":$(cat "$work/display")"
export DISPLAY

as receiver "Living-room PC" "$window" >"$out/window.log" 2>&1 &
receiver=$!
pids="$receiver $pids"
until_true 30 "the window" titled '^PeerConnect$'
sleep 1
shot 1-empty

# The command line asks the running window who it is.
link() { (as receiver "Living-room PC" "$line" id) | grep -o 'peerconnect:[^[:space:]"]*'; }
until_true 20 "our link" link
link=$(link | head -n 1)

head -c "$size" /dev/urandom >"$work/holiday & é 100%.bin"
as sender "Office Laptop" "$line" send --json --to "$link" "$work/holiday & é 100%.bin" \
    >"$out/sender.jsonl" 2>"$out/sender.log" &
sender=$!
pids="$sender $pids"

until_true 30 "the question" titled 'wants to send you files'
sleep 1
shot 2-question

# Escape and Enter must not answer; Ctrl+Shift+A accepts the first question.
id=$(xdotool search --onlyvisible --name 'wants to send you files' | head -n 1)
xdotool windowfocus --sync "$id" 2>/dev/null || xdotool windowfocus "$id"
xdotool key Escape Return
sleep 0.5
titled 'wants to send you files' || fail "Escape or Enter answered the question"
xdotool key ctrl+shift+a
until_true 10 "the answer" untitled 'wants to send you files'

code=0
tries=600
while kill -0 "$sender" 2>/dev/null; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || fail "the transfer takes too long"
    sleep 0.1
done
wait "$sender" || code=$?
[ "$code" -eq 0 ] || fail "the sender ended with $code"
grep -q '"t":"summary"' "$out/sender.jsonl" || fail "the sender gave no summary"
sleep 1
shot 3-arrived

sent=$(sha256sum <"$work/holiday & é 100%.bin")
arrived="$work/receiver/downloads/holiday & é 100%.bin"
[ -f "$arrived" ] || arrived=$(find "$work/receiver" -name 'holiday*.bin' | head -n 1)
[ -n "$arrived" ] || fail "the file is not there"
[ "$sent" = "$(sha256sum <"$arrived")" ] || fail "the file is not the same"
[ -z "$(find "$work/receiver" -name '*.pcpart')" ] || fail "a partial file was left behind"

# Leaving an idle window needs no question.
xdotool windowfocus "$id"
xdotool key ctrl+q
gone() { ! kill -0 "$receiver" 2>/dev/null; }
until_true 10 "the window to close" gone
code=0
wait "$receiver" || code=$?
[ "$code" -eq 0 ] || fail "the window ended with $code"

echo "OK: $size bytes arrived through a real window; pictures in $out"
