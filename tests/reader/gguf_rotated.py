"""Compares logits of a model of gguf_qwen3.py --rotate with those of the model before its weights were rotated:

    gguf_rotated.py FOLDER LOGITS BLOCK NAMES [--tied]

FOLDER/hf has the stored weights W'. The model that they came from has W = W' H S, in double precision and without any
rotation of activations.
"""
import json
import pathlib
import sys

import numpy as np

folder, logits, block, names = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4].split(",")
config = json.loads((folder / "hf/config.json").read_text())
data = (folder / "hf/model.safetensors").read_bytes()
n = int.from_bytes(data[:8], "little")
hadamard = np.array([[-1.0 if bin(i & j).count("1") % 2 else 1.0 for j in range(block)] for i in range(block)]) / block**0.5


def unrotate(weights):
    width = weights.shape[1]
    signs = np.frombuffer((folder / ("signs.%d" % width)).read_bytes(), np.int8)
    return (weights.reshape(-1, width // block, block) @ hadamard).reshape(-1, width) * signs


model = {}
for name, entry in json.loads(data[8:8 + n]).items():
    begin, end = entry["data_offsets"]
    weights = np.frombuffer(data[8 + n + begin:8 + n + end], np.float16).astype(np.float64).reshape(entry["shape"])
    is_rotated = weights.ndim == 2 and name.split(".")[-2] in names + ["embed_tokens"]
    model[name[:-len(".weight")]] = unrotate(weights) if is_rotated else weights


def norm(x, name):
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + config["rms_norm_eps"]) * model[name]


def rope(x):
    half = x.shape[-1] // 2
    angles = np.arange(x.shape[0])[:, None] * config["rope_theta"] ** (-np.arange(half) / half)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    return np.concatenate([x[..., :half] * cos - x[..., half:] * sin, x[..., half:] * cos + x[..., :half] * sin], axis=-1)


def attention(x, layer):
    heads, size = config["num_attention_heads"], config["head_dim"]
    q, k, v = ((x @ model[layer + kind].T).reshape(len(x), -1, size) for kind in ("q_proj", "k_proj", "v_proj"))
    q, k = rope(norm(q, layer + "q_norm")), rope(norm(k, layer + "k_norm"))
    repeats = heads // config["num_key_value_heads"]
    k, v = k.repeat(repeats, axis=1), v.repeat(repeats, axis=1)
    scores = np.einsum("qhd,khd->hqk", q, k) / size**0.5 + np.triu(np.full((len(x), len(x)), -np.inf), 1)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.einsum("hqk,khd->qhd", weights, v).reshape(len(x), -1) @ model[layer + "o_proj"].T


found = np.fromfile(logits, np.float32).reshape(-1, config["vocab_size"]).astype(np.float64)
x = model["model.embed_tokens"][(7 * np.arange(len(found)) + 3) % config["vocab_size"]]
for i in range(config["num_hidden_layers"]):
    layer = "model.layers.%d." % i
    x = x + attention(norm(x, layer + "input_layernorm"), layer + "self_attn.")
    h = norm(x, layer + "post_attention_layernorm")
    gate, up = h @ model[layer + "mlp.gate_proj"].T, h @ model[layer + "mlp.up_proj"].T
    x = x + (gate / (1 + np.exp(-gate)) * up) @ model[layer + "mlp.down_proj"].T
head = model["model.embed_tokens" if "--tied" in sys.argv else "lm_head"]
expected = norm(x, "model.norm") @ head.T
error = np.abs(found - expected).max() / np.abs(expected).max()
print("error over the largest logit: %.1e" % error)
sys.exit(int(error > 2e-5))
