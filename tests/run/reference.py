"""Compares rsr-run with transformers' results for the bundled model (reference.json).

usage: reference.py REFERENCE.json text FILE    FILE is the greedy continuation of 48 tokens
       reference.py REFERENCE.json bits FILE    FILE is the JSON of --perplexity
"""
import json
import sys

reference = json.load(open(sys.argv[1]))
result = open(sys.argv[3], encoding="utf-8").read()
if sys.argv[2] == "text":
    expected = reference["text"][len(reference["prompt"]):]
    sys.exit(0 if result == expected + "\n" else f"got {result!r}, transformers gives {expected!r}")
bits, expected = json.loads(result)["bits_per_byte"], reference["heldout_bits_per_byte"]
# Another order of float additions flips single int8 roundings; see examples/model/README.md.
sys.exit(0 if abs(bits - expected) < 1e-3 else f"{bits} bits per byte, transformers has {expected}")
