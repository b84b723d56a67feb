"""Small random checkpoints in the conventions of published ternary models.

Tensors are named as transformers names them. Where a publisher's own code is the convention, the
files hold that publisher's names and configuration, and transformers reads a copy in its own
(struct Published in make_golden.py's table).
"""
import json

import torch
from safetensors.torch import save_file

LINEARS = dict(q="self_attn.q_proj", k="self_attn.k_proj", v="self_attn.v_proj",
               o="self_attn.o_proj", gate="mlp.gate_proj", up="mlp.up_proj", down="mlp.down_proj")
# Of blocks with a gated delta rule, in the place of q, k, v and o.
DELTA_LINEARS = dict(qkv="linear_attn.in_proj_qkv", z="linear_attn.in_proj_z",
                     beta="linear_attn.in_proj_b", decay="linear_attn.in_proj_a",
                     o="linear_attn.out_proj", gate="mlp.gate_proj", up="mlp.up_proj",
                     down="mlp.down_proj")

NORMS = dict(input_norm="input_layernorm", attn_sub_norm="self_attn.attn_sub_norm",
             post_norm="post_attention_layernorm", ffn_sub_norm="mlp.ffn_sub_norm")
# Gemma also normalises the outputs that layers add; its post_attention_layernorm is not the FFN's
# norm.
GEMMA_NORMS = dict(input_norm="input_layernorm", attn_out_norm="post_attention_layernorm",
                   post_norm="pre_feedforward_layernorm", ffn_out_norm="post_feedforward_layernorm")

GROUP = 128     # weights along a row that share a scale, where scale is "groups"


def norms_of(config):
    return GEMMA_NORMS if config["model_type"] == "gemma3_text" else NORMS


def is_qwen3_5(config):
    return config["model_type"].startswith("qwen3_5")


def has_delta(config, layer):
    return config.get("layer_types", ["full_attention"] * (layer + 1))[layer] == "linear_attention"


def linears_of(config, layer):
    return DELTA_LINEARS if has_delta(config, layer) else LINEARS


def delta_shapes(config):
    hidden = config["hidden_size"]
    keys = config["linear_num_key_heads"] * config["linear_key_head_dim"]
    heads = config["linear_num_value_heads"]
    values = heads * config["linear_value_head_dim"]
    return dict(qkv=(2 * keys + values, hidden), z=(values, hidden), beta=(heads, hidden),
                decay=(heads, hidden), o=(hidden, values))


def delta_tensors(rng, block, config, dtype):
    """Weights of a gated delta rule besides its linears; heads forget slowly and fast."""
    channels, heads = delta_shapes(config)["qkv"][0], config["linear_num_value_heads"]
    value_dim, name = config["linear_value_head_dim"], block + "linear_attn."
    return {name + "conv1d.weight": (torch.randn(channels, 1, 4, generator=rng) * 0.5).to(dtype),
            name + "A_log": torch.log(0.05 + 4 * torch.rand(heads, generator=rng)).to(dtype),
            name + "dt_bias": (torch.randn(heads, generator=rng) - 2).to(dtype),
            name + "norm.weight": (0.5 + torch.rand(value_dim, generator=rng)).to(dtype)}


