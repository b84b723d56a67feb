"""Writes the file formats that rsrc reads, right or wrong on purpose, with the standard library alone."""
import json
import struct

# GGUF: types of metadata values and of tensors.
U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
GGML_F32, GGML_F16, GGML_TQ1_0, GGML_TQ2_0 = 0, 1, 34, 35


def u32(value):
    return struct.pack("<I", value)


def u64(value):
    return struct.pack("<Q", value)


# ---- safetensors ---------------------------------------------------------------------------------

def safetensors(header, data=b"", length=None):
    """The header is a dictionary, text or bytes; `length` replaces what the first eight bytes say."""
    if not isinstance(header, (str, bytes)):
        header = json.dumps(header)
    text = header if isinstance(header, bytes) else header.encode()
    return u64(len(text) if length is None else length) + text + data


def tensor(begin, end, shape, dtype="I8"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


# ---- NumPy ---------------------------------------------------------------------------------------

def npy(header, data, version=(1, 0), length=None, magic=b"\x93NUMPY"):
    text = header if isinstance(header, bytes) else header.encode()
    n_length = 2 if version[0] == 1 else 4
    before = len(magic) + 2 + n_length
    text += b" " * (-(before + len(text) + 1) % 64) + b"\n"
    count = len(text) if length is None else length
    return magic + bytes(version) + count.to_bytes(n_length, "little") + text + data


# ---- GGUF ----------------------------------------------------------------------------------------

def gguf_string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return u64(len(data)) + data


def gguf_entry(key, kind, value):
    return gguf_string(key) + u32(kind) + value


def gguf_number(key, value):
    return gguf_entry(key, U32, u32(value))


def gguf_float(key, value):
    return gguf_entry(key, F32, struct.pack("<f", value))


def gguf_text(key, text):
    return gguf_entry(key, STRING, gguf_string(text))


def gguf_info(name, dims, kind, offset):
    return gguf_string(name) + u32(len(dims)) + b"".join(map(u64, dims)) + u32(kind) + u64(offset)


def gguf(values, infos, data, magic=b"GGUF", version=3, n_tensors=None, n_values=None, alignment=32):
    head = magic + u32(version) + u64(len(infos) if n_tensors is None else n_tensors)
    head += u64(len(values) if n_values is None else n_values) + b"".join(values) + b"".join(infos)
    return head + bytes(-len(head) % alignment) + data
