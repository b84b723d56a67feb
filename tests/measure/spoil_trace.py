"""spoil_trace.py FILE COPY OFFSET NUMBER: a copy of FILE with NUMBER, as uint32 or NaN as float32, at OFFSET."""
import struct
import sys

_, source, copy, offset, number = sys.argv
with open(source, "rb") as file:
    content = bytearray(file.read())
value = struct.pack("<f", float("nan")) if number == "nan" else struct.pack("<I", int(number))
content[int(offset):int(offset) + 4] = value
with open(copy, "wb") as file:
    file.write(content)
