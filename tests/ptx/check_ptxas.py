"""Compiles checkpoints for GPUs, by NVRTC and by clang, in both codes, and assembles the PTX: ptxas must
accept all entries, without a spill and without a stack, within registers, and no lower version of PTX.

usage: check_ptxas.py CUDA STEM CHECKPOINT ... | check_ptxas.py --ptx FILE CUDA"""
import os
import pathlib
import re
import subprocess
import sys

# One of each generation that has instructions of its own, unless RSRC_TEST_LONG is set.
GPUS = ["sm_80", "sm_90", "sm_120"] + (["sm_86", "sm_89", "sm_100"] if "RSRC_TEST_LONG" in os.environ else [])
VERSIONS = "6.5 7.0 7.1 7.2 7.3 7.4 7.5 7.6 7.7 7.8 8.0 8.1 8.2 8.3 8.4 8.5 8.6 8.7 8.8 9.0".split()
CLEAN = "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads"


def assemble(cuda, path):
    """Checks one file; returns the number of its entries."""
    text = pathlib.Path(path).read_text()
    target = re.search(r"^\.target (\w+)", text, re.M).group(1)
    n_entries = len(re.findall(r"^\.visible \.entry", text, re.M))
    run = subprocess.run([f"{cuda}/bin/ptxas", "-v", f"-arch={target}", path, "-o", f"{path}.cubin"],
                         capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"{path}: ptxas refuses it\n{run.stdout}{run.stderr}")
    frames = re.findall(r"\d+ bytes stack frame.*", run.stdout + run.stderr)
    # Three blocks fit the registers of a multiprocessor, one token takes few. (Of blocks below 128 threads a
    # multiprocessor holds fewer than 64 registers allow, 16 on sm_86: ptxas then ignores the bound.)
    for name, registers in re.findall(r"entry function '(\w+)'.*?Used (\d+) registers", run.stdout + run.stderr, re.S):
        stated = re.search(rf"entry {name}\(.*?\.maxntid (\d+)", text, re.S)
        threads = int(stated.group(1)) if stated else 0
        alone = re.search(r"_dot_sm_\d+_1$", name) and threads >= 128
        if 3 * threads * int(registers) > 65536 or (alone and int(registers) > 64):
            sys.exit(f"{path}: {name} of {threads} threads takes {registers} registers")
    bad = [frame for frame in frames if frame.strip() != CLEAN]
    if bad or len(frames) != n_entries or n_entries == 0:
        sys.exit(f"{path}: {n_entries} entries, {len(frames)} reports: {bad}")
    return n_entries


def check_version(cuda, path):
    """The version that the file states is the lowest."""
    text = pathlib.Path(path).read_text()
    target, version = (re.search(rf"^\.{word} (\S+)", text, re.M).group(1) for word in ("target", "version"))
    lower = VERSIONS[VERSIONS.index(version) - 1]
    pathlib.Path(path).write_text(text.replace(f".version {version}\n", f".version {lower}\n"))
    run = subprocess.run([f"{cuda}/bin/ptxas", f"-arch={target}", path, "-o", f"{path}.cubin"], capture_output=True)
    if run.returncode == 0:
        sys.exit(f"{path}: states PTX {version}, and {lower} is accepted")


def main(cuda, stem, *checkpoints):
    total = 0
    for checkpoint in checkpoints:
        for gpu in GPUS:
            for codes in ("bits2", "base3"):
                for compiler in (cuda, "none"):
                    path, plan = f"{stem}.{gpu}.ptx", pathlib.Path(f"{stem}.{gpu}.plan")
                    subprocess.run(["rsrc", checkpoint, f"--target={gpu}", "--emit=plan", "-o", plan], check=True)
                    plan.write_text(re.sub("(dot|mma)_(bits2|base3)", rf"\1_{codes}", plan.read_text()))
                    subprocess.run(["rsrc", checkpoint, f"--target={gpu}", "--emit=ptx", "-o", path,
                                    f"--plan={plan}", f"--cuda-path={compiler}"], check=True)
                    total += assemble(cuda, path)
                    check_version(cuda, path)
    print(f"{total} kernels, none spills")


if sys.argv[1] == "--ptx":
    assemble(sys.argv[3], sys.argv[2])
else:
    main(*sys.argv[1:])
