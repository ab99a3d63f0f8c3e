#!/usr/bin/env bash
# Two people who have never seen the program: two real windows on two computers (network
# namespaces with one cable), each with its own node and screen, from the first look to the second
# transfer. They find each other, files are dropped on a name, the other accepts with one click,
# both see it run and end; the second time nobody is asked; one leaves while files go.
# Pictures and logs go to target/window/meet/, those of the README to readme/ in there. To renew
# those in the repository, which are in gui/:
#     PEERCONNECT_SCREENSHOT=1 tests/window/meet.sh
#
# Needs root, `ip` and `tc`, python3-xlib, and what drive.sh needs. Without root nothing is driven,
# which is a failure if PEERCONNECT_TEST_ALL is set.
set -euo pipefail

cd "$(dirname "$0")/../.."
root=$PWD
out="$root/target/window/meet"
if [ "$(id -u)" -ne 0 ]; then
    echo "two windows on two computers need root: not driven"
    [ -z "${PEERCONNECT_TEST_ALL:-}" ] || exit 1
    exit 0
fi
. tests/window/common.sh

# --- Two computers.
space="pcw$$"
at_end=unplug
unplug() {
    local side
    for side in a b; do ip netns del "$space-$side" 2>/dev/null || true; done
}
for side in a b; do
    ip netns add "$space-$side"
    ip -n "$space-$side" link set lo up
done
ip -n "$space-a" link add eth0 type veth peer name eth0 netns "$space-b"
ip -n "$space-a" addr add 192.168.77.1/24 dev eth0
ip -n "$space-b" addr add 192.168.77.2/24 dev eth0
for side in a b; do ip -n "$space-$side" link set eth0 up; done

# What python3-xlib is installed for, where another python3 comes first.
python=/usr/bin/python3
"$python" -c 'import Xlib' 2>/dev/null || python=python3
"$python" -c 'import Xlib' 2>/dev/null || fail "missing: python3-xlib"

at_a() { inside=(ip netns exec "$space-a"); as alice "Office Laptop" "$@"; }
at_b() { inside=(ip netns exec "$space-b"); as bob "Living-room PC" "$@"; }

# look a|b: the screen and window of that side from now on.
declare -A screens windows
look() {
    DISPLAY=${screens[$1]}
    id=${windows[$1]:-}
    export DISPLAY
}
# open a|b: opens the window there; its process is in `process_a` or `process_b`.
open() {
    look "$1"
    "at_$1" "$window" >>"$out/window-$1.log" 2>&1 &
    printf -v "process_$1" %s "$!"
    pids+=("$!")
    opened
    windows[$1]=$id
}
for side in a b; do
    screen "$side"
    screens[$side]=$DISPLAY
done
# both NAME: a picture of each side.
both() {
    local side
    for side in a b; do
        look "$side"
        shot "$1-$side"
    done
}

# readme PICTURE NAME: as the README shows it.
readme() {
    local picture="$out/readme/$2.png"
    mkdir -p "$out/readme"
    convert "$out/$1.png" -strip -colors 255 "PNG8:$picture"
    [ "$(stat -c %s "$picture")" -le 150000 ] || fail "the picture $2 is too large"
    [ -z "${PEERCONNECT_SCREENSHOT:-}" ] || cp "$picture" "$root/gui/"
}

# drop X Y FILE…: on the window in view.
drop() { "$python" tests/window/drop.py "$id" "$@"; }

# --- They find each other, by their names, without anybody doing anything.
# One of them likes it light.
mkdir -p "$work/alice/config"
echo 'theme = "light"' >"$work/alice/config/window.toml"
open a
# Nobody is heard for so long that it is said.
sleep 6.5
shot 1-alone
open b
sees() { ("at_$1" "$line" peers --json) | grep '"nearby":true' | grep -q "\"$2\""; }
until_true 20 "a to see b" sees a "Living-room PC"
until_true 20 "b to see a" sees b "Office Laptop"
sleep 1
both 2-nearby

