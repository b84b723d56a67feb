"""Writes a safetensors file of small matrices whose names try to break out of everything."""
import json
import struct
import sys

NAMES = ["*/ int main(void){return 1;} /*", 'quote " and \\ backslash', "line\nbreak", "\x1b[31mred\x1b[0m",
         "../../etc/passwd", "percent %s %n", "</script><b>", "rsrc: error: forged [slug]", "??/\n#error"]
header, at = {}, 0
for name in NAMES:
    header[name] = {"dtype": "I8", "shape": [3, 5], "data_offsets": [at, at + 15]}
    at += 15
text = json.dumps(header).encode()
with open(sys.argv[1], "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text + bytes([0, 1, 255] * (at // 3)))
