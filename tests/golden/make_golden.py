#!/usr/bin/env python3
"""Make the golden fixtures: what transformers computes, stage by stage, for golden_check.

Needs  pip: torch transformers accelerate safetensors numpy   (README.md names the versions used)

For each fixture named below the script writes, in the folder of the same name beside it,
    config.json, model.safetensors   a small random checkpoint in Hugging Face format (not for kjv,
                                     which is the bundled model); an embedding model's pooling
    golden.safetensors               the record of one forward pass in float32 (README.md: format)

The pass is run by transformers' own modeling code: eager attention, CPU, float32 throughout,
torch.compile disabled so that every operation is the one that the source spells.

    python make_golden.py                       # all fixtures
    python make_golden.py bitnet_packed kjv     # some of them
"""
import argparse
import tempfile
from pathlib import Path

import reference    # first: it sets torch's environment
import torch
import torch.nn.functional as F
from random_model import random_tensors, write_checkpoint, write_pooling
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
BUNDLED = HERE.parent.parent / "examples" / "model"

BITNET = dict(architectures=["BitNetForCausalLM"], model_type="bitnet", hidden_act="relu2",
              tie_word_embeddings=True, rms_norm_eps=1e-5, max_position_embeddings=256)
LLAMA = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu",
             tie_word_embeddings=False, rms_norm_eps=1e-6, max_position_embeddings=256,
             attention_bias=False, mlp_bias=False)
QWEN3 = dict(architectures=["Qwen3ForCausalLM"], model_type="qwen3", hidden_act="silu",
             tie_word_embeddings=False, rms_norm_eps=1e-6, max_position_embeddings=256,
             attention_bias=False, use_sliding_window=False, sliding_window=None,
             max_window_layers=2)
QWEN3_5 = dict(architectures=["Qwen3_5ForCausalLM"], model_type="qwen3_5_text", hidden_act="silu",
               tie_word_embeddings=False, rms_norm_eps=1e-6, max_position_embeddings=512,
               attention_bias=False, linear_conv_kernel_dim=4, dtype="float32",
               rope_parameters=dict(rope_type="default", rope_theta=1000000.0,
                                    partial_rotary_factor=0.25, mrope_section=[2, 1, 1],
                                    mrope_interleaved=True))
GEMMA3 = dict(architectures=["Gemma3TextModel"], model_type="gemma3_text",
              hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=True, rms_norm_eps=1e-6,
              max_position_embeddings=256, attention_bias=False, attn_logit_softcapping=None,
              final_logit_softcapping=None, use_bidirectional_attention=False)


def bitnet_quantization(**fields):
    return dict(quant_method="bitnet", **{"modules_to_not_convert": ["lm_head"], **fields})


