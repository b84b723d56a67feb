"""Writes a checkpoint of rsr-mkmodel as GGUF, with the gguf library, as llama.cpp's converter does:

    gguf_models.py FOLDER OUT.gguf TYPE [--scale-tensors] [--float TYPE] [--expand] [--split N] [--break HOW]

TQ1_0 and TQ2_0 are quantised by the library; the bytes of the other types are made here, from their definitions.
Q2_0 with blocks of 128 has the number of Q2_0, PQ2_0 the same blocks and a number of its own. Scales are in the
blocks, which float16 must hold exactly, or, with --scale-tensors, beside them. Embedding and head stay BF16 or become
F32, Q8_0 or, with random blocks, Q6_K; --expand makes F32 of the last two, as the library does. --split cuts the model into files
of N tensors, the first without any if N is negative. --break spoils the weights of the first q: "groups" doubles the scale of its last row's last 128 weights, "dtype"
stores it as F16.
"""
import argparse
import json
import pathlib

import gguf
import numpy as np

import gguf_tokenizers

TYPES = {"TQ1_0": 34, "TQ2_0": 35, "I2_S-x86": 36, "I2_S-arm": 36, "Q1_0": 41, "Q2_0": 42, "Q2_0-128": 42,
         "IQ1_BN": 134, "IQ2_BN": 135, "PQ2_0": 142}

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("out")
parser.add_argument("type", choices=TYPES)
parser.add_argument("--scale-tensors", action="store_true")
parser.add_argument("--float", dest="float_type", choices=["BF16", "F32", "Q8_0", "Q6_K"], default="BF16")
parser.add_argument("--expand", action="store_true")
parser.add_argument("--split", type=int, default=0)
parser.add_argument("--break", dest="how", choices=["groups", "dtype"])
args = parser.parse_args()

config = json.loads((args.folder / "config.json").read_text())
is_llama = config["model_type"] == "llama"
n_heads, n_kv_heads = config["num_attention_heads"], config["num_key_value_heads"]


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
    """Reorders rows from rotation by halves to rotation by neighbours, head by head."""
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weights.shape)


def fields(codes, n_bytes, shifts):
    """Two bits for each weight: in every n_bytes bytes, field i holds the i-th n_bytes weights."""
    return np.bitwise_or.reduce(codes.reshape(-1, 4, n_bytes) << np.array(shifts, np.uint8)[None, :, None], axis=1)


