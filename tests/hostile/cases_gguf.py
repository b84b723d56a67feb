"""Bad .gguf files: the container, the metadata of a model, and its tensors."""
import struct

from formats import (ARRAY, BOOL, F32, F64, GGML_F16, GGML_F32, GGML_TQ1_0, GGML_TQ2_0, I32, I64, STRING, U8, U32, U64,
                     gguf, gguf_entry, gguf_float, gguf_info, gguf_number, gguf_string, gguf_text, u32, u64)
from harness import Case

NUMBERS = {"embedding_length": 4, "block_count": 1, "attention.head_count": 2, "feed_forward_length": 8,
           "context_length": 64}
EPS = "llama.attention.layer_norm_rms_epsilon"
MODEL = [gguf_text("general.architecture", "llama"), *[gguf_number("llama." + k, v) for k, v in NUMBERS.items()],
         gguf_float(EPS, 1e-5)]
EMBEDDING = gguf_info("token_embd.weight", [4, 6], GGML_F32, 0)
N_DATA = 96
WHOLE = gguf(MODEL, [EMBEDDING], bytes(N_DATA))
VALUES_AT = 24
INFOS_AT = VALUES_AT + sum(map(len, MODEL))
DATA_AT = len(WHOLE) - N_DATA


def case(name, slug, content, place="offset"):
    def make(folder):
        (folder / "m.gguf").write_bytes(content)
        return ["m.gguf", "--target=generic", "--emit=report", "-o", "made"]
    return Case(name, slug, make, place)


def more(name, slug, *entries, place="offset"):
    """The model with more metadata."""
    return case(name, slug, gguf([*MODEL, *entries], [EMBEDDING], bytes(N_DATA)), place)


def instead(name, slug, key, entry, place="offset"):
    """The model with one entry replaced, or omitted if None."""
    values = [value for value in MODEL if not value.startswith(gguf_string(key))]
    return case(name, slug, gguf(values + ([entry] if entry else []), [EMBEDDING], bytes(N_DATA)), place)


def tensors(name, slug, *infos, n_data=N_DATA, place="offset"):
    return case(name, slug, gguf(MODEL, infos, bytes(n_data)), place)


def beside(name, slug, info, n_data=2 * N_DATA, place="offset"):
    """A second tensor."""
    return tensors(name, slug, EMBEDDING, info, n_data=n_data, place=place)


def patched(name, slug, at, content, place="offset"):
    return case(name, slug, WHOLE[:at] + content + WHOLE[at + len(content):], place)


def array(kind, n, content=b""):
    return gguf_entry("a", ARRAY, u32(kind) + u64(n) + content)


# A whole model of one layer, whose ternary weights have one 1 a block, and the scale 1.
WIDTH = 256
LAYER = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
BLOCKS = (b"\x56" + b"\x55" * 63 + struct.pack("<e", 1)) * WIDTH


