"""Prints an array of floats of a module, by its symbol: module_floats.py MODULE.so SYMBOL."""
import re
import struct
import subprocess
import sys

path, symbol = sys.argv[1:]
symbols = subprocess.run(["readelf", "-sW", path], capture_output=True, text=True, check=True).stdout
found = re.search(rf"([0-9a-f]+)\s+(\d+) OBJECT .* {symbol}$", symbols, re.M)
if not found:
    sys.exit(f"{path} has no {symbol}")
address, size = int(found[1], 16), int(found[2])
headers = subprocess.run(["readelf", "-lW", path], capture_output=True, text=True, check=True).stdout
for offset, begin, n_bytes in re.findall(r"LOAD\s+0x(\w+) 0x(\w+) 0x\w+ 0x(\w+)", headers):
    at = address - int(begin, 16)
    if 0 <= at < int(n_bytes, 16):
        with open(path, "rb") as file:
            file.seek(int(offset, 16) + at)
            print(list(struct.unpack(f"<{size // 4}f", file.read(size))))
            break