# One fixture for each convention. Shapes are odd on purpose: head sizes that are no power of two,
# 2, 3 and 1 query heads a KV head, FFNs that are no multiple of 64, attention wider than the
# stream.
#   scale      how linear layers are stored (random_model.py); a tuple: by layer, in turn
#   rows       positions at which floats are recorded (inputs of linears are recorded at all of them)
#   published  a publisher's configuration and names of tensors, where these are not transformers'
#   pooling    of an embedding model; lengths: of the token sequences whose embeddings are recorded
FIXTURES = {
    "bitnet_packed": dict(
        seed=1, scale="multiply", prompt=72, rows=range(2, 72, 3),
        config=dict(BITNET, hidden_size=96, intermediate_size=260, num_hidden_layers=3,
                    num_attention_heads=4, num_key_value_heads=2, vocab_size=323,
                    rope_theta=500000.0,
                    quantization_config=bitnet_quantization(
                        linear_class="autobitlinear", quantization_mode="offline"))),
    "bitnet_online": dict(
        seed=2, scale="online", prompt=40, rows=range(1, 40, 2),
        config=dict(BITNET, hidden_size=144, intermediate_size=200, num_hidden_layers=2,
                    num_attention_heads=3, num_key_value_heads=1, vocab_size=301,
                    rope_theta=10000.0,
                    quantization_config=bitnet_quantization(
                        linear_class="autobitlinear", quantization_mode="online"))),
    "llama_packed": dict(
        seed=3, scale="divide", prompt=70, rows=range(1, 70, 4),
        config=dict(LLAMA, hidden_size=160, intermediate_size=212, num_hidden_layers=2,
                    num_attention_heads=2, num_key_value_heads=2, head_dim=96, vocab_size=389,
                    rope_theta=1000042.0, quantization_config=bitnet_quantization())),
    "falcon3": dict(
        seed=4, scale="divide", prompt=30, rows=range(4, 30, 5),
        config=dict(LLAMA, hidden_size=100, intermediate_size=180, num_hidden_layers=2,
                    num_attention_heads=2, num_key_value_heads=1, head_dim=256, vocab_size=227,
                    rope_theta=1000042, quantization_config=bitnet_quantization())),
    "falcon_e": dict(
        seed=5, scale="divide", prompt=36, rows=range(5, 36, 6),
        config=dict(LLAMA, hidden_size=104, intermediate_size=172, num_hidden_layers=2,
                    num_attention_heads=4, num_key_value_heads=2, head_dim=26, vocab_size=211,
                    rope_theta=1000042,
                    quantization_config=bitnet_quantization(
                        linear_class="bitlinear", use_rms_norm=True, rms_norm_eps=1e-6,
                        is_bitnet_config=True,
                        modules_to_not_convert=["lm_head", "model.layers.1.self_attn.k_proj",
                                                "model.layers.1.mlp.down_proj"]))),
    # BitNet of transformers with another activation; the sub-norms have other names.
    "bitnet_1bitllm": dict(
        seed=6, scale="online", dtype=torch.float16, prompt=33, rows=range(2, 33, 5),
        config=dict(BITNET, hidden_act="silu", hidden_size=200, intermediate_size=108,
                    num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
                    vocab_size=202, rope_theta=10000.0,
                    quantization_config=bitnet_quantization(
                        linear_class="autobitlinear", quantization_mode="online")),
        published=dict(
            config=dict(architectures=["BitnetForCausalLM"], model_type="llama", weight_bits=1,
                        input_bits=8, attention_bias=False, pretraining_tp=1, rope_scaling=None),
            names={"attn_sub_norm": "inner_attn_ln", "ffn_sub_norm": "ffn_layernorm"})),
    # Float products: weights are float16 products of -1, 0, 1 and a scale.
    "trilm": dict(
        seed=7, scale=("tensor", "shards"), dtype=torch.float16, prompt=30, rows=range(3, 30, 5),
        config=dict(LLAMA, hidden_size=72, intermediate_size=116, num_hidden_layers=2,
                    num_attention_heads=3, num_key_value_heads=3, vocab_size=203,
                    rms_norm_eps=1e-5, rope_theta=10000.0)),
    "bonsai": dict(
        seed=8, scale="groups", dtype=torch.float16, prompt=26, rows=range(1, 26, 5),
        config=dict(QWEN3, hidden_size=136, intermediate_size=256, num_hidden_layers=2,
                    num_attention_heads=2, num_key_value_heads=1, head_dim=72, vocab_size=155,
                    rope_theta=1000000)),
    "bonsai_tied": dict(
        seed=9, scale="groups", dtype=torch.float16, prompt=40, rows=range(3, 40, 6),
        config=dict(QWEN3, hidden_size=136, intermediate_size=164, num_hidden_layers=1,
                    num_attention_heads=4, num_key_value_heads=2, head_dim=40, vocab_size=163,
                    rope_theta=10000, tie_word_embeddings=True,
                    rope_scaling=dict(rope_type="yarn", factor=4.0,
                                      original_max_position_embeddings=64))),
    # Embedding models: no head, and tensors without "model.".
    "embed_qwen3": dict(
        seed=10, scale="online", prompt=34, rows=range(4, 34, 6), pooling="lasttoken",
        lengths=(1, 5, 12),
        config=dict(QWEN3, architectures=["Qwen3Model"], hidden_size=88, intermediate_size=140,
                    num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=32,
                    vocab_size=150, rope_theta=1000000, tie_word_embeddings=True,
                    quantization_config=bitnet_quantization(
                        linear_class="autobitlinear", quantization_mode="online",
                        use_rms_norm=True, rms_norm_eps=1e-6))),
    "embed_gemma3": dict(
        seed=11, scale="online", prompt=60, rows=range(5, 60, 9), pooling="mean_tokens",
        lengths=(1, 4, 11),
        config=dict(GEMMA3, hidden_size=84, intermediate_size=132, num_hidden_layers=2,
                    num_attention_heads=2, num_key_value_heads=1, head_dim=48, vocab_size=140,
                    query_pre_attn_scalar=40, sliding_window=24,
                    layer_types=["sliding_attention", "full_attention"],
                    rope_theta=1000000.0, rope_local_base_freq=10000.0,
                    quantization_config=bitnet_quantization(
                        linear_class="autobitlinear", quantization_mode="online",
                        use_rms_norm=True, rms_norm_eps=1e-6)),
        published=dict(config={}, names={"_proj.rms_norm.": "_proj.norm."})),
    # Gated delta rules: value heads three to a key head, more than two of transformers' chunks
    # of 64.
    "bonsai2": dict(
        seed=12, scale="groups", dtype=torch.float16, prompt=150, rows=range(1, 150, 13),
        config=dict(QWEN3_5, hidden_size=72, intermediate_size=140, num_hidden_layers=3,
                    num_attention_heads=2, num_key_value_heads=1, head_dim=40, vocab_size=151,
                    linear_num_key_heads=2, linear_num_value_heads=6, linear_key_head_dim=24,
                    linear_value_head_dim=20, layer_types=["linear_attention", "full_attention",
                                                           "linear_attention"])),
    # Quantised activations, a tied head.
    "qwen3_5_packed": dict(
        seed=13, scale="divide", prompt=70, rows=range(0, 70, 9),
        config=dict(QWEN3_5, hidden_size=104, intermediate_size=132, num_hidden_layers=2,
                    num_attention_heads=4, num_key_value_heads=2, head_dim=32, vocab_size=143,
                    linear_num_key_heads=4, linear_num_value_heads=4, linear_key_head_dim=16,
                    linear_value_head_dim=36, tie_word_embeddings=True,
                    layer_types=["linear_attention", "full_attention"],
                    quantization_config=bitnet_quantization())),
    "kjv": dict(checkpoint=BUNDLED / "kjv", prompt=48, greedy=48, text=1600,
                rows=range(7, 96, 8), blocks=(0, 5)),
}


