"""Compiles checkpoints for every GPU, by NVRTC and by LLVM, in both codes, and assembles the PTX: ptxas must
accept all entries, without a spill and without a stack.

usage: check_ptxas.py CUDA STEM CHECKPOINT ... | check_ptxas.py --ptx FILE CUDA"""
import pathlib
import re
import subprocess
import sys

GPUS = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100"]
LLVM_LACKS = {"sm_100"}
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
    bad = [frame for frame in frames if frame.strip() != CLEAN]
    if bad or len(frames) != n_entries or n_entries == 0:
        sys.exit(f"{path}: {n_entries} entries, {len(frames)} reports: {bad}")
    return n_entries


def main(cuda, stem, *checkpoints):
    total = 0
    for checkpoint in checkpoints:
        for gpu in GPUS:
            for codes in ("bits2", "base3"):
                for compiler in (cuda, "none"):
                    if compiler == "none" and gpu in LLVM_LACKS:
                        continue
                    path = f"{stem}.{gpu}.ptx"
                    subprocess.run(["rsrc", checkpoint, f"--target={gpu}", "--emit=ptx", "-o", path,
                                    f"--variant=*={codes}", f"--cuda-path={compiler}"], check=True)
                    total += assemble(cuda, path)
    print(f"{total} kernels, none spills")


if sys.argv[1] == "--ptx":
    assemble(sys.argv[3], sys.argv[2])
else:
    main(*sys.argv[1:])
