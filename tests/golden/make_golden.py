#!/usr/bin/env python3
"""Make the golden fixtures: what transformers computes, stage by stage, for golden_check.

Needs  pip: torch transformers accelerate safetensors numpy   (README.md names the versions used)

For each fixture named below the script writes, in the folder of the same name beside it,
    config.json, model.safetensors   a small random checkpoint in Hugging Face format (not for kjv,
                                     which is the bundled model)
    golden.safetensors               the record of one forward pass in float32 (README.md: format)

The pass is run by transformers' own modeling code: eager attention, CPU, float32 throughout,
torch.compile disabled so that every operation is the one that the source spells. The record is
taken by hooks that change nothing, and every derived quantity in it (codes, ternary weights,
integer sums) is first shown to reproduce the tensors that transformers really computed; a doubt
is an exception, not a fixture.

    python make_golden.py                       # all fixtures
    python make_golden.py bitnet_packed kjv     # some of them
"""
import argparse
import json
import os
from pathlib import Path

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # before torch: the quantisers are wrapped in torch.compile

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

HERE = Path(__file__).resolve().parent
BUNDLED = HERE.parent.parent / "examples" / "model"

TIE_RECORDED = 1e-3     # codes this near to a rounding tie are recorded; golden_check decides
TOLERANCE = 1e-5        # of a layer's largest: our account of a linear against transformers' own

BITNET = dict(architectures=["BitNetForCausalLM"], model_type="bitnet", hidden_act="relu2",
              tie_word_embeddings=True, rms_norm_eps=1e-5, max_position_embeddings=256)
LLAMA = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu",
             tie_word_embeddings=False, rms_norm_eps=1e-6, max_position_embeddings=256,
             attention_bias=False, mlp_bias=False)

# One fixture a convention. Shapes are odd on purpose: head sizes that are no power of two, 2, 3 and
# 1 query heads a KV head, FFNs that are no multiple of 64, attention wider than the stream.
# rows: the positions at which floats are recorded (codes and scales are recorded at all of them).
FIXTURES = {
    "bitnet_packed": dict(
        seed=1, scale="multiply", prompt=72, rows=range(2, 72, 3),
        config=dict(BITNET, hidden_size=96, intermediate_size=260, num_hidden_layers=3,
                    num_attention_heads=4, num_key_value_heads=2, vocab_size=323,
                    rope_theta=500000.0,
                    quantization_config=dict(quant_method="bitnet", linear_class="autobitlinear",
                                             quantization_mode="offline",
                                             modules_to_not_convert=["lm_head"]))),
    "bitnet_online": dict(
        seed=2, scale="online", prompt=40, rows=range(1, 40, 2),
        config=dict(BITNET, hidden_size=144, intermediate_size=200, num_hidden_layers=2,
                    num_attention_heads=3, num_key_value_heads=1, vocab_size=301,
                    rope_theta=10000.0,
                    quantization_config=dict(quant_method="bitnet", linear_class="autobitlinear",
                                             quantization_mode="online",
                                             modules_to_not_convert=["lm_head"]))),
    "llama_packed": dict(
        seed=3, scale="divide", prompt=70, rows=range(1, 70, 4),
        config=dict(LLAMA, hidden_size=160, intermediate_size=212, num_hidden_layers=2,
                    num_attention_heads=2, num_key_value_heads=2, head_dim=96, vocab_size=389,
                    rope_theta=1000042.0,
                    quantization_config=dict(quant_method="bitnet",
                                             modules_to_not_convert=["lm_head"]))),
    "kjv": dict(checkpoint=BUNDLED / "kjv", prompt=48, greedy=48, text=1600,
                rows=range(7, 96, 8), blocks=(0, 5)),
}

LINEARS = dict(q="self_attn.q_proj", k="self_attn.k_proj", v="self_attn.v_proj",
               o="self_attn.o_proj", gate="mlp.gate_proj", up="mlp.up_proj", down="mlp.down_proj")
NORMS = dict(input_norm="input_layernorm", attn_sub_norm="self_attn.attn_sub_norm",
             post_norm="post_attention_layernorm", ffn_sub_norm="mlp.ffn_sub_norm")
# Linears that share their input; it is recorded under the first one's name.
INPUTS = dict(q=("q", "k", "v"), o=("o",), gate=("gate", "up"), down=("down",))


# ---------------------------------------------------------------------------------- checkpoints

