#!/usr/bin/env python3
"""Compare compiled models with transformers on random checkpoints of Qwen3.5's text model, of one
layer or two, with texts of 2 to 200 tokens: at once, and token by token from the first on.

Needs what make_golden.py needs; it writes nothing into the repository.

    python sweep_qwen3_5.py BUILD [--lengths 2,3,4]     # BUILD: build/release
"""
import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import make_golden
import torch

LENGTHS = (2, 3, 4, 5, 16, 17, 63, 64, 65, 127, 128, 129, 200)


def shape(seed, layers, heads, delta_heads, dims, **fields):
    """One fixture: heads are (query, KV), delta_heads (key, value), dims those of a delta head."""
    config = dict(make_golden.QWEN3_5, hidden_size=72, intermediate_size=140,
                  num_hidden_layers=len(layers), num_attention_heads=heads[0],
                  num_key_value_heads=heads[1], head_dim=40, vocab_size=151,
                  linear_num_key_heads=delta_heads[0], linear_num_value_heads=delta_heads[1],
                  linear_key_head_dim=dims[0], linear_value_head_dim=dims[1],
                  layer_types=[f"{layer}_attention" for layer in layers], **fields)
    return dict(seed=seed, scale="groups", dtype=torch.float16, config=config)


PACKED = dict(scale="divide", dtype=torch.bfloat16)
QUANTIZED = dict(quantization_config=make_golden.bitnet_quantization())
SHAPES = {
    "delta": shape(21, ["linear"], (2, 1), (2, 6), (24, 20)),
    "delta_tied": shape(22, ["linear"], (2, 1), (1, 3), (16, 33), tie_word_embeddings=True),
    "attention": shape(23, ["full"], (3, 1), (2, 2), (16, 16)),
    "delta_packed": {**shape(24, ["linear"], (2, 1), (4, 4), (40, 24), **QUANTIZED), **PACKED},
    "both": shape(25, ["linear", "full"], (4, 2), (1, 4), (32, 17)),
}


def check(name, build, folder):
    """The report of golden_check; None if it, or the compiler, found a difference."""
    subprocess.run([build / "bin/rsrc", folder, "-o", folder / "m.so"], check=True,
                   stderr=subprocess.DEVNULL)
    run = subprocess.run([build / "tests/golden/golden_check", folder / "m.so",
                          folder / "golden.safetensors"], capture_output=True, text=True)
    if run.returncode == 0 and "agrees with transformers" in run.stdout:
        return run.stdout
    print(f"{name}: DIFFERS\n{run.stdout}{run.stderr}")
    return None


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path)
    parser.add_argument("--lengths", default=",".join(map(str, LENGTHS)))
    args = parser.parse_args()
    torch.set_num_threads(1)
    n_bad = n = 0
    with tempfile.TemporaryDirectory() as scratch:
        make_golden.HERE = Path(scratch)
        for name, fixture in SHAPES.items():
            for length in map(int, args.lengths.split(",")):
                case = f"{name}_{length}"
                make_golden.make(case, dict(fixture, prompt=length, rows=range(0, length, 9)))
                n += 1
                n_bad += check(case, args.build.resolve(), Path(scratch) / case) is None
    print(f"{n} checkpoints, {n_bad} differ")
    return n_bad != 0


if __name__ == "__main__":
    sys.exit(main())
