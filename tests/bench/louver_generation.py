#!/usr/bin/env python3
"""usage: louver_generation.py RSR_RUN MODULE TEXT [--texts N] [--tokens N] [--kv-type T] [--rules RULE ...]

Measures what the KV index does to long generations: a Markdown table with a row for each rule. Prompts are places of TEXT,
each continued to the end of the context, or by --tokens, through dense attention and through the index (min=0) with the
same seed. "equal" are continuations that do not differ; else they part after a part of their characters, the median
of which is "part at". "judged" is the perplexity of the continuations by the model with dense attention, in which a worse
continuation would show; "reads" is the perplexity of dense attention's continuations, read through the index. The first
row is dense attention, the second one the range of dense attention with other seeds: by so much "judged" differs by chance.
"error": largest certified error of a step, in spreads of the values, with error:EPS.
"""
import argparse
import json
import math
import statistics
import subprocess
import tempfile
from pathlib import Path

PROMPT_BYTES = 160  # about 40 tokens of the bundled model
OTHERS = 5  # sets of other seeds


def run(args, *words):
    command = [str(word) for word in (args.rsr_run, args.module, *words, "--json", "--kv-type", args.kv_type)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout)


def generate(args, prompts, attention, first_seed=0):
    """The answers to all prompts."""
    n = ("-n", args.tokens) if args.tokens else ("-n", 1 << 20)
    return [run(args, "-p", prompt, *n, "--temp", 0.8, "--seed", seed, "--attention", attention)
            for seed, prompt in enumerate(prompts, first_seed)]


def perplexity(args, texts, attention, path):
    """Of all texts together."""
    nats = tokens = 0
    for text in texts:
        path.write_text(text)
        found = run(args, "--perplexity", path, "--attention", attention)
        nats += found["tokens"] * math.log(found["perplexity"])
        tokens += found["tokens"]
    return math.exp(nats / tokens)


def first_difference(a, b):
    """Where two texts part, as a part of the first."""
    same = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    return same / max(len(a), 1)


def places(text, n):
    """n pieces of the text, evenly spread, each from the beginning of a word on."""
    starts = [text.index(" ", i * (len(text) - 2 * PROMPT_BYTES) // n) + 1 for i in range(n)]
    return [text[start:start + PROMPT_BYTES].rstrip() for start in starts]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[2])
    parser.add_argument("rsr_run", type=Path)
    parser.add_argument("module", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--texts", type=int, default=16)
    parser.add_argument("--tokens", type=int, help="of a continuation; else the rest of the context")
    parser.add_argument("--kv-type", default="bf16")
    parser.add_argument("--rules", nargs="+", default=["mass:1e-3", "mass:1e-2", "mass:0.1", "error:0.2", "topk:20"])
    args = parser.parse_args()
    prompts = places(args.text.read_text(), args.texts)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "text.txt"

        def judge(continuations, attention="dense"):
            return perplexity(args, [prompt + text for prompt, text in zip(prompts, continuations)], attention, path)

        dense = [answer["text"] for answer in generate(args, prompts, "dense")]
        others = sorted(judge([answer["text"] for answer in generate(args, prompts, "dense", (1 + i) * len(prompts))])
                        for i in range(OTHERS))
        judged = judge(dense)
        print("| attention | equal | part at | judged | reads | change | keys read | error |\n" + "|" + "---|" * 8)
        print(f"| dense | {len(dense)} of {len(dense)} | | {judged:.3f} | {judged:.3f} | | 100 % | |")
        print(f"| dense, other seeds | | | {others[0]:.3f}-{others[-1]:.3f} | | | | |", flush=True)
        for rule in args.rules:
            attention = f"louver:{rule},min=0"
            answers = generate(args, prompts, attention)
            texts = [answer["text"] for answer in answers]
            parts = [first_difference(a, b) for a, b in zip(dense, texts) if a != b]
            reads = judge(dense, attention)
            index = [answer["attention"] for answer in answers]
            read = sum(one["exact"] for one in index) / sum(one["keys"] for one in index)
            error = max(one["max_relative_error"] for one in index)
            part_at = f"{100 * statistics.median(parts):.0f} %" if parts else ""
            print(f"| {rule} | {len(dense) - len(parts)} of {len(dense)} | {part_at} | {judge(texts):.3f} | {reads:.3f} "
                  f"| {100 * (reads / judged - 1):+.3f} % | {100 * read:.0f} % | {f'{error:.2f}' if error else ''} |", flush=True)


if __name__ == "__main__":
    main()