def neighbours(codes, n_bits):
    """Codes of consecutive weights in one byte, the lowest bits first."""
    codes = codes.reshape(-1, 8 // n_bits) << np.arange(0, 8, n_bits, dtype=np.uint8)
    return np.bitwise_or.reduce(codes, axis=1)


def base_3(digits):
    """Bytes of digits, the first the most significant, as fractions of 256."""
    numbers = (digits.astype(np.uint32) * np.array([81, 27, 9, 3, 1])[:digits.shape[-1]]).sum(axis=-1)
    return ((numbers * 256 + 242) // 243).astype(np.uint8)


def with_block_scales(ternary, scales, items, blocks):
    """Blocks of this many weights, each after its float16 scale. scales: one for every weight."""
    d = scales.reshape(-1, items)[:, :1].astype(np.float16)
    return np.hstack([d.view(np.uint8), blocks.reshape(len(d), -1)])


def encode(ternary, scales):
    """ternary: weights of -1, 0, 1; scales: one for each weight."""
    codes = (ternary + 1).astype(np.uint8)
    rows = len(codes)
    if args.type in ("TQ1_0", "TQ2_0"):
        return gguf.quants.quantize((ternary * scales).astype(np.float32), gguf.GGMLQuantizationType[args.type])
    if args.type == "Q1_0":
        assert ternary.all()
        return with_block_scales(ternary, scales, 128, neighbours((ternary > 0).astype(np.uint8), 1))
    if args.type == "Q2_0":
        return with_block_scales(ternary, scales, 64, neighbours(codes, 2))
    if args.type in ("Q2_0-128", "PQ2_0"):
        return with_block_scales(ternary, scales, 128, neighbours(codes, 2))
    assert (scales == scales[0, 0]).all()
    d = scales[:, :1].astype(np.float32)
    if args.type in ("I2_S-x86", "I2_S-arm"):
        n_bytes = 32 if args.type == "I2_S-x86" else 16
        tail = np.hstack([d[0].view(np.uint8), np.full(28, 0xaa, np.uint8)])
        return np.hstack([fields(codes, n_bytes, [6, 4, 2, 0]).ravel(), tail])
    if args.type == "IQ2_BN":
        return np.hstack([d.view(np.uint8), fields(codes, 16, [0, 2, 4, 6]).reshape(rows, -1)])
    sixteens = codes.reshape(-1, 4, 16)
    blocks = np.hstack([base_3(sixteens[:, :, :15].reshape(-1, 12, 5)), base_3(sixteens[:, :, 15])[:, None]])
    return np.hstack([d.astype(np.float16).view(np.uint8), blocks.reshape(rows, -1)])


def add_linear(writer, module, packed, stored_scale):
    ternary = np.concatenate([(packed >> (2 * i)) & 3 for i in range(4)]).astype(np.float32) - 1
    scale = np.float32(1 / np.float64(stored_scale)) if is_llama else np.float32(stored_scale)
    if is_llama and module.endswith("q_proj"):
        ternary = permute(ternary, n_heads)
    if is_llama and module.endswith("k_proj"):
        ternary = permute(ternary, n_kv_heads)
    name = gguf_name(module)
    if args.scale_tensors:
        writer.add_tensor(name + ".scale", np.array([scale], dtype=np.float32))
        scale = np.float32(1)
    assert np.float32(np.float16(scale)) == scale
    scales = np.full(ternary.shape, scale)
    how = args.how if module.endswith("layers.0.self_attn.q_proj") else None
    if how == "groups":
        scales[-1, -128:] *= 2
    if how == "dtype":
        writer.add_tensor(name + ".weight", ternary.astype(np.float16))
        return
    data = encode(ternary, scales)
    # Adds tensors of types that the library does not know: raw bytes with a shape.
    writer.add_tensor_info(name + ".weight", ternary.shape, np.dtype(np.float32), data.nbytes, TYPES[args.type])
    writer.tensors[-1][name + ".weight"].tensor = data


def add_dense(writer, name, values):
    kind = gguf.GGMLQuantizationType[args.float_type]
    if args.float_type == "Q8_0":
        data = gguf.quants.quantize(values, kind)
    else:
        random = np.random.default_rng(len(name))
        data = random.integers(0, 256, (len(values), values.shape[1] // 256, 210), np.uint8)
        d = random.uniform(1e-5, 2e-5, data.shape[:2] + (1,)).astype(np.float16)
        data[:, :, 208:] = d.view(np.uint8)
        data = data.reshape(len(values), -1)
    if args.expand:
        writer.add_tensor(name, gguf.quants.dequantize(data, kind))
    else:
        writer.add_tensor(name, data, raw_dtype=kind)


architecture = "llama" if is_llama else "bitnet"
writer = gguf.GGUFWriter(args.out, architecture, split_max_tensors=abs(args.split), small_first_shard=args.split < 0)
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
if is_llama:
    writer.add_rope_scaling_type(gguf.RopeScalingType.NONE)
else:
    writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(1.0)
    writer.add_string("bitnet.hidden_activation", config["hidden_act"])
tokenizer = gguf_tokenizers.simplify(json.loads((args.folder / "tokenizer.json").read_text()))
gguf_tokenizers.add_tokenizer(writer, tokenizer, "gpt2", "gpt-2")
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
    elif args.float_type != "BF16":
        add_dense(writer, gguf_name(module) + ".weight", bf16_to_float(raw))
    else:
        writer.add_tensor(gguf_name(module) + ".weight", raw, raw_dtype=gguf.GGMLQuantizationType.BF16)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