def pack(ternary):
    """Weight + 1 in two bits, four to a byte: bits 2i of byte (r, c) hold row i * rows / 4 + r."""
    codes = (ternary + 1).to(torch.uint8).view(4, ternary.shape[0] // 4, ternary.shape[1])
    return codes[0] | codes[1] << 2 | codes[2] << 4 | codes[3] << 6


def random_linear(rng, name, rows, cols, scale, gain, tensors):
    """A linear whose output is about gain times its input, in one of the three conventions."""
    if scale == "online":
        std = 1.25 * gain / (0.69 * cols) ** 0.5    # 0.69: share of non-zeros after rounding
        tensors[name + ".weight"] = (torch.randn(rows, cols, generator=rng) * std).bfloat16()
        return
    ternary = torch.randint(-1, 2, (rows, cols), generator=rng).to(torch.int8)
    ternary[rows // 2] = 0      # a row and a column that a compiler may drop
    ternary[:, cols // 3] = 0
    tensors[name + ".weight"] = pack(ternary)
    mean = torch.tensor([gain / (cols * 2 / 3) ** 0.5])
    stored = mean if scale == "multiply" else 1 / mean
    tensors[name + ".weight_scale"] = stored.bfloat16()


def random_checkpoint(folder, seed, scale, config):
    rng = torch.Generator().manual_seed(seed)
    hidden, ffn, vocab = (config[k] for k in ("hidden_size", "intermediate_size", "vocab_size"))
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim", hidden // heads)
    shapes = dict(q=(heads * head_dim, hidden), k=(kv_heads * head_dim, hidden),
                  v=(kv_heads * head_dim, hidden), o=(hidden, heads * head_dim),
                  gate=(ffn, hidden), up=(ffn, hidden), down=(hidden, ffn))
    norms = dict(input_norm=hidden, post_norm=hidden)
    if config["model_type"] == "bitnet":
        norms.update(attn_sub_norm=hidden, ffn_sub_norm=ffn)

    def norm_weight(size):
        return (0.5 + torch.rand(size, generator=rng)).bfloat16()

    embedding = torch.randn(vocab, hidden, generator=rng)
    embedding[7] = 0    # the quantiser's lower bound of absmax: a token that is all zeros
    # A tied head multiplies by it again: kept small there, or every token predicts itself. Random
    # layers carry one flipped code into every later token, which training would not: a small final
    # norm keeps the perplexity of such a pass comparable, and changes no other comparison.
    size = 0.1 if config["tie_word_embeddings"] else 0.5
    tensors = {"model.embed_tokens.weight": (embedding * size).bfloat16(),
               "model.norm.weight": (norm_weight(hidden) * 0.1).bfloat16()}
    if not config["tie_word_embeddings"]:
        head = torch.randn(vocab, hidden, generator=rng)
        tensors["lm_head.weight"] = (head * 0.1).bfloat16()
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for role, (rows, cols) in shapes.items():
            # As in trained models, one layer changes the residual stream by a part of it.
            gain = 0.3 if role in ("o", "down") else 1.0
            random_linear(rng, prefix + LINEARS[role], rows, cols, scale, gain, tensors)
        for role, size in norms.items():
            tensors[prefix + NORMS[role] + ".weight"] = norm_weight(size)

    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = dict(config, torch_dtype="bfloat16", bos_token_id=1, eos_token_id=2)
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    return torch.randint(3, vocab, (1, 4096), generator=rng)


def load(folder):
    """The model in float32, eager attention. Tensors stored as bfloat16 are widened exactly."""
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                 attn_implementation="eager").eval()
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_floating_point():
            tensor.data = tensor.data.float()   # some versions leave weight_scale in bfloat16
    assert model.config._attn_implementation == "eager"
    return model


# ------------------------------------------------------------------------------------ recording

def same(ours, theirs, what):
    if not torch.equal(ours, theirs):
        raise SystemExit(f"make_golden.py: {what} is not what transformers computed")


def quantised_input(linear, x):
    """(codes, s, x * s) of a linear's input, shown to be the ones that the linear itself uses."""
    from transformers.integrations.bitnet import ActQuant, BitLinear
    s = 127 / x.abs().max(dim=-1, keepdim=True).values.clamp(min=1e-5)
    product = x * s
    codes = product.round().clamp(-128, 127)
    if isinstance(linear, BitLinear):
        used, used_s = linear.activation_quant(x)
        same(codes.to(torch.int8), used, "an activation code")
        same(s, used_s, "an activation scale")
    else:
        same(codes / s, ActQuant.apply(x), "an activation")
    return codes, s, product


def ternary_weight(linear):
    """(ternary weights, multiplier) of a linear, shown to be the ones that it uses."""
    from transformers.integrations.bitnet import BitLinear, WeightQuant, unpack_weights
    if isinstance(linear, BitLinear):
        ternary, multiplier = unpack_weights(linear.weight, torch.float32), 1 / linear.weight_scale
    elif linear.online_quant:
        scale = 1.0 / linear.weight.abs().mean().clamp_(min=1e-5)
        ternary = (linear.weight * scale).round().clamp(-1, 1)
        same(ternary / scale, WeightQuant.apply(linear.weight), "an online weight")
        multiplier = (1 / scale).view(1)
    else:
        ternary, multiplier = linear.weight, linear.weight_scale
    if not torch.isin(ternary, torch.tensor([-1.0, 0.0, 1.0])).all():
        raise SystemExit("make_golden.py: a weight is not ternary")
    return ternary, multiplier


def exact_sums(linear, codes, s, output):
    """(integer sums, multiplier) of one linear, shown to give transformers' float output."""
    from transformers.integrations.bitnet import BitLinear
    ternary, multiplier = ternary_weight(linear)
    sums = codes.long() @ ternary.long().T
    if isinstance(linear, BitLinear):   # multiplies integers held in floats: exact below 2^24
        same(sums.float(), F.linear(codes, ternary), "an integer sum")
    worst = (sums.double() / s.double() * multiplier.double() - output.double()).abs().max()
    if not worst <= TOLERANCE * output.abs().max():
        raise SystemExit("make_golden.py: sums and scales do not give transformers' output")
    return sums, multiplier


class Recorder:
    """Hooks on every linear and norm of a model: inputs and outputs of the next forward pass."""

    def __init__(self, model):
        self.inputs, self.outputs, self.handles = {}, {}, []
        base = model.model
        self.modules = {"final_norm": base.norm}
        for block, layer in enumerate(base.layers):
            for role, path in {**LINEARS, **NORMS}.items():
                try:
                    self.modules[f"block.{block}.{role}"] = layer.get_submodule(path)
                except AttributeError:
                    if role not in ("attn_sub_norm", "ffn_sub_norm"):
                        raise
        for name, module in self.modules.items():
            self.handles.append(module.register_forward_hook(self.hook(name)))

    def hook(self, name):
        def keep(_module, args, output):
            self.inputs[name] = args[0][0].detach().clone()
            self.outputs[name] = output[0].detach().clone()
        return keep

    def close(self):
        for handle in self.handles:
            handle.remove()


def record_linears(recorder, block, rows, keep_floats, out, ties):
    """Codes, scales and ties of the block's four inputs; sums and outputs of its seven linears."""
    for number, (first, readers) in enumerate(INPUTS.items()):
        name = f"block.{block}.{first}"
        x = recorder.inputs[name]
        codes, s, product = quantised_input(recorder.modules[name], x)
        out[name + ".codes"] = codes.to(torch.int8)
        out[name + ".scale"] = s.flatten()
        offset = product - codes
        distance = 0.5 - offset.abs()
        # product - codes is exact; the other neighbour is one code away, on the product's side.
        for at in (distance < TIE_RECORDED).nonzero().tolist():
            position, column = at
            other = int(codes[position, column] + (1 if offset[position, column] > 0 else -1))
            ties.append((block, number, position, column, other, float(distance[position, column])))
        for role in readers:
            linear = f"block.{block}.{role}"
            same(recorder.inputs[linear], x, "a shared input")
            output = recorder.outputs[linear]
            sums, multiplier = exact_sums(recorder.modules[linear], codes, s, output)
            if keep_floats:
                out[linear + ".sum"] = sums[rows].to(torch.int32)
                out[linear + ".output"] = output[rows]
                out[linear + ".weight_scale"] = multiplier.float()


def record_logits(logits, tokens, rows, out):
    top = logits.topk(2, dim=-1)
    out["logits"] = logits[rows]
    out["top1"] = top.indices[:, 0].to(torch.int32)
    out["margin"] = top.values[:, 0] - top.values[:, 1]
    out["range"] = logits.max(dim=-1).values - logits.min(dim=-1).values
    out["nll"] = F.cross_entropy(logits[:-1].double(), tokens[0, 1:], reduction="none").float()


def record(model, tokens, rows, blocks):
    """Every tensor of golden.safetensors for one pass over tokens [1, T]."""
    recorder = Recorder(model)
    with torch.no_grad():
        logits = model(tokens, use_cache=False).logits[0]
    recorder.close()
    rows = torch.tensor(list(rows))
    out = {"tokens": tokens[0].to(torch.int32), "rows": rows.to(torch.int32),
           "final_norm": recorder.outputs["final_norm"][rows]}
    ties = []
    for block in range(model.config.num_hidden_layers):
        keep_floats = blocks is None or block in blocks
        with torch.no_grad():
            record_linears(recorder, block, rows, keep_floats, out, ties)
        if not keep_floats:
            continue
        for role in NORMS:
            if (name := f"block.{block}.{role}") in recorder.outputs:
                out[name] = recorder.outputs[name][rows]
        # Attention ends where its output enters the sub-norm, or o where there is none.
        after = f"block.{block}.attn_sub_norm"
        after = after if after in recorder.inputs else f"block.{block}.o"
        out[f"block.{block}.attention"] = recorder.inputs[after][rows]
    if not ties:
        raise SystemExit("make_golden.py: no code is near a tie; use another seed")
    out["tie_at"] = torch.tensor([tie[:4] for tie in ties], dtype=torch.int32)
    out["tie_code"] = torch.tensor([tie[4] for tie in ties], dtype=torch.int8)
    out["tie_distance"] = torch.tensor([tie[5] for tie in ties], dtype=torch.float32)
    record_logits(logits, tokens, rows, out)
    return out


# ------------------------------------------------------------------------------------- fixtures

def bundled_tokens(model, folder, fixture):
    """The held-out text's first tokens, then the model's own greedy ones; and a text to score."""
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = (BUNDLED / "heldout.txt").read_text(encoding="utf-8")
    prompt = tokenizer(text, return_tensors="pt", verbose=False)["input_ids"][:, :fixture["prompt"]]
    scored = text[:fixture["text"]]
    scored_ids = tokenizer(scored, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        tokens = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False,
                                min_new_tokens=fixture["greedy"], max_new_tokens=fixture["greedy"])
        logits = model(scored_ids, use_cache=False).logits[0].double()
    nll = F.cross_entropy(logits[:-1], scored_ids[0, 1:])
    extra = {"text": torch.tensor(list(scored.encode()), dtype=torch.uint8),
             "text_tokens": scored_ids[0].to(torch.int32),
             "text_nll": nll.float().view(1)}
    return tokens, extra


def make(name, fixture):
    torch.manual_seed(0)
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    extra = {}
    if "checkpoint" in fixture:
        model = load(fixture["checkpoint"])
        tokens, extra = bundled_tokens(model, fixture["checkpoint"], fixture)
    else:
        ids = random_checkpoint(folder, fixture["seed"], fixture["scale"], fixture["config"])
        model = load(folder)
        tokens = ids[:, :fixture["prompt"]].clone()
        tokens[0, 5] = 7    # the all-zero embedding
    out = record(model, tokens, fixture["rows"], fixture.get("blocks"))
    out.update(extra)
    out = {key: value.detach().contiguous().clone() for key, value in out.items()}
    save_file(out, folder / "golden.safetensors", metadata={"format": "rsrc-golden-1"})
    clear = int((out["margin"] > 0.05 * out["range"]).sum())
    near = int((out["tie_distance"] <= 1e-4).sum())
    print(f"{name}: {tokens.shape[1]} tokens, {len(out['tie_code'])} near ties "
          f"({near} within 1e-4), {clear} clear tokens, mean nll {out['nll'].mean():.4f}, "
          f"{(folder / 'golden.safetensors').stat().st_size} bytes")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME",
                        help=f"fixtures to make: {', '.join(FIXTURES)} (all)")
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in FIXTURES]
    if unknown:
        parser.error(f"unknown fixture {unknown[0]!r}; known: {', '.join(FIXTURES)}")
    torch.set_num_threads(1)    # one order of summation, whatever the machine
    for name in args.names or FIXTURES:
        make(name, FIXTURES[name])


if __name__ == "__main__":
    main()
