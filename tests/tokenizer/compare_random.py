#!/usr/bin/env python3
"""Compares the runtime's tokenizer with the `tokenizers` library on random texts.

    pip install tokenizers
    python compare_random.py BUILD/tests/unit/test_tokenizer [--cases 20000] [--seed 1] [NAME...]

For every tokenizer of make_fixtures.py, or the named ones, it makes texts of difficult characters
and of pieces of the tokenizer's vocabulary, encodes them with and without special tokens, decodes
the ids, and decodes random ids. test_tokenizer reads the written folder and reports differences. A
text that shows one belongs in the corpus of make_fixtures.py.
"""
import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import make_fixtures

# Characters are drawn from pools; a text mixes a few pools.
POOLS = [
    "abcdefghijklmnopqrstuvwxyz", "the lord said unto him", "ABCxyz", "0123456789", "\u0663\u0967\u00bd\u00b2\u2460\u2167\U0001d7d8",
    " ", "  ", "\t\n\r", "\n", "\r\n", "\x0b\x0c\x1c\x1d\x1e\x1f\x85", "\u00a0\u2003\u3000\u2028\u2029\u202f\u205f\u1680\u180e\u200b\ufeff",
    "'s't're've'm'll'd", "'S'T\u017f'K", ".,;:!?()[]{}<>/\\|@#$%^&*-_=+`~\"'", "\u2014\u2026\u201c\u201d\u00ab\u00bb\u3002\u300c\uff01\u00a1\u00a7\u00b6\u00b7",
    "\x00\x01\x02\x07\x08\x1b\x7f\x80\x9f", "\u00e9\u00e8\u00fc\u00f1\u00e7\u00c0\u00df\u1e9e\u0130\u0131\u01c5", "e\u0301\u0323\u0300\u0308a\u030aq\u0307\u0327",
    "\u0315\u0300\u05ae\u0338\u0f71\u0f72\u0f74\u0344\u0345", "\u212b\u2126\u1e9b\u0958\ufb1d\u0374\u037e\u2000\uf900\U0002f800",
    "\u1100\u1161\u11a8\uac00\uac01\u11a7\u11c2\ud7a3\u3131", "\u6f22\u5b57\u304b\u306a\u30ab\u30ca\u65e5\u672c\u4eba\U00020000", "\u0430\u0431\u0432\u0410\u0411\u0451\u0419\u0438\u0306",
    "\u0645\u0631\u062d\u0628\u0627\u064b\u0651\u0640\u05d0\u05d1\u05b0\u200f\u202e\u202c\u2066", "\u0e40\u0e1b\u0e47\u0e19\u0e21\u0e19\u0e38\u0e29", "\u0928\u092e\u0938\u094d\u0924\u0947\u093f\u0902",
    "\U0001f600\U0001f469\u200d\U0001f467\ufe0f\U0001f3fd\u2764\u20e3#1", "\U0001f1e9\U0001f1ea\U0001f1ef\U0001f1f5", "\u2581", "\u2581\u2581 ", "\u0120\u010a\u00c3\u00a9\u00ad",
    "\ue000\uf8ff\ufffd\ufffe\uffff\U0010ffff\U000e0041", "\u2200x\u2208\u211d\u00d7\u00f7\u2260\u221a\u20ac\u00a3", "<|eot_id|>", "<s></s>",
]


def added_contents(tok):
    return [token.content for token in tok.get_added_tokens_decoder().values()]


def random_text(rng, added, vocabulary):
    """A text of a few pools, of added tokens, whole and damaged, of pieces of the vocabulary, and of runs
    of one character."""
    kind = rng.randrange(10)
    parts = []
    pools = rng.sample(POOLS, rng.randint(1, 5))
    for _ in range(rng.randint(1, 40)):
        draw = rng.random()
        if draw < 0.12 and added and kind < 6:
            token = rng.choice(added)
            if rng.random() < 0.25:
                at = rng.randrange(len(token))
                token = token[:at] + rng.choice(("", " ", "x", token[at:at + 1] * 2)) + token[at + 1:]
            parts.append(token)
        elif draw < 0.3 and kind > 3:
            parts.append(rng.choice(vocabulary))
        elif draw < 0.34:
            parts.append(rng.choice(rng.choice(pools)) * rng.choice((2, 3, 4, 8, 17, 60)))
        else:
            parts.append(rng.choice(rng.choice(pools)))
    text = "".join(parts)
    return text if kind else "".join(c for c in text if rng.random() < 0.7)


def random_points(rng):
    """Assigned characters of all planes."""
    points = (rng.randrange(rng.choice((0x80, 0x250, 0x3000, 0xd800, 0x14000, 0x20000)))
              for _ in range(rng.randint(1, 30)))
    return "".join(c for c in map(chr, points) if make_fixtures.is_assigned(c))


def random_cases(tok, rng, n_cases):
    added = added_contents(tok)
    vocabulary = [tok.decode([i], skip_special_tokens=False) for i in range(0, tok.get_vocab_size(), 3)]
    for number in range(n_cases):
        text = random_points(rng) if number % 8 == 0 else random_text(rng, added, vocabulary)
        data = text.encode()
        if number % 50 == 1 and data:  # bytes that are not UTF-8
            damaged = bytearray(data)
            damaged[rng.randrange(len(data))] = rng.choice((0x80, 0xc3, 0xe2, 0xed, 0xf0, 0xff))
            data = bytes(damaged)
        yield data


def write_random(folder, name, seed, n_cases):
    tok = make_fixtures.TOKENIZERS[name]()
    rng = random.Random(f"{seed} {name}")
    cases = list(random_cases(tok, rng, n_cases))
    make_fixtures.write(folder / "corpus.json", [make_fixtures.as_json(data) for data in cases])
    make_fixtures.write(folder / f"{name}.tokenizer.json", json.loads(tok.to_str()))
    make_fixtures.write(folder / f"{name}.expected.json",
                        make_fixtures.expected(tok, cases, 1, decode_step=1, n_random_ids=n_cases // 4))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("test_tokenizer")
    parser.add_argument("names", nargs="*", help="tokenizers of make_fixtures.py; all")
    parser.add_argument("--cases", type=int, default=20000, help="texts for each tokenizer")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    n_failed = 0
    for name in args.names or make_fixtures.TOKENIZERS:
        with tempfile.TemporaryDirectory() as folder:
            write_random(Path(folder), name, args.seed, args.cases)
            print(name, flush=True)
            n_failed += subprocess.run([args.test_tokenizer, folder, name], check=False).returncode != 0
    sys.exit(n_failed != 0)


if __name__ == "__main__":
    main()
