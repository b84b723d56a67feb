"""Writes NumPy files of the matrix {{-1,0,1},{0,1,1}}, and files that hold no matrix: npy_files.py
FOLDER."""
import pathlib
import struct
import sys

folder = pathlib.Path(sys.argv[1])
VALUES = [-1, 0, 1, 0, 1, 1]


def write(name, descr="'|i1'", order="False", shape="(2, 3)", data=struct.pack("6b", *VALUES), version=(1, 0),
          header=None, magic=b"\x93NUMPY", length=None):
    text = (header or "{'descr': %s, 'fortran_order': %s, 'shape': %s, }" % (descr, order, shape)).encode()
    n_length = 2 if version[0] == 1 else 4
    before = len(magic) + 2 + n_length
    text += b" " * (-(before + len(text) + 1) % 64) + b"\n"
    count = len(text) if length is None else length
    (folder / (name + ".npy")).write_bytes(
        magic + bytes(version) + count.to_bytes(n_length, "little") + text + data)


write("int8")
write("uint8", "'|u1'", data=bytes(v & 255 for v in VALUES))
write("int32", "'<i4'", data=struct.pack("<6i", *VALUES))
write("int64", "'<i8'", data=struct.pack("<6q", *VALUES), version=(2, 0))
write("float16", "'<f2'", data=struct.pack("<6e", *VALUES), version=(3, 0))
write("float32", "'<f4'", data=struct.pack("<6f", *VALUES))
write("bool", "'|b1'", data=bytes(v != 0 for v in VALUES))

# Each is refused with the slug that is its name.
write("npy-magic", magic=b"\x93NUMPX")
write("npy-version", version=(4, 0))
write("npy-header", header="{'descr': '|i1', 'shape': (2, 3)}")
write("npy-dtype", "'<f8'", data=struct.pack("<6d", *VALUES))
write("npy-order", order="True")
write("npy-shape", shape="(4294967296, 4294967296)")
write("npy-truncated", version=(2, 0), length=0xffffffff)
write("npy-trailing", data=bytes(7))
write("npy-bool", "'|b1'", data=bytes([0, 1, 255, 0, 1, 1]))
write("matrix-shape", shape="(6,)")
write("matrix-value", data=struct.pack("6b", -1, 0, 2, 0, 1, 1))
