"""Sets all weights of a bfloat16 model's last norm, or of another tensor, to one value:

    set_norm.py MODEL.safetensors VALUE [TENSOR]
"""
import json
import struct
import sys

tensor = sys.argv[3] if len(sys.argv) > 3 else "model.norm.weight"
weight = struct.pack("<f", float(sys.argv[2]))[2:]
with open(sys.argv[1], "r+b") as file:
    size = int.from_bytes(file.read(8), "little")
    begin, end = json.loads(file.read(size))[tensor]["data_offsets"]
    file.seek(8 + size + begin)
    file.write(weight * ((end - begin) // 2))
