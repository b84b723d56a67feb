"""Exits 0 if two modules have equal bytes except in their notes, which hold the options of the compilations."""
import pathlib
import struct
import sys

OWNER = b"rsrc-module\0"


def without_note(path):
    data = pathlib.Path(path).read_bytes()
    at = data.index(OWNER)  # after three words: bytes of the owner, bytes of the note, type
    note_bytes = struct.unpack_from("<I", data, at - 8)[0]
    return data[:at] + data[at + len(OWNER) + note_bytes:]


first, second = (without_note(path) for path in sys.argv[1:])
if first != second:
    sys.exit(f"{sys.argv[1]} and {sys.argv[2]} differ in more than their notes")
