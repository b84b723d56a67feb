"""Counts the machine instructions of a warp for a code of 32 rows, which ptxas made for sm_90 of what NVRTC and clang
made: those between two barriers, where 32 codes select sums. Fails where registers spill, for any GPU.

usage: check_segment_sass.py CUDA NVDISASM STEM MATRIX MOST_ALONE MOST_SHARED"""
import re
import subprocess
import sys

from assembled import assemble

CODES = 32  # between two barriers
FUNCTIONS = ("_1", "_4")


def count(nvdisasm, cubin, function):
    listing = subprocess.run([nvdisasm, cubin], capture_output=True, text=True, check=True).stdout
    (text,) = re.findall(rf"^\.text\.\w+{function}:$(.*?)(?=^\.text\.|\Z)", listing, flags=re.M | re.S)
    ops = re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([\w.]+)", text, flags=re.M)
    first, second = (i for i, op in enumerate(ops) if op.startswith("BAR"))
    between = ops[first + 1:second]
    if sum(op.startswith("LDS") for op in between) != CODES:
        sys.exit(f"{cubin}: other loads than {CODES} codes have")
    return len(between) / CODES


def main(cuda, nvdisasm, stem, matrix, *most):
    for name, cubin in assemble(cuda, stem, matrix, "segment", len(FUNCTIONS)):
        counts = [count(nvdisasm, cubin, function) for function in FUNCTIONS]
        print(f"{name}: {counts[0]:.1f} and {counts[1]:.1f} instructions a code")
        for n, limit in zip(counts, most):
            if n > float(limit):
                sys.exit(f"more than {limit}")


main(*sys.argv[1:])
