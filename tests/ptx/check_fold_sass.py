"""Counts the machine instructions of a folded matrix, a warp's for 32 tokens, which ptxas made of what NVRTC and clang
made. Fails where registers spill.

usage: check_fold_sass.py CUDA NVDISASM STEM MATRIX WEIGHTS MOST"""
import re
import subprocess
import sys

from assembled import assemble


def count(nvdisasm, cubin):
    listing = subprocess.run([nvdisasm, cubin], capture_output=True, text=True, check=True).stdout
    names = re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([\w.]+)", listing, flags=re.M)
    return sum(name != "NOP" for name in names)


def main(cuda, nvdisasm, stem, matrix, weights, most):
    for name, cubin in assemble(cuda, stem, matrix, "fold", 1):
        n = count(nvdisasm, cubin) / int(weights)
        print(f"{name}: {n:.3f} instructions a weight")
        if n > float(most):
            sys.exit(f"more than {most}")


main(*sys.argv[1:])