# --- Files are dropped on a name.
tc -n "$space-a" qdisc add dev eth0 root tbf rate 160mbit burst 256k latency 50ms
album="$work/Lisbon 2026"
mkdir -p "$album/Tram 28" "$album/empty"
for n in 1 2 3; do head -c 2500000 /dev/urandom >"$album/Tram 28/IMG_041$n.jpg"; done
head -c 220000000 /dev/urandom >"$album/sunset & é 100%.mp4"
head -c 700000 /dev/urandom >"$work/Report.pdf"
look a
HOLD=1 drop 134 173 "$album" "$work/Report.pdf" &
dropping=$!
sleep 1
shot 3-hanging
ended 20 "the drop" "$dropping"
look b
until_true 20 "the question" titled 'wants to send you files'
sleep 1
both 4-question
readme 4-question-b screenshot-offer
# Others come, too.
at_c() { inside=(ip netns exec "$space-a"); as anna "Anna's phone" "$@"; }
at_d() { inside=(ip netns exec "$space-a"); as kitchen "Kitchen" "$@"; }
for who in c d; do
    "at_$who" "$line" daemon --json >"$out/daemon-$who.jsonl" 2>&1 &
    pids+=("$!")
done
until_true 20 "b to see the phone" sees b "Anna's phone"
until_true 20 "b to see the kitchen" sees b "Kitchen"

# --- The other accepts, and wants to from now on.
click 44 251
click 960 251
until_true 10 "the answer" untitled 'wants to send you files'
list() { ("at_$1" "$line" list --json) >"$out/list-$1.jsonl"; }
listed() { list "$1" && grep -q "\"state\":\"$2\"" "$out/list-$1.jsonl"; }
until_true 10 "the running transfer" listed b running
# Its files, while they come.
click 1004 269
xdotool mousemove --window "$id" 520 600
# Until there is a curve of the speed, on a line that others use, too.
shared() { tc -n "$space-a" qdisc change dev eth0 root tbf rate "$1" burst 256k latency 50ms; }
sleep 2
shared 70mbit
sleep 2.5
shared 160mbit
sleep 4
both 5-running
readme 5-running-b screenshot
readme 5-running-a screenshot-light
until_true 30 "the end at a" listed a "done"
until_true 30 "the end at b" listed b "done"
sleep 0.7
both 6-done
inbox="$work/bob/Downloads"
for file in "sunset & é 100%.mp4" "Tram 28/IMG_0411.jpg" "Tram 28/IMG_0413.jpg"; do
    same "$album/$file" "$inbox/Lisbon 2026/$file"
done
[ -d "$inbox/Lisbon 2026/empty" ] || fail "the empty folder is not there"
same "$work/Report.pdf" "$inbox/Report.pdf"
[ -z "$(find "$work/bob" -name '*.pcpart*')" ] || fail "a partial file was left behind"

# --- Names in any script, and in pictures of their own.
names=("照片.jpg" "مستند.pdf" "تقرير جديد.pdf" "🎉.txt")
for name in "${names[@]}"; do head -c 40000 /dev/urandom >"$work/$name"; done
look a
drop 134 173 "${names[@]/#/$work/}"
for name in "${names[@]}"; do until_true 20 "$name" test -f "$inbox/$name"; done
sleep 0.7
look b
click 991 269
sleep 0.7
both 7-names
for name in "${names[@]}"; do same "$work/$name" "$inbox/$name"; done

# --- The second time nobody is asked. More is dropped on what runs, and one leaves meanwhile.
look a
head -c 90000000 /dev/urandom >"$work/second.bin"
head -c 9000000 /dev/urandom >"$work/third.bin"
drop 134 173 "$work/second.bin"
until_true 20 "the second transfer" listed b running
untitled 'wants to send you files' || fail "asked again"
look a
sleep 0.5
HOLD=0.7 drop 650 290 "$work/third.bin" &
dropping=$!
sleep 0.6
shot 8-attaching
ended 20 "the drop" "$dropping"
sleep 0.3
xdotool key ctrl+q
sleep 0.7
shot 9-leaving
click 408 377
until_true 10 "the window to be gone" untitled 'PeerConnect'
kill -0 "$process_a" || fail "the transfer ended with the window"
ended 60 "the program behind the window" "$process_a"
same "$work/second.bin" "$inbox/second.bin"
same "$work/third.bin" "$inbox/third.bin"
look b
gone_from() { ! sees "$1" "$2"; }
until_true 20 "b to see that a has left" gone_from b "Office Laptop"
sleep 0.5
shot 10-left
xdotool key ctrl+q
ended 10 "the window" "$process_b"
for side in a b; do
    [ ! -s "$out/window-$side.log" ] || fail "a window wrote to its terminal"
done
echo "meet.sh: ok; pictures in $out"
