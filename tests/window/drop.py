"""Drops files on a window as a file manager does, by the XDND protocol (version 5).

usage: drop.py WINDOW X Y FILE...        position in the window; "hold" in HOLD=SECONDS: how long
                                         the files hang over it before they are dropped
"""

import os
import sys
import time
import urllib.parse

from Xlib import X, display
from Xlib.protocol import event

DEADLINE = 10.0


class Drag:
    """One drag: what is offered, and the window under the pointer."""

    def __init__(self, window, files):
        self.display = display.Display()
        self.target = self.display.create_resource_object("window", window)
        aware = self.target.get_full_property(self.atom("XdndAware"), X.AnyPropertyType)
        if aware is None:
            sys.exit("drop.py: the window takes no drops")
        root = self.display.screen().root
        self.source = root.create_window(0, 0, 1, 1, 0, self.display.screen().root_depth)
        self.source.set_selection_owner(self.atom("XdndSelection"), X.CurrentTime)
        lines = ("file://" + urllib.parse.quote(path) + "\r\n" for path in files)
        self.offered = "".join(lines).encode()
        self.root = root

    def atom(self, name):
        return self.display.intern_atom(name)

    def say(self, name, *data):
        data = [self.source.id, *data]
        data += [0] * (5 - len(data))
        message = event.ClientMessage(
            window=self.target, client_type=self.atom(name), data=(32, data)
        )
        self.target.send_event(message)
        self.display.flush()

    def hear(self, name, seconds=DEADLINE):
        """Waits for a message, and hands over what is offered when it is asked for."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not self.display.pending_events():
                time.sleep(0.01)
                continue
            said = self.display.next_event()
            if said.type == X.SelectionRequest:
                self.hand_over(said)
            elif said.type == X.ClientMessage and said.client_type == self.atom(name):
                return said.data[1]
        sys.exit("drop.py: waited in vain for " + name)

    def hand_over(self, asked):
        asked.requestor.change_property(asked.property, asked.target, 8, self.offered)
        answer = event.SelectionNotify(
            time=asked.time,
            requestor=asked.requestor,
            selection=asked.selection,
            target=asked.target,
            property=asked.property,
        )
        asked.requestor.send_event(answer)
        self.display.flush()


def main():
    window, x, y, files = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    drag = Drag(window, files)
    at = drag.target.translate_coords(drag.root, 0, 0)
    # It gives the place of the root's corner in the window.
    x, y = x - at.x, y - at.y
    copy = drag.atom("XdndActionCopy")
    drag.say("XdndEnter", 5 << 24, drag.atom("text/uri-list"))
    for step in (2, 1, 0):
        drag.root.warp_pointer(x - step, y)
        drag.say("XdndPosition", 0, (x - step) << 16 | y, X.CurrentTime, copy)
        accepted = drag.hear("XdndStatus")[1] & 1
    if not accepted:
        sys.exit("drop.py: the window does not take these")
    time.sleep(float(os.environ.get("HOLD", "0.3")))
    drag.say("XdndDrop", 0, X.CurrentTime)
    drag.hear("XdndFinished")


main()