def whole(name, slug, place="file", arguments=("--activations=int8",), leave_out=(), **contents):
    """The whole model, with the bytes of some tensors replaced."""
    sizes = {**NUMBERS, "embedding_length": WIDTH, "feed_forward_length": WIDTH}
    values = [gguf_text("general.architecture", "llama"), gguf_float(EPS, 1e-5)]
    values += [gguf_number("llama." + key, value) for key, value in sizes.items()]
    tensors_of = [("token_embd", [WIDTH, 6], GGML_F32, bytes(4 * 6 * WIDTH))]
    tensors_of += [(norm, [WIDTH], GGML_F32, bytes(4 * WIDTH))
                   for norm in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm")]
    tensors_of += [("blk.0." + part, [WIDTH, WIDTH], GGML_TQ2_0, BLOCKS) for part in LAYER]
    infos, data = [], b""
    for stem, dims, kind, content in tensors_of:
        if stem not in leave_out:
            infos.append(gguf_info(stem + ".weight", dims, kind, len(data)))
            data += contents.get(stem.split(".")[-1], content)
            data += bytes(-len(data) % 32)
    made = case(name, slug, gguf(values, infos, data), place)
    return Case(name, slug, lambda folder: [*made.make(folder), *arguments], place)


HUGE = [("2-to-the-32", 1 << 32), ("2-to-the-61", 1 << 61), ("2-to-the-63", 1 << 63), ("largest", (1 << 64) - 1)]

CASES = [
    *[case(f"cut-at-{at}", "gguf-magic", WHOLE[:at]) for at in (0, 1, 3)],
    *[case(f"cut-at-{at}", "gguf-truncated", WHOLE[:at]) for at in (4, 7, 8, 15, 16, 23)],
    *[case(f"cut-at-{at}", "gguf-count", WHOLE[:at]) for at in (24, 25)],
    *[case(f"cut-{name}", "gguf-truncated", WHOLE[:at])
      for name, at in [("in-the-last-value", INFOS_AT - 1), ("before-the-tensors", INFOS_AT),
                       ("in-a-name", INFOS_AT + 12),
                       ("in-the-dimensions", INFOS_AT + 33), ("in-a-type", INFOS_AT + 47),
                       ("in-an-offset", INFOS_AT + 52),
                       ("in-the-padding", DATA_AT - 1), ("before-the-data", DATA_AT), ("in-the-data", len(WHOLE) - 1)]],
    patched("magic-of-another", "gguf-magic", 0, b"GGML"),
    patched("magic-backwards", "gguf-magic", 0, b"FUGG"),
    *[patched(f"version-{n}", "gguf-version", 4, u32(n)) for n in (0, 1, 2, 4, (1 << 32) - 1)],
    patched("big-endian", "gguf-endian", 4, struct.pack(">I", 3)),
    *[patched(f"tensors-{name}", "gguf-count", 8, u64(n)) for name, n in [("too-many", 1 << 18), *HUGE]],
    *[patched(f"values-{name}", "gguf-count", 16, u64(n)) for name, n in [("too-many", 1 << 16), *HUGE]],
    patched("no-tensors", "gguf-empty", 8, u64(0)),
    patched("a-tensor-more", "gguf-name", 8, u64(4)),
    patched("a-value-too-few", "gguf-shape", 16, u64(len(MODEL) - 1)),

    # keys and values
    *[patched(f"key-length-{name}", "gguf-truncated", VALUES_AT, u64(n)) for name,
      n in [("of-the-file", len(WHOLE)), *HUGE]],
    patched("key-length-0", "gguf-name", VALUES_AT, u64(0)),
    more("key-empty", "gguf-name", gguf_number("", 1)),
    more("key-with-nul", "gguf-name", gguf_number("a\0b", 1)),
    more("key-too-long", "gguf-name", gguf_number("k" * 65536, 1)),
    more("key-twice", "gguf-duplicate", gguf_number("k", 1), gguf_number("k", 1)),
    more("key-twice-of-two-types", "gguf-duplicate", gguf_number("general.architecture", 1)),
    *[more(f"type-{kind}", "gguf-value-type", gguf_entry("a", kind, bytes(8)))
      for kind in (13, 14, 255, (1 << 32) - 1)],
    *[more(f"bool-{value}", "gguf-bool", gguf_entry("a", BOOL, bytes([value]))) for value in (2, 255)],
    more("bools-of-2", "gguf-bool", array(BOOL, 3, bytes([0, 1, 2]))),
    *[more(f"string-length-{name}", "gguf-truncated", gguf_entry("a", STRING, u64(n)), place="offset") for name,
      n in HUGE],
    *[more(f"array-of-{kind}-length-{name}", "gguf-truncated", array(kind, n))
      for kind in (U8, U64, STRING, ARRAY) for name, n in HUGE],
    more("array-of-type-13", "gguf-value-type", array(13, 1)),
    more("arrays-5-deep", "gguf-depth", gguf_entry("a", ARRAY, 6 * (u32(ARRAY) + u64(1)))),
    more("arrays-100000-deep", "gguf-depth", gguf_entry("a", ARRAY, 100000 * (u32(ARRAY) + u64(1)))),
    more("arrays-of-empty-arrays", "gguf-value-type", array(ARRAY, 100000, (u32(U8) + u64(0)) * 99999)),
    *[more(f"alignment-{name}", "gguf-alignment", entry)
      for name, entry in [("0", gguf_number("general.alignment", 0)), ("3", gguf_number("general.alignment", 3)),
                          ("2-to-the-17", gguf_number("general.alignment", 1 << 17)),
                          ("2-to-the-31", gguf_number("general.alignment", 1 << 31)),
                          ("text", gguf_text("general.alignment", "32")),
                          ("wide", gguf_entry("general.alignment", U64, u64(32)))]],

    more("rotation-without-version", "gguf-rotation", gguf_number("prism.hadamard.block_size", 128)),
    *[more(f"key-unknown-{name}", "gguf-unsupported", gguf_number(key, 1))
      for name, key in [("prism", "prism.mean_center.size"), ("general", "general.activation_transform"),
                        ("tokenizer", "tokenizer.ggml.normalizer.lowercase"), ("ours", "llama.rotation"),
                        ("of-another-architecture", "qwen3.block_count"), ("without-a-space", "rotation"),
                        ("hostile", "x\x1b[31m\n%s%n")]],

    # tensors
    tensors("name-empty", "gguf-name", gguf_info("", [4, 6], GGML_F32, 0)),
    tensors("name-with-nul", "gguf-name", gguf_info("a\0", [4, 6], GGML_F32, 0)),
    tensors("name-too-long", "gguf-name", gguf_info("n" * 256, [4, 6], GGML_F32, 0)),
    *[patched(f"name-length-{name}", "gguf-truncated", INFOS_AT, u64(n)) for name, n in HUGE],
    tensors("no-dimensions", "gguf-shape", gguf_info("token_embd.weight", [], GGML_F32, 0)),
    *[patched(f"dimensions-{n}", "gguf-shape", INFOS_AT + 25, u32(n)) for n in (0, 9, 255, (1 << 32) - 1)],
    *[tensors(f"dimension-{name}", "gguf-shape", gguf_info("token_embd.weight", dims, GGML_F32, 0))
      for name, dims in [("0", [0, 6]), ("0-rows", [4, 0]), ("product-2-to-the-64", [1 << 32, 1 << 32]),
                         ("bytes-2-to-the-64", [1 << 31, 1 << 31]), ("largest", [(1 << 64) - 1, 2])]],
    tensors("dimension-too-large", "gguf-truncated", gguf_info("token_embd.weight", [4, 7], GGML_F32, 0)),
    tensors("dimension-far-too-large", "gguf-truncated", gguf_info("token_embd.weight", [1 << 60], GGML_F32, 0)),
    beside("rows-of-no-blocks", "gguf-shape", gguf_info("output.weight", [255, 6], GGML_TQ2_0, 96)),
    beside("rows-of-0-blocks", "gguf-shape", gguf_info("output.weight", [0, 6], GGML_TQ1_0, 96)),
    *[beside(f"tensor-type-{kind}", "gguf-type", gguf_info("output.weight", [256, 1], kind, 96))
      for kind in (4, 5, 31, 1000, (1 << 31), (1 << 32) - 1)],
    *[beside(f"offset-{name}", "gguf-truncated", gguf_info("output.weight", [4, 6], GGML_F32, n))
      for name, n in [("past-the-end", 2 * N_DATA), *HUGE]],
    beside("offset-that-wraps", "gguf-truncated", gguf_info("output.weight", [4, 6], GGML_F32, (1 << 64) - 96)),
    beside("offset-of-another", "gguf-overlap", gguf_info("output.weight", [4, 6], GGML_F32, 0), N_DATA),
    beside("offset-inside-another", "gguf-overlap", gguf_info("output.weight", [4, 6], GGML_F32, 64)),
    beside("offset-behind-a-hole", "gguf-hole", gguf_info("output.weight", [4, 6], GGML_F32, 128), 256),
    tensors("offset-of-the-first", "gguf-hole", gguf_info("token_embd.weight", [4, 6], GGML_F32, 32), n_data=128),
    tensors("unsorted-with-a-hole", "gguf-hole", gguf_info("output.weight", [4, 6], GGML_F32, 128), EMBEDDING,
            n_data=256),
    beside("tensor-twice", "gguf-duplicate", gguf_info("token_embd.weight", [4, 6], GGML_F32, 96), place="file"),
    case("bytes-behind", "gguf-trailing", WHOLE + bytes(1)),
    case("another-file-behind", "gguf-trailing", WHOLE + WHOLE),

    # the metadata of a model
    instead("no-architecture", "gguf-missing", "general.architecture", None, "file"),
    instead("architecture-is-a-number", "gguf-architecture", "general.architecture",
            gguf_number("general.architecture", 1)),
    instead("architecture-hostile", "gguf-architecture", "general.architecture",
            gguf_text("general.architecture", "\x1b[31m%s%n\0" + "x" * 100000)),
    instead("architecture-not-utf-8", "gguf-architecture", "general.architecture",
            gguf_text("general.architecture", b"\xff\xfe\x80")),
    *[instead(f"no-{key}", "gguf-missing", "llama." + key, None, "file") for key in NUMBERS],
    *[instead(f"{key}-is-{name}", "gguf-field", "llama." + key, gguf_entry("llama." + key, kind, content))
      for key in NUMBERS
      for name, kind, content in [("0", U32, u32(0)), ("negative", I32, u32((1 << 32) - 1)),
                                  ("largest", U32, u32((1 << 32) - 1)),
                                  ("2-to-the-63", U64, u64(1 << 63)), ("most-negative", I64, u64(1 << 63)),
                                  ("nan", F32, u32(0x7fc00000)), ("inf", F64, u64(0x7ff << 52)),
                                  ("a-fraction", F32, struct.pack("<f", 1.5)), ("text", STRING, gguf_string("4")),
                                  ("an-array", ARRAY, u32(U32) + u64(1) + u32(4))]],
    instead("no-eps", "gguf-missing", EPS, None, "file"),
    *[instead(f"eps-is-{name}", "gguf-field", EPS, gguf_entry(EPS, kind, content))
      for name, kind, content in [("0", F32, u32(0)), ("negative", F32, struct.pack("<f", -1)),
                                  ("nan", F32, u32(0x7fc00000)),
                                  ("inf", F32, u32(0x7f800000)), ("tiny", F64, struct.pack("<d", 1e-300)),
                                  ("text", STRING, gguf_string("1e-5"))]],
    *[more(f"theta-is-{name}", "gguf-field", gguf_entry("llama.rope.freq_base", F32, content))
      for name, content in [("0", u32(0)), ("negative", struct.pack("<f", -1)), ("nan", u32(0xffc00000)),
                            ("inf", u32(0x7f800000))]],
    more("heads-do-not-divide", "gguf-heads", gguf_number("llama.attention.head_count_kv", 3), place="file"),
    more("head-dim-odd", "gguf-heads", gguf_number("llama.attention.key_length", 3), place="file"),
    more("vocab-of-another", "gguf-field", gguf_number("llama.vocab_size", 7)),
    *[more(f"bos-is-{name}", "gguf-token", gguf_entry("tokenizer.ggml.bos_token_id", kind, content))
      for name, kind, content in [("past-the-vocabulary", U32, u32(6)), ("largest", U32, u32((1 << 32) - 1)),
                                  ("negative", I32, u32((1 << 32) - 1)),
                                  ("nan", F32, u32(0x7fc00000)), ("text", STRING, gguf_string("1"))]],
    instead("more-layers-than-tensors", "graph-layers", "llama.block_count", gguf_number("llama.block_count", 1000),
            "file"),
    tensors("without-embedding", "gguf-missing", gguf_info("blk.0.attn_q.weight", [4, 6], GGML_F32, 0), place="file"),
    tensors("embedding-as-f16", "gguf-trailing", gguf_info("token_embd.weight", [4, 6], GGML_F16, 0)),
    *[whole(f"without-{stem}", "graph-missing-tensor", leave_out=[stem])
      for stem in ["output_norm", "blk.0.attn_norm", *["blk.0." + part for part in LAYER]]],
    *[whole(f"block-scale-{name}", "scale-value", "tensor", ffn_up=(BLOCKS[:64] + content) * WIDTH)
      for name, content in [("nan", b"\0\x7e"), ("inf", b"\0\x7c"), ("negative", b"\0\xbc")]],
    whole("block-code-3", "ternary-code", "tensor", ffn_up=b"\xff" + BLOCKS[1:]),
    whole("norm-nan", "tensor-not-finite", "tensor", ffn_norm=b"\0\0\xc0\x7f" * WIDTH),
    whole("activations-of-no-kind", "gguf-activations", "offset", arguments=()),
    case("without-layers", "graph-missing-tensor", WHOLE, "file"),
]
