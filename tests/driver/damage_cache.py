"""damage_cache.py flip|cut|swap DIR: damages every entry of a code cache."""
import pathlib
import sys

kind, entries = sys.argv[1], sorted(pathlib.Path(sys.argv[2]).glob("*.code"))
contents = [bytearray(path.read_bytes()) for path in entries]
for i, path in enumerate(entries):
    if kind == "flip":
        contents[i][-1] ^= 0x10
        path.write_bytes(contents[i])
    elif kind == "cut":
        path.write_bytes(contents[i][: len(contents[i]) // 2])
    else:
        path.write_bytes(contents[(i + 1) % len(entries)])
