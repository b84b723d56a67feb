"""Writes a random Qwen3.5 text model of ternary weights: FOLDER/hf has safetensors of float16, and FOLDER/TYPE.gguf the
model as llama.cpp's converter stores it, with the gguf library:

    gguf_qwen35.py FOLDER [--state DIM] [--rotate] [--extra] [--list] [--wrong WHAT]

DIM is the size of key and value heads (64). --rotate stores the weights rotated in blocks of 1, by signs alone, so that
results have equal bits. --extra appends a block that predicts several tokens. --list says which blocks are recurrent.
--wrong spoils the GGUF file: "order" leaves value heads in the order of Hugging Face, "grouped" says that the columns of
a rotated ssm_out are in llama.cpp's order, "rate" stores a decay above 0, "taps" asks for a convolution of 5, "heads"
for 5 value heads.
"""
import argparse
import json
import pathlib

import gguf
import numpy as np

from ternary_blocks import blocks

HIDDEN, HEADS, KV_HEADS, HEAD_DIM, ROTARY, FFN, VOCAB, LAYERS = 256, 2, 1, 64, 16, 384, 50, 4
KEY_HEADS, VALUE_HEADS = 2, 6
TYPES = {"Q2_0": (42, 64), "PQ2_0": (142, 128), "PTQ1_0": (143, 128)}
NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
         "input_layernorm": "attn_norm", "post_attention_layernorm": "post_attention_norm",
         "linear_attn.in_proj_qkv": "attn_qkv", "linear_attn.in_proj_z": "attn_gate",
         "linear_attn.in_proj_b": "ssm_beta", "linear_attn.in_proj_a": "ssm_alpha",
         "linear_attn.conv1d": "ssm_conv1d", "linear_attn.norm": "ssm_norm", "linear_attn.out_proj": "ssm_out"}
ENDS = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("--state", type=int, default=64)
parser.add_argument("--rotate", action="store_true")
parser.add_argument("--extra", action="store_true")
parser.add_argument("--list", action="store_true")
parser.add_argument("--wrong", choices=["order", "grouped", "rate", "taps", "heads"])
args = parser.parse_args()
random = np.random.default_rng(35)
KEYS, VALUES = KEY_HEADS * args.state, VALUE_HEADS * args.state
# The place in the file of every value head.
TILED = np.arange(VALUE_HEADS).reshape(KEY_HEADS, -1).T.reshape(-1)
if args.wrong == "order":
    TILED = np.arange(VALUE_HEADS)


def tile(weights, begin=0):
    """Rows, but the first ones, in llama.cpp's order of value heads."""
    heads = weights[begin:].reshape(VALUE_HEADS, -1, *weights.shape[1:])
    return np.concatenate([weights[:begin], heads[TILED].reshape(weights[begin:].shape)])


