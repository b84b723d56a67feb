#!/usr/bin/env python3
"""usage: louver_perplexity.py BIN MODULE TEXT [--bytes N] [--kv-type T] [--eps EPS ...]

Measures what error:EPS costs a model: a Markdown table of its perplexity on a text, dense and through the KV index with
min=0, and of what the index read and certified. BIN has rsr-run and rsr-bench. Keys, values and queries of the text's
first window are traced once; all other columns come from them: the part of keys read, what an oracle would read, and
the certified and the true error of the worst head. The last line names the largest EPS whose perplexity, and that of
all smaller ones, differs from dense attention's by less than 0.1 %.
"""
import argparse
import json
import subprocess
import tempfile
from pathlib import Path

LIMIT = 1e-3  # of the perplexity
DEFAULT = [0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.9]


def output(*command):
    return subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True).stdout


def perplexity(args, text, attention):
    return json.loads(output(args.bin / "rsr-run", args.module, "--perplexity", text, "--json", "--attention", attention,
                             "--kv-type", args.kv_type))


def trace(args, text, path):
    """Queries, keys and values of the longest beginning that fits into the context, within a tenth."""
    prompt = path.with_suffix(".txt")
    length = len(text)
    while True:
        prompt.write_text(text[:length])
        run = subprocess.run([str(args.bin / "rsr-run"), str(args.module), "-f", str(prompt), "-n", "2", "--json",
                              "--kv-type", args.kv_type, "--dump-qkv", str(path)], capture_output=True, text=True)
        if run.returncode == 0:
            return
        if length < 64:
            raise SystemExit(run.stderr)
        length = length * 9 // 10


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[2].replace("%", "%%"))
    parser.add_argument("bin", type=Path)
    parser.add_argument("module", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--eps", type=float, nargs="+", default=DEFAULT)
    parser.add_argument("--bytes", type=int, default=1 << 30)
    parser.add_argument("--kv-type", default="bf16")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        text = Path(scratch) / "text.txt"
        text.write_text(args.text.read_text()[:args.bytes])
        qkv = Path(scratch) / "qkv"
        dense = perplexity(args, text, "dense")
        trace(args, text.read_text()[:8 * dense["context"]], qkv)
        print(f"dense: perplexity {dense['perplexity']:.4f}, {dense['tokens']} tokens, context {dense['context']}\n")
        print("| EPS | perplexity | change | keys read | oracle | certified | true error | certified / spread |\n"
              "|" + "---|" * 8)
        kept, may_go_on = None, True
        for eps in sorted(args.eps):
            found = perplexity(args, text, f"louver:error:{eps},min=0")
            change = found["perplexity"] / dense["perplexity"] - 1
            r = json.loads(output(args.bin / "rsr-bench", "attention", "--data", f"trace:{qkv}", "--quick", "--runs", 1,
                                  "--threshold", f"error:{eps}", "--json"))
            print(f"| {eps:g} | {found['perplexity']:.4f} | {100 * change:+.3f} % | {100 * r['exact_fraction']:.0f} % "
                  f"| {100 * r['oracle_fraction']:.0f} % | {r['certified_error']:.2g} | {r['max_output_error']:.2g} "
                  f"| {r['certified_relative_error']:.2g} |", flush=True)
            may_go_on = may_go_on and abs(change) < LIMIT
            kept = eps if may_go_on else kept
        print(f"\nless than 0.1 % up to EPS = {kept}")


if __name__ == "__main__":
    main()