def publish(tensors, config, published):
    """The checkpoint in its publisher's form."""
    config = {key: value for key, value in config.items() if key != "quantization_config"}
    renamed = {}
    for name, tensor in tensors.items():
        for ours, theirs in published["names"].items():
            name = name.replace(ours, theirs)
        renamed[name] = tensor
    return renamed, dict(config, **published["config"])


def random_checkpoint(folder, fixture):
    """Writes a checkpoint to the folder. Returns (model, random tokens)."""
    rng = torch.Generator().manual_seed(fixture["seed"])
    config, dtype = fixture["config"], fixture.get("dtype", torch.bfloat16)
    embeds = "pooling" in fixture
    tensors = random_tensors(rng, fixture)
    tokens = torch.randint(3, config["vocab_size"], (1, 4096), generator=rng)
    if embeds:
        write_pooling(folder, fixture["pooling"], config["hidden_size"])
    if "published" not in fixture:
        write_checkpoint(folder, tensors, config, dtype)
        return reference.load(folder, embeds), tokens
    write_checkpoint(folder, *publish(tensors, config, fixture["published"]), dtype)
    with tempfile.TemporaryDirectory() as copy:
        write_checkpoint(Path(copy), tensors, config, dtype)
        return reference.load(copy, embeds), tokens


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


def summary(out):
    parts = [f"{len(out['tokens'])} tokens"]
    if "tie_distance" in out:
        near = int((out["tie_distance"] <= reference.TIE_CLEAR).sum())
        parts.append(f"{len(out['tie_code'])} near ties ({near} within {reference.TIE_CLEAR})")
    if "nll" in out:
        parts.append(f"{int((out['margin'] > 0.05 * out['range']).sum())} clear tokens")
        parts.append(f"mean nll {out['nll'].mean():.4f}")
    return ", ".join(parts)


def make(name, fixture):
    torch.manual_seed(0)
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    extra = {}
    if "checkpoint" in fixture:
        model = reference.load(fixture["checkpoint"], False)
        tokens, extra = bundled_tokens(model, fixture["checkpoint"], fixture)
    else:
        model, ids = random_checkpoint(folder, fixture)
        tokens = ids[:, :fixture["prompt"]].clone()
        tokens[0, 5:6] = 7    # the all-zero embedding, in texts that are long enough
    out = reference.record(model, tokens, fixture["rows"], fixture.get("blocks"))
    out.update(extra)
    if "pooling" in fixture:
        reference.record_embeddings(model, fixture, out)
    out = {key: value.detach().contiguous().clone() for key, value in out.items()}
    save_file(out, folder / "golden.safetensors", metadata={"format": "rsrc-golden-1"})
    print(f"{name}: {summary(out)}, {(folder / 'golden.safetensors').stat().st_size} bytes")


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
