#!/usr/bin/env python3
"""natlab_ports.py - lets the hosts behind a router of natlab.sh ask it for ports.

  natlab_ports.py pcp|natpmp LAN_IP WAN_IP

Run in the router's namespace. `pcp` speaks PCP (RFC 6887, MAP for UDP) and gives the port that is
asked for; `natpmp` knows nothing newer than NAT-PMP (RFC 6886) and gives another one. Each mapping
is a rule of nftables, as a real router's would be. Writes `ready`, then a line for each change.
"""
import socket
import struct
import subprocess
import sys

PORT = 5351
MOVED = 40000  # what NAT-PMP adds to the port that was asked for, modulo 20000
RULE = "iifname wan ip daddr {wan} udp dport {outer} dnat ip to {host}:{inner}"
UNSUPPORTED_VERSION = 1
UNSUPPORTED_OPCODE = 4


def nft(*words):
    subprocess.run(["nft", *words], check=True, stdout=subprocess.DEVNULL)


def lead(wan, outer, host, inner, lifetime):
    """Opens the port, or closes all if its time is over."""
    nft("flush", "chain", "inet", "nat", "prerouting")
    if lifetime:
        rule = RULE.format(wan=wan, outer=outer, host=host, inner=inner)
        nft("add", "rule", "inet", "nat", "prerouting", *rule.split())
        print(f"open {outer} to {host}:{inner} for {lifetime}", flush=True)
    else:
        print("closed", flush=True)


def pcp(packet, host, wan):
    version, opcode, _, lifetime = struct.unpack("!BBHI", packet[:8])
    head = struct.Struct("!BBBBIIxxxxxxxxxxxx")
    if version != 2 or opcode != 1 or len(packet) < 60:
        return head.pack(2, opcode | 0x80, 0, UNSUPPORTED_OPCODE, 0, 1)
    nonce, protocol, inner, outer = struct.unpack("!12sBxxxHH", packet[24:44])
    lead(wan, outer or inner, host, inner, lifetime)
    outside = b"\0" * 10 + b"\xff\xff" + socket.inet_aton(wan)
    answer = struct.pack("!12sBxxxHH16s", nonce, protocol, inner, outer or inner, outside)
    return head.pack(2, 0x81, 0, 0, lifetime, 1) + answer


def natpmp(packet, host, wan):
    version, opcode = packet[:2]
    if version != 0:
        return struct.pack("!BBHI", 0, opcode | 0x80, UNSUPPORTED_VERSION, 1)
    if opcode == 0:
        return struct.pack("!BBHI4s", 0, 0x80, 0, 1, socket.inet_aton(wan))
    inner, _, lifetime = struct.unpack("!HHI", packet[4:12])
    outer = MOVED + inner % 20000
    lead(wan, outer, host, inner, lifetime)
    outer = outer if lifetime else 0
    return struct.pack("!BBHIHHI", 0, opcode | 0x80, 0, 1, inner, outer, lifetime)


def main():
    speak = {"pcp": pcp, "natpmp": natpmp}[sys.argv[1]]
    lan, wan = sys.argv[2:4]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((lan, PORT))
        print("ready", flush=True)
        while True:
            packet, client = sock.recvfrom(1100)
            sock.sendto(speak(packet, client[0], wan), client)


if __name__ == "__main__":
    main()
