#!/usr/bin/env bash
# Drives a real window from end to end, under an X server without a screen:
#  1. the window receives a file that the command line sends;
#  2. the window sends a file, with typed link and path, to a command line that receives;
#  3. the command line sees, pauses and continues what runs in the window;
#  4. the window on a node that somebody else runs; leaving; no display at all;
#  5. what it shows of the past and can set; closed while files come, they come all the same;
#  6. started without a window, it opens one for a question.
# How long it takes to be there, and what it costs while nothing happens, have limits.
# Builds what it needs. Pictures and logs go to target/window/one/.
#
# Needs: xvfb xdotool imagemagick libxcursor1 libxi6 libxkbcommon-x11-0 (Debian's names) and a
# software OpenGL (libgl1-mesa-dri).
set -euo pipefail

cd "$(dirname "$0")/../.."
root=$PWD
out="$root/target/window/one"
. tests/window/common.sh

at_window() { as receiver "Living-room PC" "$@"; }
at_line() { as sender "Office Laptop" "$@"; }

# open_window: opens it and leaves its process in `receiver`, its number in `id`.
open_window() {
    at_window "$window" >>"$out/window.log" 2>&1 &
    receiver=$!
    pids+=("$receiver")
    opened
}

accept_question() {
    until_true 30 "the question" titled 'wants to send you files'
    # It takes no answer in its first moments, against keys meant for something else.
    sleep 1
    [ -z "${1:-}" ] || shot "$1"
    # Escape and Enter must not answer; Ctrl+Shift+A accepts the first question.
    xdotool key Escape Return
    sleep 0.5
    titled 'wants to send you files' || fail "Escape or Enter answered the question"
    xdotool key ctrl+shift+a
    until_true 10 "the answer" untitled 'wants to send you files'
}

# Without a display there is one line that says what to do, and exit code 2.
code=0
(as nobody nobody env -u DISPLAY "$window") >"$out/no-display.log" 2>&1 || code=$?
[ "$code" -eq 2 ] || fail "without a display the exit code is $code instead of 2"
grep -q '^No display found. Use the command line: peerconnect send' "$out/no-display.log" ||
    fail "without a display the window does not say what to do"
[ "$(wc -l <"$out/no-display.log")" -eq 1 ] || fail "it says more than one line"

screen only

# How long until there is something to see: a window is mapped with its first frame. At most a
# second; a debug build on a busy computer takes a quarter of it.
first_frame_ms_max=1000
begun=$(date +%s%N)
at_window "$window" >>"$out/window.log" 2>&1 &
receiver=$!
pids+=("$receiver")
for _ in $(seq 1000); do
    titled '^PeerConnect$' && break
    sleep 0.01
done
first_frame_ms=$((($(date +%s%N) - begun) / 1000000))
echo "first frame after $first_frame_ms ms"
opened
[ "$first_frame_ms" -le "$first_frame_ms_max" ] ||
    fail "the first frame took $first_frame_ms ms, not $first_frame_ms_max at most"

# What it costs while nothing happens, once it has said that nobody is there. The processor's time
# is counted in hundredths of a second: at most half a percent of one processor.
idle_ticks_max=5
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
sleep 7
before=$(ticks "$receiver")
sleep 10
spent=$(($(ticks "$receiver") - before))
printf 'idle: %d.%02d s of processor time in 10 s\n' $((spent / 100)) $((spent % 100))
[ "$spent" -le "$idle_ticks_max" ] ||
    fail "it spent $spent hundredths of a second on nothing, not $idle_ticks_max at most"

# --- 1. It receives.
# The command line asks the running window who it is.
link() { (at_window "$line" id --json) | field link; }
until_true 20 "our link" link
sleep 0.5
shot 1-empty

hostile="$work/holiday & é 100%.bin"
head -c $((32 * 1024 * 1024 + 17)) /dev/urandom >"$hostile"
at_line "$line" send --json --to "$(link)" "$hostile" >"$out/1-send.jsonl" 2>&1 &
sender=$!
pids+=("$sender")
accept_question 2-question
ended 60 "the sender" "$sender"
grep -q '"t":"summary"' "$out/1-send.jsonl" || fail "the sender gave no summary"
same "$hostile" "$work/receiver/Downloads/holiday & é 100%.bin"
sleep 0.5
shot 3-arrived

# --- 2. It sends: a link typed into "Add a device", a path, Ctrl+Enter.
mkdir -p "$work/inbox"
at_line "$line" receive --json --yes --out "$work/inbox" >"$out/2-receive.jsonl" 2>&1 &
line_receiver=$!
pids+=("$line_receiver")
hello() { grep '"t":"hello"' "$out/2-receive.jsonl" | field link; }
until_true 20 "the link of the command line" hello
head -c 9000000 /dev/urandom >"$work/Report.pdf"
click 100 652
xdotool type --delay 2 "$(hello)"
xdotool key Return
connected() { (at_window "$line" peers --json) | grep -q '"connected":true'; }
until_true 20 "the device to be there" connected
sleep 0.5
click 650 160
xdotool type --delay 2 "$work/Report.pdf"
xdotool key Return
sleep 0.5
shot 4-ready
xdotool key ctrl+Return
ended 30 "the receiver" "$line_receiver"
same "$work/Report.pdf" "$work/inbox/Report.pdf"
sleep 0.5
shot 5-sent

