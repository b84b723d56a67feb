"""Counts the machine instructions of a warp in a step of 512 bytes of codes: those of the loop over steps, which
ptxas made for sm_90 of what NVRTC and clang made.

usage: check_sass.py CUDA NVDISASM STEM MATRIX MOST_DOT MOST_MMA"""
import pathlib
import re
import subprocess
import sys

PRODUCTS = {"IDP": 16, "IMMA": 4}  # of a step, by their instruction


def loops(listing):
    """The instructions between a label and a branch back to it, for every such branch."""
    labels, ops = {}, []
    for line in listing.splitlines():
        label = re.match(r"(\.L_x_\d+):", line)
        instruction = re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\d+\s+)?([\w.]+)(.*?);", line)
        if label:
            labels[label.group(1)] = len(ops)
        elif instruction:
            ops.append(instruction.group(1))
            target = re.search(r"(\.L_x_\d+)", instruction.group(2))
            if instruction.group(1).startswith("BRA") and target and target.group(1) in labels:
                yield ops[labels[target.group(1)]:]


def count(nvdisasm, cubin, product):
    """Instructions a step of the function's loop that has products."""
    listing = subprocess.run([nvdisasm, cubin], capture_output=True, text=True, check=True).stdout
    for function in re.split(r"^\s*\.section\s+\.text\.", listing, flags=re.M)[1:]:
        wanted = "_dot_sm_90_1" if product == "IDP" else "_mma_sm_90_8"
        for ops in loops(function) if wanted in function.split(",", 1)[0] else ():
            n = sum(op.startswith(product) for op in ops)
            if n != 0:
                return len(ops) * PRODUCTS[product] / n
    sys.exit(f"{cubin}: no loop with {product}")


def main(cuda, nvdisasm, stem, matrix, *most):
    for compiler in (cuda, "none"):
        ptx = f"{stem}.ptx"
        subprocess.run(["rsrc", matrix, "--target=sm_90", "--emit=ptx", "-o", ptx, f"--cuda-path={compiler}"],
                       check=True)
        subprocess.run([f"{cuda}/bin/ptxas", "-arch=sm_90", ptx, "-o", f"{stem}.cubin"], check=True)
        for product, limit in zip(PRODUCTS, most):
            n = count(nvdisasm, f"{stem}.cubin", product)
            print(f"{'clang' if compiler == 'none' else 'NVRTC'} {product}: {n:.1f} instructions a step")
            if n > float(limit):
                sys.exit(f"more than {limit}")


main(*sys.argv[1:])
