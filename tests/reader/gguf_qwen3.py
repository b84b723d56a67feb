"""Writes a random Qwen3 model with a scale for every 128 weights of a row, like Ternary-Bonsai: FOLDER/hf has
safetensors of float16, and FOLDER/TYPE.gguf each type of GGUF that can hold the model, with the gguf library:

    gguf_qwen3.py FOLDER [--ternary-head | --tied]

With --tied the embedding is ternary and the head.
"""
import argparse
import json
import pathlib

import gguf
import numpy as np

HIDDEN, HEADS, KV_HEADS, HEAD_DIM, FFN, VOCAB, LAYERS = 256, 2, 1, 64, 384, 50, 2
TYPES = {"Q2_0": (42, 64), "Q2_0-128": (42, 128), "PQ2_0": (142, 128)}
NAMES = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "q_norm": "attn_q_norm",
         "k_norm": "attn_k_norm", "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
         "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
ENDS = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("--ternary-head", action="store_true")
parser.add_argument("--tied", action="store_true")
args = parser.parse_args()
random = np.random.default_rng(5)


def ternary(rows, cols):
    scales = random.choice(np.array([0.01, 0.02, 0.05, 0.08], np.float16), (rows, cols // 128))
    return random.integers(-1, 2, (rows, cols)).astype(np.int8), scales


def dense(*shape):
    return random.normal(0, 1, shape).astype(np.float16)


def floats(weights):
    if isinstance(weights, tuple):
        return weights[0].astype(np.float16) * np.repeat(weights[1], 128, axis=1)
    return weights


def blocks(weights, items):
    codes, scales = weights
    d = np.repeat(scales, 128 // items, axis=1).reshape(-1, 1)
    packed = (codes + 1).astype(np.uint8).reshape(len(d), -1, 4) << np.array([0, 2, 4, 6], np.uint8)
    return np.hstack([d.view(np.uint8), np.bitwise_or.reduce(packed, axis=2)])


model = {"model.embed_tokens": dense(VOCAB, HIDDEN), "model.norm": dense(HIDDEN),
         "lm_head": ternary(VOCAB, HIDDEN) if args.ternary_head else dense(VOCAB, HIDDEN)}
if args.tied:
    model["model.embed_tokens"] = ternary(VOCAB, HIDDEN)
    del model["lm_head"]
for i in range(LAYERS):
    attention, mlp = "model.layers.%d.self_attn." % i, "model.layers.%d.mlp." % i
    model.update({
        "model.layers.%d.input_layernorm" % i: dense(HIDDEN), "model.layers.%d.post_attention_layernorm" % i: dense(HIDDEN),
        attention + "q_proj": ternary(HEADS * HEAD_DIM, HIDDEN), attention + "k_proj": ternary(KV_HEADS * HEAD_DIM, HIDDEN),
        attention + "v_proj": ternary(KV_HEADS * HEAD_DIM, HIDDEN), attention + "o_proj": ternary(HIDDEN, HEADS * HEAD_DIM),
        attention + "q_norm": dense(HEAD_DIM), attention + "k_norm": dense(HEAD_DIM),
        mlp + "gate_proj": ternary(FFN, HIDDEN), mlp + "up_proj": ternary(FFN, HIDDEN), mlp + "down_proj": ternary(HIDDEN, FFN)})

folder = args.folder / "hf"
folder.mkdir(parents=True)
(folder / "config.json").write_text(json.dumps({
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": HIDDEN, "intermediate_size": FFN,
    "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM,
    "vocab_size": VOCAB, "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
    "hidden_act": "silu", "attention_bias": False, "tie_word_embeddings": args.tied, "torch_dtype": "float16"}))
header, data = {}, b""
for name, weights in model.items():
    raw = floats(weights).astype(np.float16)
    header[name + ".weight"] = {"dtype": "F16", "shape": list(raw.shape), "data_offsets": [len(data), len(data) + raw.nbytes]}
    data += raw.tobytes()
text = json.dumps(header).encode()
(folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)

for kind, (number, items) in TYPES.items():
    writer = gguf.GGUFWriter(args.folder / (kind + ".gguf"), "qwen3")
    writer.add_block_count(LAYERS)
    writer.add_context_length(256)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    writer.add_rope_freq_base(1000000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    for name, weights in model.items():
        parts = name.split(".")
        stored = (ENDS[name] if name in ENDS else "blk.%s.%s" % (parts[2], NAMES[parts[-1]])) + ".weight"
        if isinstance(weights, tuple):
            raw = blocks(weights, items)
            writer.add_tensor_info(stored, weights[0].shape, np.dtype(np.float32), raw.nbytes, number)
            writer.tensors[-1][stored].tensor = raw
        else:
            writer.add_tensor(stored, weights.astype(np.float32) if weights.ndim == 1 else weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