# --- 3. What runs in the window, from a terminal.
album="$work/Lisbon 2026"
mkdir -p "$album/Tram 28"
for n in 1 2 3; do head -c 2500000 /dev/urandom >"$album/Tram 28/IMG_041$n.jpg"; done
head -c 62000000 /dev/urandom >"$album/sunset.mp4"
at_line "$line" send --json --limit 10M --to "$(link)" "$album" >"$out/3-send.jsonl" 2>&1 &
sender=$!
pids+=("$sender")
accept_question
list() { (at_window "$line" list --json) >"$out/3-list.json"; }
listed() { list && grep -q "\"state\":\"$1\"" "$out/3-list.json"; }
until_true 10 "the running transfer in a list" listed running
transfer=$(grep '"state":"running"' "$out/3-list.json" | field transfer)
# Its files, while they come.
click 991 269
xdotool mousemove --window "$id" 520 600
sleep 2.5
shot 6-running
(at_window "$line" pause "$transfer") >"$out/3-pause.log" 2>&1 || fail "pause failed"
until_true 10 "the pause" listed paused
sleep 0.5
shot 7-paused
# Leaving now needs no question for a paused transfer, but this one goes on first.
(at_window "$line" resume "$transfer" --json) >"$out/3-resume.jsonl" 2>&1 &
pids+=("$!")
ended 60 "the sender" "$sender"
same "$album/sunset.mp4" "$work/receiver/Downloads/Lisbon 2026/sunset.mp4"
same "$album/Tram 28/IMG_0413.jpg" "$work/receiver/Downloads/Lisbon 2026/Tram 28/IMG_0413.jpg"
[ -z "$(find "$work/receiver" -name '*.pcpart*')" ] || fail "a partial file was left behind"

# What has ended, and what can be set.
xdotool key ctrl+h
sleep 1
shot 8-history
xdotool key ctrl+comma
sleep 0.5
shot 8-settings
# Leaving an idle window needs no question, and ends its node. Its look is kept: other colours.
xdotool mousemove --window "$id" 600 500
for _ in $(seq 40); do xdotool click 5; done
sleep 0.7
shot 8-settings-end
click 750 525
sleep 0.5
shot 8-light
xdotool key Escape ctrl+q
ended 10 "the window" "$receiver"

grep -q '^theme = "light"' "$work/receiver/config/window.toml" || fail "the colours were not kept"

# --- 4. A window on the node of a daemon, which outlives it.
at_window "$line" daemon --json --yes >"$out/4-daemon.jsonl" 2>&1 &
daemon=$!
pids+=("$daemon")
until_true 20 "the daemon" grep -q '"t":"hello"' "$out/4-daemon.jsonl"
open_window
sleep 1
shot 9-daemon
xdotool key ctrl+q
ended 10 "the window" "$receiver"
kill -0 "$daemon" || fail "the daemon ended with the window"

kill "$daemon"
wait "$daemon" || true

# --- 5. Closed while files come: they come all the same, and then the program ends by itself.
open_window
until_true 20 "our link" link
head -c 30000000 /dev/urandom >"$work/late.bin"
at_line "$line" send --json --limit 6M --to "$(link)" "$work/late.bin" >"$out/5-send.jsonl" 2>&1 &
sender=$!
pids+=("$sender")
accept_question
until_true 10 "the running transfer in a list" listed running
xdotool key ctrl+q
sleep 0.7
shot 10-leaving
click 408 377
until_true 10 "the window to be gone" untitled 'PeerConnect'
kill -0 "$receiver" || fail "the transfer ended with the window"
list && grep -q '"state":"running"' "$out/3-list.json" || fail "nothing runs behind the window"
ended 60 "the sender" "$sender"
same "$work/late.bin" "$work/receiver/Downloads/late.bin"
ended 20 "the program behind the window" "$receiver"

# A node of its own ends in order when the system wants it to.
open_window
until_true 20 "our link" link
kill "$receiver"
code=0
wait "$receiver" || code=$?
[ "$code" -eq 143 ] || fail "the window ended with $code after SIGTERM"
[ -z "$(find "$work/receiver" -name '*.sock*')" ] || fail "the control socket was left behind"

# --- 6. Started without a window, it opens one when somebody waits for an answer, and stays.
at_window "$window" --hidden >>"$out/window.log" 2>&1 &
hidden=$!
pids+=("$hidden")
until_true 20 "our link" link
untitled 'PeerConnect' || fail "there is a window though none was wanted"
printf 'hello' >"$work/called.txt"
at_line "$line" send --json --to "$(link)" "$work/called.txt" >"$out/6-send.jsonl" 2>&1 &
sender=$!
pids+=("$sender")
until_true 30 "a window for the question" titled 'wants to send you files'
id=$(xdotool search --onlyvisible --name 'wants to send you files' | head -n 1)
xdotool windowfocus "$id"
accept_question 11-called
ended 30 "the sender" "$sender"
same "$work/called.txt" "$work/receiver/Downloads/called.txt"
xdotool key ctrl+q
until_true 10 "the window to be gone" untitled 'PeerConnect'
link >/dev/null || fail "it ended with its window"
# A stranger cannot have windows pop up as often as he likes.
printf 'hello again' >"$work/again.txt"
at_line "$line" send --json --to "$(link)" "$work/again.txt" >"$out/6-again.jsonl" 2>&1 &
sender=$!
pids+=("$sender")
until_true 10 "the second question" listed waiting
sleep 1
untitled 'PeerConnect' || fail "a stranger's second question opened another window"
kill "$sender"
wait "$sender" || true
kill "$hidden"
code=0
wait "$hidden" || code=$?
[ "$code" -eq 143 ] || fail "it ended with $code after SIGTERM"

[ ! -s "$out/window.log" ] || fail "the window wrote to its terminal"
echo "drive.sh: ok; pictures in $out"
