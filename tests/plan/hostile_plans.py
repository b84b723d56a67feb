"""Applies damaged plans: cut at every line and within words, with bytes and numbers that no plan has. Each is
refused with a place in the file, or has other numbers that are valid.

usage: hostile_plans.py MODEL PLAN
"""
import pathlib
import random
import re
import subprocess
import sys

model, plan = sys.argv[1:]
text = pathlib.Path(plan).read_bytes()
bad = pathlib.Path(plan + ".bad")


def apply(damaged, must_fail=True):
    bad.write_bytes(damaged)
    run = subprocess.run(["rsrc", model, "--target=avx2", f"--plan={bad}", "--to=plan"], capture_output=True)
    errors = run.stderr.decode(errors="replace")
    placed = re.search(re.escape(str(bad)) + r"(:\d+)*: error: .+ \[[a-z-]+\]", errors)
    if run.returncode not in ((1,) if must_fail else (0, 1)) or (run.returncode == 1) != bool(placed):
        sys.exit(f"exit {run.returncode} of {damaged[:400]!r}: {errors}")


lines = text.split(b"\n")
for n in random.Random(1).sample(range(len(lines) - 1), 12):
    apply(b"\n".join(lines[:n]))
    apply(b"\n".join(lines[:n] + [lines[n][:len(lines[n]) // 2]]))
for damaged in (b"", b"\0", b"plan", b"plan 5", b"plan 4\n" + text, text.replace(b"layer", b"lay\0er", 1),
                text.replace(b"q_proj", b"q\0proj", 1), text.replace(b"q_proj\"", b"q_proj", 1), text + b"\xff\xfe",
                text.replace(b"rows", b"rows 99999999999999999999", 1), text + text, b"\n" * 100000, b"#" * 100000,
                b"plan 5\n" * 20000, text.replace(b"reason \"", b"reason \"" + b"x" * 1000000 + b"\\", 1)):
    apply(damaged)
for number in (b"0", b"-1", b"4294967295", b"4294967296", b"18446744073709551616", b"1e9", b"nan", b"0x10", b""):
    for word in (b"rows", b"tile_rows", b"token_tile"):
        apply(re.sub(word + rb" \d+", word + b" " + number, text, 1))
    for word in (b"us", b"weight_bytes", b"acc_bound"):
        apply(re.sub(word + rb" [\d.]+", word + b" " + number, text, 1), must_fail=False)
