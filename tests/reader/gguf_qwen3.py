"""Writes a random Qwen3 model with a scale for every 128 weights of a row, like Ternary-Bonsai: FOLDER/hf has
safetensors of float16, and FOLDER/TYPE.gguf each type of GGUF that can hold the model, with the gguf library:

    gguf_qwen3.py FOLDER [--ternary-head | --tied] [--sparse] [--spoil HOW] [--rotate BLOCK [--only NAMES] [--plain] [--wrong WHAT]]

With --tied the embedding is ternary and the head. With --sparse every fourth weight is 0 as STQ1_0 wants it, and a scale
is that of 256 weights. --spoil spoils the first layer's q in the files of GGUF: "scale" makes its first scale negative,
"byte" sets its first byte of codes to one that no writer makes (of two bits: code 3). --rotate says in the files of GGUF that embedding, head and linear layers (or those of NAMES alone,
"q_proj,head") are stored rotated, with signs that FOLDER/signs.WIDTH has, or, with --plain, without signs; --wrong makes one of these keys wrong.
"""
import argparse
import json
import pathlib

import gguf
import numpy as np

from ternary_blocks import blocks

HIDDEN, HEADS, KV_HEADS, HEAD_DIM, FFN, VOCAB, LAYERS = 256, 2, 1, 64, 384, 50, 2
TYPES = {"Q2_0": (42, 64), "Q2_0-128": (42, 128), "PQ2_0": (142, 128), "PTQ1_0": (143, 128)}
NAMES = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "q_norm": "attn_q_norm",
         "k_norm": "attn_k_norm", "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
         "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
ENDS = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("--ternary-head", action="store_true")
parser.add_argument("--tied", action="store_true")
parser.add_argument("--sparse", action="store_true")
parser.add_argument("--spoil", choices=["scale", "byte"])
parser.add_argument("--rotate", type=int, default=0)
parser.add_argument("--only", default=",".join(NAMES) + ",lm_head")
parser.add_argument("--plain", action="store_true")
parser.add_argument("--wrong", choices=["version", "block", "signs", "name"])
args = parser.parse_args()
random = np.random.default_rng(5)
if args.sparse:
    HEADS, FFN = 4, 512
    TYPES["STQ1_0"] = (43, 256)


def ternary(rows, cols):
    choices = np.array([0.01, 0.02, 0.05, 0.08], np.float16)
    if not args.sparse:
        return random.integers(-1, 2, (rows, cols)).astype(np.int8), random.choice(choices, (rows, cols // 128))
    fours = random.choice(np.array([-1, 1], np.int8), (rows, cols // 64, 4, 16))
    np.put_along_axis(fours, random.integers(0, 4, (rows, cols // 64, 1, 16)), 0, axis=2)
    return fours.reshape(rows, cols), np.repeat(random.choice(choices, (rows, cols // 256)), 2, axis=1)


def dense(*shape):
    return random.normal(0, 1, shape).astype(np.float16)


def floats(weights):
    if isinstance(weights, tuple):
        return weights[0].astype(np.float16) * np.repeat(weights[1], 128, axis=1)
    return weights


def spoil(raw, kind):
    is_behind = kind in ("PTQ1_0", "STQ1_0")
    if args.spoil == "scale":
        raw[0, -1 if is_behind else 1] |= 0x80
    if args.spoil == "byte":
        raw[0, 0 if is_behind else 2] = 0xed


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

def stored_name(name):
    parts = name.split(".")
    return (ENDS[name] if name in ENDS else "blk.%s.%s" % (parts[2], NAMES[parts[-1]])) + ".weight"


def add_rotation(writer):
    """The keys of PrismML's converter."""
    rotated = [name for name, weights in model.items() if name.split(".")[-1] in args.only.split(",") and
               name.split(".")[-1] != "embed_tokens" and "norm" not in name]
    widths = sorted({floats(model[name]).shape[1] for name in rotated} | {HIDDEN})
    signs = {width: np.random.default_rng(width).choice([-1, 1], width) for width in widths}
    if args.plain:
        signs = {width: np.ones(width, np.int64) for width in widths}
    for width in widths:
        (args.folder / ("signs.%d" % width)).write_bytes(signs[width].astype(np.int8).tobytes())
    names, values = [stored_name(name) for name in rotated], [int(s) for width in widths for s in signs[width]]
    names += ["output_norm.weight"] if args.wrong == "name" else []
    values[5] = 0 if args.wrong == "signs" else values[5]
    writer.add_uint32("prism.hadamard.version", 3 if args.wrong == "version" else 2 if args.tied else 1)
    writer.add_uint32("prism.hadamard.block_size", 96 if args.wrong == "block" else args.rotate)
    writer.add_string("prism.hadamard.transform", "normalized-sylvester-walsh-hadamard")
    writer.add_string("prism.hadamard.axis", "input-last-dimension")
    writer.add_string("prism.hadamard.sign_mode", "identity" if args.plain else "explicit")
    writer.add_array("prism.hadamard.weight_names", names)
    writer.add_array("prism.hadamard.inverse_weight_names", ["token_embd.weight"])
    writer.add_bool("prism.hadamard.gdn_v_grouped", True)
    if args.tied:
        writer.add_bool("prism.hadamard.tied_output", True)
    if not args.plain:
        writer.add_array("prism.hadamard.sign_widths", widths)
        writer.add_array("prism.hadamard.sign_values", values)


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
    if args.rotate:
        add_rotation(writer)
    for name, weights in model.items():
        stored = stored_name(name)
        if isinstance(weights, tuple):
            raw = blocks(weights, kind, items)
            if stored == "blk.0.attn_q.weight":
                spoil(raw, kind)
            writer.add_tensor_info(stored, weights[0].shape, np.dtype(np.float32), raw.nbytes, number)
            writer.tensors[-1][stored].tensor = raw
        else:
            writer.add_tensor(stored, weights.astype(np.float32) if weights.ndim == 1 else weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
