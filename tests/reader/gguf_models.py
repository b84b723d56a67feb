"""Writes a checkpoint of rsr-mkmodel as GGUF, with the gguf library and in the way of llama.cpp's converter:

    gguf_models.py FOLDER OUT.gguf TYPE [--scale-tensors] [--float F32] [--break HOW]

TYPE is TQ1_0 or TQ2_0. Scales are in the blocks, which float16 must hold exactly, or, with --scale-tensors,
beside them. Embedding and head stay BF16 or become F32. --break spoils the weights of the first q: "groups"
doubles the scale of its last row, "dtype" stores it as F16.
"""
import argparse
import json
import pathlib

import gguf
import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("out")
parser.add_argument("type", choices=["TQ1_0", "TQ2_0"])
parser.add_argument("--scale-tensors", action="store_true")
parser.add_argument("--float", dest="float_type", choices=["BF16", "F32"], default="BF16")
parser.add_argument("--break", dest="how", choices=["groups", "dtype"])
args = parser.parse_args()

config = json.loads((args.folder / "config.json").read_text())
is_llama = config["model_type"] == "llama"
n_heads, n_kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
block_type = gguf.GGMLQuantizationType[args.type]


def read_safetensors(path):
    data = path.read_bytes()
    n = int.from_bytes(data[:8], "little")
    for name, entry in json.loads(data[8:8 + n]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        raw = np.frombuffer(data[8 + n + begin:8 + n + end], dtype=np.uint8)
        width = 1 if entry["dtype"] == "U8" else 2
        assert entry["dtype"] in ("U8", "BF16")
        yield name, raw.reshape(entry["shape"][:-1] + [entry["shape"][-1] * width])


def bf16_to_float(raw):
    return (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


tensors = dict(read_safetensors(args.folder / "model.safetensors"))
MODULES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.attn_sub_norm": "attn_sub_norm", "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.ffn_sub_norm": "ffn_sub_norm", "mlp.down_proj": "ffn_down"}
ENDS = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def gguf_name(module):
    if module in ENDS:
        return ENDS[module]
    _, _, block, rest = module.split(".", 3)
    return "blk.%s.%s" % (block, MODULES[rest])


def permute(weights, heads):
    """From rotation by halves to rotation by neighbours, head by head."""
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weights.shape)


def add_linear(writer, module, packed, stored_scale):
    weights = np.concatenate([(packed >> (2 * i)) & 3 for i in range(4)]).astype(np.float32) - 1
    scale = np.float32(1 / np.float64(stored_scale)) if is_llama else np.float32(stored_scale)
    if is_llama and module.endswith("q_proj"):
        weights = permute(weights, n_heads)
    if is_llama and module.endswith("k_proj"):
        weights = permute(weights, n_kv_heads)
    name = gguf_name(module)
    if args.scale_tensors:
        writer.add_tensor(name + ".scale", np.array([scale], dtype=np.float32))
        scale = np.float32(1)
    assert np.float32(np.float16(scale)) == scale
    weights = weights * scale
    how = args.how if module.endswith("layers.0.self_attn.q_proj") else None
    if how == "groups":
        weights[-1] *= 2
    if how == "dtype":
        writer.add_tensor(name + ".weight", weights.astype(np.float16))
        return
    writer.add_tensor(name + ".weight", gguf.quants.quantize(weights, block_type), raw_dtype=block_type)


architecture = "llama" if is_llama else "bitnet"
writer = gguf.GGUFWriter(args.out, architecture)
writer.add_block_count(config["num_hidden_layers"])
writer.add_context_length(config["max_position_embeddings"])
writer.add_embedding_length(config["hidden_size"])
writer.add_feed_forward_length(config["intermediate_size"])
writer.add_head_count(n_heads)
writer.add_head_count_kv(n_kv_heads)
writer.add_key_length(config["head_dim"])
writer.add_value_length(config["head_dim"])
writer.add_rope_dimension_count(config["head_dim"])
writer.add_rope_freq_base(config["rope_theta"])
writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
writer.add_vocab_size(config["vocab_size"])
writer.add_file_type(gguf.LlamaFileType["MOSTLY_" + args.type])
if is_llama:
    writer.add_rope_scaling_type(gguf.RopeScalingType.NONE)
else:
    writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(1.0)
    writer.add_string("bitnet.hidden_activation", config["hidden_act"])
writer.add_tokenizer_model("gpt2")
writer.add_token_list(["a", "b"])
writer.add_token_types([gguf.TokenType.NORMAL] * 2)
writer.add_bos_token_id(0)
writer.add_eos_token_id(1)
for name, raw in tensors.items():
    module, kind = name.rsplit(".", 1)
    if kind == "weight_scale":
        continue
    if module + ".weight_scale" in tensors:
        add_linear(writer, module, raw, bf16_to_float(tensors[module + ".weight_scale"])[0])
    elif raw.ndim == 1 or args.float_type == "F32":
        writer.add_tensor(gguf_name(module) + ".weight", bf16_to_float(raw))
    else:
        writer.add_tensor(gguf_name(module) + ".weight", raw, raw_dtype=gguf.GGMLQuantizationType.BF16)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
