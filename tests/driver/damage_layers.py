"""damage_layers.py FILE.safetensors LAYER...: makes the first four ternary codes of those layers illegal."""
import json
import sys

with open(sys.argv[1], "r+b") as file:
    size = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(size))
    for layer in sys.argv[2:]:
        file.seek(8 + size + header[layer + ".weight"]["data_offsets"][0])
        file.write(b"\xff")
