"""Damages valid files at random and checks that each is refused or read completely: damage.py WORK
SEEDS.

It makes SEEDS damaged files of every kind, equal ones in every run. rsrc must end with exit status
1, a diagnostic and no output, or with 0, no error and a complete output: JSON that parses, a text
that reads back.
"""
import argparse
import json
import pathlib
import random
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import cases_gguf  # noqa: E402
import cases_npy  # noqa: E402
import cases_safetensors  # noqa: E402
import cases_texts  # noqa: E402
import harness  # noqa: E402
import model_folder  # noqa: E402

# Texts that replace a number.
NUMBERS = [b"0", b"-1", b"1", b"255", b"65536", b"4294967295", b"4294967296", b"9223372036854775807",
           b"18446744073709551616", b"1e999", b"0.5", b"null", b'""', b"[]", b"{}"]
REPORT = ["--target=generic", "--to=report", "--report=json:made"]


# ---- damage --------------------------------------------------------------------------------------

def flip_bits(content, rng):
    damaged = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8])):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def set_bytes(content, rng):
    at = rng.randrange(len(content))
    n = rng.choice([1, 2, 4, 8])
    return content[:at] + bytes([rng.choice([0, 255, 127, 128])]) * n + content[at + n:]


def cut(content, rng):
    return content[:rng.randrange(len(content))]


def leave_out(content, rng):
    at = rng.randrange(len(content))
    return content[:at] + content[at + rng.randrange(1, 64):]


def repeat(content, rng):
    at = rng.randrange(len(content))
    end = at + rng.randrange(1, 256)
    return content[:end] + content[at:end] * rng.choice([1, 1, 100]) + content[end:]


def replace_number(content, rng):
    digits = [i for i, byte in enumerate(content) if chr(byte).isdigit()]
    begin = end = rng.choice(digits) if digits else 0
    while end < len(content) and chr(content[end]).isdigit():
        end += 1
    return content[:begin] + rng.choice(NUMBERS) + content[end:]


# Headers are at the beginning: half of the damage is there.
def near_the_beginning(change):
    def apply(content, rng):
        n = min(len(content), 256)
        return change(content[:n], rng) + content[n:]
    return apply


CHANGES = [flip_bits, set_bytes, cut, leave_out, repeat, replace_number]
CHANGES += [near_the_beginning(change) for change in CHANGES]


# ---- the damaged files
# -----------------------------------------------------------------------------

class Subject:
    """A valid file, and the output that rsrc makes of it. `make` writes the content and returns the
    arguments."""

    def __init__(self, name, content, make, is_complete):
        self.name, self.content, self.make, self.is_complete = name, content, make, is_complete


def file_beside(path, arguments):
    def make(folder, content):
        (folder / path).write_bytes(content)
        return [*arguments]
    return make


def of_model(name, *options):
    def make(folder, content):
        model_folder.replace_file(name, content, *options)(folder)
        return ["model", *REPORT]
    return make


def is_json(folder):
    json.loads((folder / "made").read_text())
    return True


def reads_back(kind):
    def check(folder):
        (folder / f"t.{kind}").write_bytes((folder / "made").read_bytes())
        (folder / "made").rename(folder / "first")
        again = harness.run(["rsrc", *cases_texts.arguments(kind)], folder)
        return again.status == 0 and (folder / "made").read_bytes() == (folder / "first").read_bytes()
    return check


def subjects(folder):
    """`folder` is free for a case; the valid files are made beside it."""
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
                 "model.safetensors"):
        yield Subject(name, model_folder.original(folder)[name].read_bytes(), of_model(name), is_json)
    sharded = ("--shard-bytes", "40000")
    index = "model.safetensors.index.json"
    yield Subject(index, model_folder.original(folder, *sharded)[index].read_bytes(), of_model(index, *sharded),
                  is_json)
    folder.mkdir(parents=True, exist_ok=True)
    cases_gguf.whole("", "").make(folder)
    gguf = ["m.gguf", "--activations=int8", *REPORT]
    yield Subject("gguf", (folder / "m.gguf").read_bytes(), file_beside("m.gguf", gguf), is_json)
    yield Subject("npy", cases_npy.WHOLE, file_beside("m.npy", ["m.npy", *REPORT]), is_json)
    yield Subject("safetensors", cases_safetensors.WHOLE, file_beside("m.safetensors", ["m.safetensors", *REPORT]),
                  is_json)
    spec = b"name: x\ninherit: generic\nfeatures: [ssse3, sse4.1, popcnt]\nvector_bits: 128\nl2_bytes: 1M\nread_gbps: 9.5\n"
    (folder / "m.npy").write_bytes(cases_npy.WHOLE)
    matrix = str(folder / "m.npy")
    yield Subject("spec", spec, file_beside("x.yaml", [matrix, "--target=x.yaml", *REPORT[1:]]), is_json)
    for kind in ("rsr", "plan", "step", "kernel"):
        text = cases_texts.valid(folder, kind).encode()
        yield Subject(kind, text, file_beside(f"t.{kind}", cases_texts.arguments(kind)), reads_back(kind))


# ---- checking ------------------------------------------------------------------------------------

def problem_of(subject, seed, folder):
    rng = random.Random(f"{subject.name}-{seed}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    arguments = subject.make(folder, rng.choice(CHANGES)(subject.content, rng))
    before = harness.listing(folder)
    result = harness.run(["rsrc", *arguments, "--diagnostics-format=json", "-j1"], folder)
    slugs = [json.loads(line)["slug"] for line in result.stderr.splitlines() if '"severity":"error"' in line]
    if result.status not in (0, 1):
        return f"exit status {result.status}: {result.stderr[:300]}"
    if result.status == 1 and not slugs:
        return "refused without a diagnostic: " + result.stderr[:300]
    if result.status == 1 and harness.listing(folder) != before:
        return "refused, but files change"
    if result.status == 0 and slugs:
        return f"read, with the errors {slugs}"
    try:
        if result.status == 0 and not subject.is_complete(folder):
            return "its output does not read back"
    except (OSError, ValueError) as error:
        return f"its output is not complete: {error}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("seeds", type=int)
    parser.add_argument("--first", type=int, default=0, help="the first seed, for more than the tests run")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    failed = n = 0
    for subject in subjects(options.work / "sources"):
        for seed in range(options.first, options.first + options.seeds):
            folder = options.work / f"{subject.name}-{seed}"
            problem = problem_of(subject, seed, folder)
            n += 1
            failed += problem is not None
            if problem:
                print(f"{subject.name}, seed {seed}: {problem}")
            else:
                shutil.rmtree(folder)
    print(f"{n} damaged files")
    sys.exit(1 if failed else 0)


main()
