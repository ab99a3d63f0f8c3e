#!/usr/bin/env bash
# A desktop with a window manager and a service for notifications, both real:
#  1. a question comes while another window has the keyboard: that one keeps it, ours asks for
#     attention, and a notification says who wants what; answering in the window takes it away;
#  2. the notification of a trusted device accepts when it is pressed;
#  3. nobody is called for what the person sees come.
# Pictures and logs go to target/window/ask/.
#
# Needs openbox, dunst, dbus and x11-utils, and what drive.sh needs. Without these nothing is
# driven, which is a failure if PEERCONNECT_TEST_ALL is set.
set -euo pipefail

cd "$(dirname "$0")/../.."
root=$PWD
out="$root/target/window/ask"
for need in openbox dunst dunstctl dbus-daemon xprop display; do
    command -v "$need" >/dev/null && continue
    echo "a desktop needs $need: not driven"
    [ -z "${PEERCONNECT_TEST_ALL:-}" ] || exit 1
    exit 0
done
. tests/window/common.sh

screen only
openbox --sm-disable >"$out/openbox.log" 2>&1 &
servers+=("$!")
managed() { xprop -root _NET_SUPPORTING_WM_CHECK | grep -q 'window id'; }
until_true 20 "the window manager" managed

# --- A bus with a service for notifications. They stay until they are pressed or taken back.
dbus-daemon --session --nofork --print-address=3 3>"$work/bus" 2>"$out/dbus.log" &
servers+=("$!")
until_true 20 "the bus" test -s "$work/bus"
DBUS_SESSION_BUS_ADDRESS=$(cat "$work/bus")
export DBUS_SESSION_BUS_ADDRESS
cat >"$work/dunstrc" <<'CONFIG'
[urgency_low]
    timeout = 0
[urgency_normal]
    timeout = 0
# A press on a notification presses its button to accept, where it has one.
[accepts]
    summary = "*wants to send you files"
    action_name = accept
CONFIG
HOME="$work" dunst -config "$work/dunstrc" >"$out/dunst.log" 2>&1 &
servers+=("$!")
until_true 20 "the service for notifications" dunstctl count

at_window() { as receiver "Living-room PC" "$@"; }
at_line() { as sender "Office Laptop" "$@"; }
shown() { [ "$(dunstctl count displayed)" -eq "$1" ]; }
# told TEXT: whether a notification that is over said this.
told() { dunstctl history | grep -F "$1" >/dev/null; }
focus() { xprop -root _NET_ACTIVE_WINDOW | grep -o '0x[0-9a-f]*'; }
urgent() { xprop -id "$id" WM_HINTS | grep -qi 'urgency'; }
link() { (at_window "$line" id --json) | field link; }
asked() { titled 'wants to send you files'; }

# offer NAME: sends a file of this name to the window; its process is in `sender`.
offer() {
    head -c 300000 /dev/urandom >"$work/$1"
    at_line "$line" send --json --to "$(link)" "$work/$1" >"$out/send-$1.jsonl" 2>&1 &
    sender=$!
    pids+=("$sender")
    until_true 30 "the question" asked
}

at_window "$window" >>"$out/window.log" 2>&1 &
receiver=$!
pids+=("$receiver")
until_true 30 "the window" titled '^PeerConnect$'
id=$(xdotool search --onlyvisible --name '^PeerConnect$' | head -n 1)
until_true 20 "our link" link

# --- 1. Somebody works in another window when the question comes.
display -title elsewhere -size 300x200 xc:gray >"$out/elsewhere.log" 2>&1 &
pids+=("$!")
until_true 20 "the other window" titled elsewhere
other=$(xdotool search --onlyvisible --name elsewhere | head -n 1)
xdotool windowactivate --sync "$other"
before=$(focus)
[ "$((before))" -eq "$other" ] || fail "the other window did not get the keyboard"
! urgent || fail "the window asks for attention before anything has happened"
offer first.bin
until_true 10 "the notification" shown 1
until_true 10 "the window to ask for attention" urgent
# If it were to take the keyboard, it would have by now.
sleep 1
[ "$(focus)" = "$before" ] || fail "the question took the keyboard from another window"
shot 1-asked root

# Answered in the window: nobody need press the notification any more.
xdotool windowactivate --sync "$id"
sleep 1
xdotool key ctrl+shift+a
until_true 10 "the notification to go" shown 0
ended 30 "the sender" "$sender"
same "$work/first.bin" "$work/receiver/Downloads/first.bin"
told 'Office Laptop wants to send you files' || fail "the notification did not say who asks"
told 'first.bin' || fail "the notification did not say what is offered"
! told 'Arrived from' || fail "it was told what the person saw arrive"

# --- 2. A trusted device may be answered without the window.
(at_window "$line" peers trust "Office Laptop" --accept ask) >"$out/trust.log" 2>&1 ||
    fail "the device could not be trusted"
xdotool windowactivate --sync "$other"
offer second.bin
until_true 10 "the notification" shown 1
shot 2-trusted root
dunstctl action 0
ended 30 "the sender" "$sender"
same "$work/second.bin" "$work/receiver/Downloads/second.bin"
# The one that asked goes; that it has arrived is said, as nobody looks at the window.
until_true 10 "the question's notification to go" told 'second.bin'
until_true 10 "the notification of the end" shown 1
[ "$(focus)" = "$before" ] || fail "the press took the keyboard from another window"
dunstctl close-all
until_true 10 "the notification to go" shown 0
told 'Arrived from Office Laptop' || fail "the notification did not say what arrived"

# --- 3. What comes under the eyes of the person calls nobody.
xdotool windowactivate --sync "$id"
offer third.bin
sleep 1
shown 0 || fail "a notification came though the window has the keyboard"
xdotool key ctrl+shift+d
until_true 10 "the answer" untitled 'wants to send you files'
wait "$sender" || true

xdotool key ctrl+q
ended 10 "the window" "$receiver"
[ ! -s "$out/window.log" ] || fail "the window wrote to its terminal"
echo "ask.sh: ok; pictures in $out"
