"""Runs a command at its own terminal and prints the terminal's contents, each line in its final
state.

    at_terminal.py COMMAND [ARGUMENT...]
"""
import os
import pty
import sys

shown = []


def keep(descriptor):
    shown.append(os.read(descriptor, 4096))
    return b"."  # pty.spawn writes the returned bytes, and takes an empty result for the end


sys.stdin = open(os.devnull)
stdout = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
status = os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:], keep, lambda descriptor: b""))
for line in b"".join(shown).decode().replace("\r\n", "\n").splitlines():
    os.write(stdout, line.rsplit("\r\x1b[K", 1)[-1].encode() + b"\n")
sys.exit(status)