def ternary(rows, cols):
    choices = np.array([0.01, 0.02, 0.05, 0.08], np.float16)
    return random.integers(-1, 2, (rows, cols)).astype(np.int8), random.choice(choices, (rows, cols // 128))


def dense(*shape, dtype=np.float16, scale=1.0):
    return random.normal(0, scale, shape).astype(dtype)


def floats(weights):
    if isinstance(weights, tuple):
        return weights[0].astype(np.float16) * np.repeat(weights[1], 128, axis=1)
    return weights


model = {"model.embed_tokens": dense(VOCAB, HIDDEN), "model.norm": dense(HIDDEN, scale=0.1),
         "lm_head": dense(VOCAB, HIDDEN)}
for i in range(LAYERS):
    layer = "model.layers.%d." % i
    model.update({layer + "input_layernorm": dense(HIDDEN, scale=0.1),
                  layer + "post_attention_layernorm": dense(HIDDEN, scale=0.1),
                  layer + "mlp.gate_proj": ternary(FFN, HIDDEN), layer + "mlp.up_proj": ternary(FFN, HIDDEN),
                  layer + "mlp.down_proj": ternary(HIDDEN, FFN)})
    if (i + 1) % 4 == 0:
        layer += "self_attn."
        model.update({layer + "q_proj": ternary(2 * HEADS * HEAD_DIM, HIDDEN),
                      layer + "k_proj": ternary(KV_HEADS * HEAD_DIM, HIDDEN),
                      layer + "v_proj": ternary(KV_HEADS * HEAD_DIM, HIDDEN),
                      layer + "o_proj": ternary(HIDDEN, HEADS * HEAD_DIM), layer + "q_norm": dense(HEAD_DIM, scale=0.1),
                      layer + "k_norm": dense(HEAD_DIM, scale=0.1)})
        continue
    layer += "linear_attn."
    model.update({layer + "in_proj_qkv": ternary(2 * KEYS + VALUES, HIDDEN), layer + "in_proj_z": ternary(VALUES, HIDDEN),
                  layer + "in_proj_b": dense(VALUE_HEADS, HIDDEN, scale=0.1),
                  layer + "in_proj_a": dense(VALUE_HEADS, HIDDEN, scale=0.1),
                  layer + "conv1d": dense(2 * KEYS + VALUES, 1, 4), layer + "norm": dense(args.state),
                  layer + "A_log": dense(VALUE_HEADS, dtype=np.float32), layer + "dt_bias": dense(VALUE_HEADS),
                  layer + "out_proj": ternary(HIDDEN, VALUES)})


def stored_weights(name, weights):
    """As the GGUF file has them."""
    end = name.split(".")[-1]
    if end in ("in_proj_qkv", "in_proj_z"):
        return tuple(tile(part, 2 * KEYS if end == "in_proj_qkv" else 0) for part in weights)
    if end == "conv1d":
        return tile(weights, 2 * KEYS).reshape(-1, 4).astype(np.float32)
    if end in ("in_proj_a", "in_proj_b"):
        return tile(weights)
    if end == "A_log":
        rates = -np.exp(weights.astype(np.float64))
        return tile(-rates if args.wrong == "rate" else rates).astype(np.float32)
    if end == "dt_bias":
        return tile(weights).astype(np.float32)
    if "norm" in end and "linear_attn" not in name:
        return weights.astype(np.float32) + np.float32(1)
    return weights.astype(np.float32) if end == "norm" else weights


# The columns of ssm_out: heads in the order of the file have a scale for each 128 columns of the file.
STORED_OUT = {name: weights for name, weights in model.items() if name.endswith("out_proj")}
if not args.rotate:
    for name, (codes, scales) in STORED_OUT.items():
        wide = (codes.astype(np.float16) * np.repeat(scales, 128, axis=1)).reshape(HIDDEN, VALUE_HEADS, -1)
        back = np.empty_like(wide)
        back[:, TILED] = wide
        model[name] = back.reshape(HIDDEN, VALUES)

folder = args.folder / "hf"
folder.mkdir(parents=True)
(folder / "config.json").write_text(json.dumps({
    "architectures": ["Qwen3_5ForCausalLM"], "model_type": "qwen3_5_text", "hidden_size": HIDDEN,
    "intermediate_size": FFN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM, "vocab_size": VOCAB, "max_position_embeddings": 256,
    "rms_norm_eps": 1e-6, "hidden_act": "silu", "attention_bias": False, "tie_word_embeddings": False,
    "linear_conv_kernel_dim": 4, "linear_key_head_dim": args.state, "linear_num_key_heads": KEY_HEADS,
    "linear_num_value_heads": VALUE_HEADS, "linear_value_head_dim": args.state, "torch_dtype": "float16",
    "rope_parameters": {"rope_theta": 1000000.0, "partial_rotary_factor": ROTARY / HEAD_DIM, "rope_type": "default"}}))
header, data = {}, b""
for name, weights in model.items():
    raw = floats(weights)
    name += "" if name.endswith(("A_log", "dt_bias")) else ".weight"
    header[name] = {"dtype": "F32" if raw.dtype == np.float32 else "F16", "shape": list(raw.shape),
                    "data_offsets": [len(data), len(data) + raw.nbytes]}
    data += raw.tobytes()
text = json.dumps(header).encode()
(folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)


def stored_name(name):
    if name in ENDS:
        return ENDS[name] + ".weight"
    number, rest = name.split(".", 3)[2:]
    vectors = {"linear_attn.A_log": "ssm_a", "linear_attn.dt_bias": "ssm_dt.bias"}
    return "blk.%s.%s" % (number, vectors.get(rest) or NAMES[rest] + ".weight")


stored = {stored_name(name): STORED_OUT[name] if name in STORED_OUT else stored_weights(name, weights)
          for name, weights in model.items()}
rotated = [name for name, weights in stored.items() if isinstance(weights, tuple)]
widths = sorted({stored[name][0].shape[1] for name in rotated})
signs = {width: np.random.default_rng(width).choice(np.array([-1, 1], np.int8), width) for width in widths}
if args.rotate:
    stored.update({name: (stored[name][0] * signs[stored[name][0].shape[1]], stored[name][1]) for name in rotated})
    stored["token_embd.weight"] = stored["token_embd.weight"] * signs[HIDDEN].astype(np.float16)
if args.extra:
    stored["blk.%d.nextn.eh_proj.weight" % LAYERS] = dense(HIDDEN, 2 * HIDDEN)
    stored["blk.%d.attn_norm.weight" % LAYERS] = dense(HIDDEN, dtype=np.float32)

for kind, (number, items) in TYPES.items():
    writer = gguf.GGUFWriter(args.folder / (kind + ".gguf"), "qwen35")
    writer.add_block_count(LAYERS + args.extra)
    writer.add_context_length(256)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    writer.add_rope_freq_base(1000000.0)
    writer.add_rope_dimension_count(ROTARY)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_array("qwen35.rope.dimension_sections", [3, 3, 2, 0])
    writer.add_uint32("qwen35.ssm.conv_kernel", 5 if args.wrong == "taps" else 4)
    writer.add_uint32("qwen35.ssm.state_size", args.state)
    writer.add_uint32("qwen35.ssm.group_count", KEY_HEADS)
    writer.add_uint32("qwen35.ssm.time_step_rank", 5 if args.wrong == "heads" else VALUE_HEADS)
    writer.add_uint32("qwen35.ssm.inner_size", VALUES)
    if args.list:
        writer.add_array("qwen35.attention.recurrent_layers", [(i + 1) % 4 != 0 for i in range(LAYERS + args.extra)])
        writer.add_uint32("qwen35.full_attention_interval", 2)
    else:
        writer.add_uint32("qwen35.full_attention_interval", 4)
    if args.extra:
        writer.add_uint32("qwen35.nextn_predict_layers", 1)
    if args.rotate:
        writer.add_uint32("prism.hadamard.version", 1)
        writer.add_uint32("prism.hadamard.block_size", 1)
        writer.add_string("prism.hadamard.transform", "normalized-sylvester-walsh-hadamard")
        writer.add_string("prism.hadamard.axis", "input-last-dimension")
        writer.add_string("prism.hadamard.sign_mode", "explicit")
        writer.add_array("prism.hadamard.weight_names", rotated)
        writer.add_array("prism.hadamard.inverse_weight_names", ["token_embd.weight"])
        writer.add_bool("prism.hadamard.gdn_v_grouped", args.wrong != "grouped")
        writer.add_array("prism.hadamard.sign_widths", widths)
        writer.add_array("prism.hadamard.sign_values", [int(s) for width in widths for s in signs[width]])
    for name, weights in stored.items():
        if isinstance(weights, tuple):
            raw = blocks(weights, kind, items)
            writer.add_tensor_info(name, weights[0].shape, np.dtype(np.float32), raw.nbytes, number)
            writer.tensors[-1][name].tensor = raw
        else:
            writer.add_tensor(name, np.ascontiguousarray(weights))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
