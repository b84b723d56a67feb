"""Makes a model's activations overflow: overflowing.py MODEL. The scales of some layers become the largest bfloat16."""
import json
import pathlib
import struct
import sys

path = pathlib.Path(sys.argv[1]) / "model.safetensors"
data = bytearray(path.read_bytes())
n = struct.unpack("<Q", data[:8])[0]
for name, tensor in json.loads(data[8:8 + n]).items():
    if any(role in name for role in ("down_proj.weight_scale", "o_proj.weight_scale", "v_proj.weight_scale")):
        at = 8 + n + tensor["data_offsets"][0]
        data[at:at + 2] = b"\x7f\x7f"
path.write_bytes(data)
