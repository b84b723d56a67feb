"""Writes GGUF files that are refused; each file is named after the slug of its refusal: gguf_files.py
FOLDER."""
import pathlib
import struct
import sys

folder = pathlib.Path(sys.argv[1])
U8, U32, F32, BOOL, STRING, ARRAY = 0, 4, 6, 7, 8, 9
TYPE_F32, TYPE_Q4_K, TYPE_TQ2_0, TYPE_I2_S, TYPE_Q2_0 = 0, 12, 35, 36, 42


def string(text):
    return struct.pack("<Q", len(text)) + text.encode()


def entry(key, kind, value):
    return string(key) + struct.pack("<I", kind) + value


def number(key, value):
    return entry(key, U32, struct.pack("<I", value))


def info(name, dims, kind, offset):
    return string(name) + struct.pack("<I%dQIQ" % len(dims), len(dims), *dims, kind, offset)


MODEL = [entry("general.architecture", STRING, string("llama")), number("llama.embedding_length", 4),
         number("llama.block_count", 1), number("llama.attention.head_count", 2),
         number("llama.feed_forward_length", 8), number("llama.context_length", 64),
         entry("llama.attention.layer_norm_rms_epsilon", F32, struct.pack("<f", 1e-5))]
EMBEDDING = info("token_embd.weight", [4, 6], TYPE_F32, 0)


def write(slug, extra=b"", values=MODEL, infos=(EMBEDDING,), data=bytes(96), magic=b"GGUF", version=3, n_tensors=None,
          n_values=None, cut=0):
    values = list(values) + ([extra] if extra else [])
    head = magic + struct.pack("<IQQ", version, len(infos) if n_tensors is None else n_tensors,
                               len(values) if n_values is None else n_values)
    head += b"".join(values) + b"".join(infos)
    head += bytes(-len(head) % 32) + data
    (folder / (slug + ".gguf")).write_bytes(head[:len(head) - cut])


# A model without tensors of layers: the container is right, and the graph reports what is missing.
write("graph-missing-tensor")

write("gguf-magic", magic=b"GGUX")
write("gguf-version", version=2)
write("gguf-endian", version=3 << 24)
write("gguf-empty", infos=(), data=b"")
write("gguf-count", n_values=1 << 60)
write("gguf-truncated", cut=1)
write("gguf-name", number("a\0b", 1))
write("gguf-value-type", entry("a", 13, b""))
write("gguf-bool", entry("a", BOOL, b"\x02"))
write("gguf-depth", entry("a", ARRAY, 6 * struct.pack("<IQ", ARRAY, 1)))
write("gguf-duplicate", number("llama.block_count", 2))
write("gguf-alignment", number("general.alignment", 24))
write("gguf-type", infos=(EMBEDDING, info("output.weight", [256, 6], TYPE_Q4_K, 96)))
write("gguf-shape", infos=(EMBEDDING, info("output.weight", [255, 6], TYPE_TQ2_0, 96)))
write("gguf-overlap", infos=(EMBEDDING, info("output.weight", [4, 6], TYPE_F32, 64)), data=bytes(192))
write("gguf-hole", infos=(EMBEDDING, info("output.weight", [4, 6], TYPE_F32, 128)), data=bytes(256))
write("gguf-trailing", data=bytes(97))
write("gguf-q2-blocks", infos=(EMBEDDING, info("output.weight", [1024, 6], TYPE_Q2_0, 96)), data=bytes(96 + 1664))
write("gguf-i2s-layout", infos=(EMBEDDING, info("output.weight", [128, 6], TYPE_I2_S, 96)), data=bytes(96 + 224))
write("gguf-activations", infos=(EMBEDDING, info("blk.0.attn_q.weight", [256, 16], TYPE_TQ2_0, 96)),
      data=bytes(96 + 1056))
write("gguf-missing", values=MODEL[:-1])
write("gguf-architecture", values=[entry("general.architecture", STRING, string("mamba\n"))] + MODEL[1:])
write("gguf-kind", entry("general.type", STRING, string("adapter")))
write("gguf-split", number("split.count", 3))
write("gguf-field", number("llama.vocab_size", 5))
write("gguf-heads", number("llama.attention.head_count_kv", 3))
write("gguf-unsupported", number("llama.expert_count", 8))
write("gguf-rotation", number("prism.hadamard.block_size", 128))
write("prism", number("prism.mean_center.size", 128))
write("unknown", number("rotation.seed", 1))
write("gguf-token", number("tokenizer.ggml.bos_token_id", 6))
