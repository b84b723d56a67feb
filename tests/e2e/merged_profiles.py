"""Checks that two profiles are merged by their tokens: merged_profiles.py MODEL ONE OTHER. A remark of the planner
has the mean share of each layer."""
import json
import re
import subprocess
import sys

model, *files = sys.argv[1:]
profiles = [json.load(open(file)) for file in files]
tokens = [profile["tokens"] for profile in profiles]
run = subprocess.run(["rsrc", model, "--target=avx2", "--to=plan", "-Rpass-missed=plan",
                      *(f"--profile-use={file}" for file in files)], capture_output=True, text=True, check=True)
found = re.findall(r"layers\.(\d+)\.mlp\.(up|down)_proj': decode: declined dot over [a-z ]+: with (\d+) %", run.stderr)
if len(found) != len(profiles[0]["layers"]):
    sys.exit(f"{len(found)} remarks: {run.stderr}")
for block, role, percent in found:
    rows = [row for profile in profiles for row in profile["layers"]
            if row["block"] == int(block) and row["role"] == role]
    mean = sum(n * row["active"] for n, row in zip(tokens, rows)) / sum(tokens)
    if abs(100 * mean / rows[0]["channels"] - int(percent)) > 0.501:
        sys.exit(f"block {block}'s {role}: {percent} %, where {mean} of {rows[0]['channels']} are active")
