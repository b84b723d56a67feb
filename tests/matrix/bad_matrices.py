"""Writes files that rsrc refuses: a value outside the alphabet, a tensor of one dimension, no
tensor."""
import json
import struct
import sys

FILES = {"value": ([1, 2], bytes([1, 2])), "flat": ([2], bytes([1, 0])), "none": (None, b"")}
for name, (shape, data) in FILES.items():
    header = {} if shape is None else {"w": {"dtype": "I8", "shape": shape, "data_offsets": [0, len(data)]}}
    text = json.dumps(header).encode()
    with open(f"{sys.argv[1]}/{name}.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
