"""usage: peers_gguf.py TYPE LAYERS FILE: a GGUF file of bitnet-2b-4t's shape with random ternary weights in a type of
another engine: iq2_bn or iq2_bn_r4 (ik_llama.cpp), i2_s or tl2 (bitnet.cpp). The head is the embedding, in Q6_K, which
these engines read whole for each step. Needs the package gguf of PyPI.
"""
import sys

HIDDEN, FFN, HEADS, KV_HEADS, HEAD_DIM, VOCAB, CONTEXT = 2560, 6912, 20, 5, 128, 128256, 4096
KV_DIM = KV_HEADS * HEAD_DIM
ALIGNED = 32


def two_bits(rows, cols):
    return rows * cols // 4


def five_bits_for_three(rows, cols):
    """Bytes of codes: five bits for three weights, but four bits for two weights in 256 of the
    columns."""
    return -(-((cols - 256) * rows // 3 * 5 // 8 + 256 * rows // 2 * 4 // 8) // ALIGNED) * ALIGNED


# The type's number in a file, the bytes of a matrix's codes, and how many rows have their scales before their codes:
# with 0, one scale for all rows follows the codes, padded to ALIGNED bytes.
TYPES = {"iq2_bn": (135, two_bits, 1), "iq2_bn_r4": (335, two_bits, 4), "i2_s": (36, two_bits, 0),
         "tl2": (39, five_bits_for_three, 0)}
F32, Q6_K, Q6_K_WEIGHTS, Q6_K_BYTES = 0, 14, 256, 210
SCALE = 0.02

MATRICES = (("attn_q", HIDDEN, HIDDEN), ("attn_k", KV_DIM, HIDDEN), ("attn_v", KV_DIM, HIDDEN),
            ("attn_output", HIDDEN, HIDDEN), ("ffn_gate", FFN, HIDDEN), ("ffn_up", FFN, HIDDEN), ("ffn_down", HIDDEN, FFN))
NORMS = (("attn_norm", HIDDEN), ("attn_sub_norm", HIDDEN), ("ffn_norm", HIDDEN), ("ffn_sub_norm", FFN))


def tensors(kind, layers):
    """Name, shape, number of the type, bytes, and the function that makes the bytes."""
    def norm(np, _, size):
        return np.ones(size // 4, np.float32)

    def head(np, rng, size):
        blocks = rng.integers(0, 256, (size // Q6_K_BYTES, Q6_K_BYTES), np.uint8)
        blocks[:, -2:] = np.array([1e-4], np.float16).view(np.uint8)
        return blocks

    def matrix(np, rng, size, rows, scaled):
        codes = np.array([a + 4 * b + 16 * c + 64 * d for a in range(3) for b in range(3) for c in range(3)
                          for d in range(3)], np.uint8)
        data = codes[rng.integers(0, len(codes), size, np.uint8)]
        scale = np.full(max(scaled, 1), SCALE, np.float32).view(np.uint8)
        if scaled:
            data.reshape(rows // scaled, -1)[:, :len(scale)] = scale
        else:
            data[-ALIGNED:-ALIGNED + len(scale)] = scale
        return data

    yield "token_embd", (VOCAB, HIDDEN), Q6_K, VOCAB * HIDDEN // Q6_K_WEIGHTS * Q6_K_BYTES, head
    yield "output_norm", (HIDDEN,), F32, HIDDEN * 4, norm
    number, size_of, scaled = TYPES[kind]
    for layer in range(layers):
        for name, width in NORMS:
            yield f"blk.{layer}.{name}", (width,), F32, width * 4, norm
        for name, rows, cols in MATRICES:
            size = size_of(rows, cols) + (rows * 4 if scaled else ALIGNED)
            yield (f"blk.{layer}.{name}", (rows, cols), number, size,
                   lambda np, rng, size, rows=rows: matrix(np, rng, size, rows, scaled))


def kv_bytes(layers, positions):
    """Bytes of keys and values in 16 bits."""
    return 2 * 2 * layers * KV_DIM * positions


def write(kind, layers, path):
    import gguf
    import numpy as np
    writer = gguf.GGUFWriter(path, "bitnet-b1.58")
    writer.add_block_count(layers)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_rope_freq_base(500000.0)
    writer.add_vocab_size(VOCAB)
    writer.add_tokenizer_model("no_vocab")
    for name, shape, number, size, _ in tensors(kind, layers):
        writer.add_tensor_info(name + ".weight", shape, np.dtype(np.int8), size, number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.default_rng(1)
    for _, _, _, size, make in tensors(kind, layers):
        writer.write_tensor_data(make(np, rng, size))
    writer.close()


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in TYPES:
        sys.exit(__doc__)
    write(sys.argv[1], int(sys.argv[2]), sys.argv[3])