def pack(ternary):
    """Weight + 1 in two bits, four to a byte: bits 2i of byte (r, c) hold row i * rows / 4 + r."""
    codes = (ternary + 1).to(torch.uint8).view(4, ternary.shape[0] // 4, ternary.shape[1])
    return codes[0] | codes[1] << 2 | codes[2] << 4 | codes[3] << 6


def scales_of(rng, role, rows, cols, scale, mean):
    """float16 scales that broadcast over a [rows, cols] matrix."""
    if scale == "tensor":
        scales = torch.tensor(mean)
    elif scale == "shards":     # two devices' scales: they split the inputs of o and down, other layers' outputs
        shards = mean * (0.75 + 0.5 * torch.rand(2, generator=rng))
        if role in ("o", "down"):
            scales = shards.repeat_interleave(cols // 2).view(1, cols)
        else:
            scales = shards.repeat_interleave(rows // 2).view(rows, 1)
    else:
        assert scale == "groups"
        groups = mean * (0.5 + torch.rand(rows, -(-cols // GROUP), generator=rng))
        scales = groups.repeat_interleave(GROUP, dim=1)[:, :cols]
    return scales.half()


def random_ternary(rng, rows, cols):
    ternary = torch.randint(-1, 2, (rows, cols), generator=rng).to(torch.int8)
    ternary[rows // 2] = 0      # a row and a column that a compiler may drop
    ternary[:, cols // 3] = 0
    return ternary


def random_linear(rng, role, rows, cols, scale, gain, dtype):
    """Tensors by suffix of a linear whose output is about gain times its input."""
    if scale in ("online", "dense"):
        std = 1.25 * gain / (0.69 * cols) ** 0.5    # 0.69: share of non-zeros after rounding
        weight = torch.randn(rows, cols, generator=rng) * std
        weight[rows // 2] = 0
        weight[:, cols // 3] = 0
        return {"weight": weight.to(dtype)}
    ternary = random_ternary(rng, rows, cols)
    mean = gain / (cols * 2 / 3) ** 0.5
    if scale in ("multiply", "divide"):
        stored = torch.tensor([mean if scale == "multiply" else 1 / mean])
        return {"weight": pack(ternary), "weight_scale": stored.to(dtype)}
    return {"weight": ternary * scales_of(rng, role, rows, cols, scale, mean)}


def random_tensors(rng, fixture):
    config, dtype = fixture["config"], fixture.get("dtype", torch.bfloat16)
    hidden, ffn, vocab = (config[k] for k in ("hidden_size", "intermediate_size", "vocab_size"))
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim", hidden // heads)
    shapes = dict(q=(heads * head_dim, hidden), k=(kv_heads * head_dim, hidden),
                  v=(kv_heads * head_dim, hidden), o=(hidden, heads * head_dim),
                  gate=(ffn, hidden), up=(ffn, hidden), down=(hidden, ffn))
    if is_qwen3_5(config):
        shapes["q"] = (2 * heads * head_dim, hidden)    # with a gate for each head
    norms = {role: hidden for role in norms_of(config) if "sub_norm" not in role}
    if config["model_type"] == "bitnet":
        norms.update(attn_sub_norm=heads * head_dim, ffn_sub_norm=ffn)
    quantization = config.get("quantization_config", {})
    embeds = "pooling" in fixture
    prefix = "" if embeds else "model."
    tied = config["tie_word_embeddings"]

    def norm_weight(size, offset=0.0):
        return (0.5 + torch.rand(size, generator=rng) - offset).to(dtype)

    # These store w - 1.
    offset = 1.0 if config["model_type"] == "gemma3_text" or is_qwen3_5(config) else 0.0

    def matrix(size, scale):
        if scale == "groups":
            values = random_linear(rng, "head", vocab, hidden, scale, size * hidden ** 0.5, dtype)
            return values["weight"]
        return torch.randn(vocab, hidden, generator=rng) * size

    # A tied head multiplies by it again. It is small there, because otherwise every token predicts
    # itself.
    embedding = matrix(0.1 if tied else 0.5, fixture["scale"] if tied else "dense")
    embedding[7] = 0    # the quantiser's lower bound of absmax: a token that is all zeros
    final = norm_weight(hidden, offset)
    # Random layers carry one flipped code into every later token, which training would not: a small
    # final norm keeps the perplexity of such a pass comparable, and changes no other comparison.
    if fixture["scale"] in ("multiply", "divide", "online") and not embeds:
        final = final * 0.1
    tensors = {prefix + "embed_tokens.weight": embedding.to(dtype), prefix + "norm.weight": final}
    if not tied:
        tensors["lm_head.weight"] = matrix(0.1, fixture["scale"]).to(dtype)
    scales = fixture["scale"] if isinstance(fixture["scale"], tuple) else (fixture["scale"],)
    for layer in range(config["num_hidden_layers"]):
        block = f"{prefix}layers.{layer}."
        delta = has_delta(config, layer)
        linears = linears_of(config, layer)
        for role, (rows, cols) in {**shapes, **(delta_shapes(config) if delta else {})}.items():
            if role not in linears:
                continue
            name = block + linears[role]
            skipped = name in quantization.get("modules_to_not_convert", ())
            scale = "dense" if skipped else scales[layer % len(scales)]
            if role in ("beta", "decay") and scale == "groups":
                scale = "dense"     # too few rows to be worth rounding: kept in floating point
            # As in trained models, one layer changes the residual stream by a part of it.
            gain = 0.3 if role in ("o", "down") else 1.0
            linear = random_linear(rng, role, rows, cols, scale, gain, dtype)
            tensors.update({f"{name}.{suffix}": tensor for suffix, tensor in linear.items()})
            if quantization.get("use_rms_norm") and not skipped:
                tensors[name + ".rms_norm.weight"] = norm_weight(cols)
        for role, size in norms.items():
            tensors[block + norms_of(config)[role] + ".weight"] = norm_weight(size, offset)
        if delta:
            tensors.update(delta_tensors(rng, block, config, dtype))
        elif config["model_type"] in ("qwen3", "gemma3_text", "qwen3_5_text"):
            for name in ("self_attn.q_norm", "self_attn.k_norm"):
                tensors[f"{block}{name}.weight"] = norm_weight(head_dim, offset)
    return tensors


def write_checkpoint(folder, tensors, config, dtype):
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = dict(config, torch_dtype=str(dtype).removeprefix("torch."), bos_token_id=1,
                  eos_token_id=2)
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def write_pooling(folder, pooling, hidden):
    """The files that sentence-transformers keeps beside a model."""
    kinds = ("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")
    modules = [dict(idx=i, name=str(i), path=path, type=f"sentence_transformers.models.{kind}")
               for i, (path, kind) in enumerate(kinds)]
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens",
             "weightedmean_tokens", "lasttoken")
    config = {"word_embedding_dimension": hidden,
              **{f"pooling_mode_{mode}": mode == pooling for mode in modes},
              "include_prompt": True}
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "modules.json").write_text(json.dumps(modules, indent=2) + "\n")
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config, indent=4) + "\n")
