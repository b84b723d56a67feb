"""Counts the machine instructions of a folded matrix, a warp's for 32 tokens, which ptxas made of what NVRTC and clang
made. Fails where registers spill.

usage: check_fold_sass.py CUDA NVDISASM STEM MATRIX WEIGHTS MOST"""
import re
import subprocess
import sys


def count(nvdisasm, cubin):
    listing = subprocess.run([nvdisasm, cubin], capture_output=True, text=True, check=True).stdout
    names = re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([\w.]+)", listing, flags=re.M)
    return sum(name != "NOP" for name in names)


def main(cuda, nvdisasm, stem, matrix, weights, most):
    for compiler, name in ((cuda, "NVRTC"), ("none", "clang")):
        ptx = f"{stem}.{name}.ptx"
        subprocess.run(["rsrc", matrix, "--target=sm_90", "--emit=ptx", "-o", ptx, f"--cuda-path={compiler}",
                        "--variant=*=fold"], check=True)
        for arch in ("sm_120", "sm_80", "sm_90"):
            run = subprocess.run([f"{cuda}/bin/ptxas", "-v", f"-arch={arch}", "-o", f"{stem}.cubin", "-"],
                                 input=re.sub(r"\.target sm_\d+", f".target {arch}",
                                              re.sub(r"\.version \S+", ".version 8.7", open(ptx).read())),
                                 capture_output=True, text=True, check=True)
            if "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" not in run.stderr:
                sys.exit(f"{name}, {arch}: {run.stderr}")
        n = count(nvdisasm, f"{stem}.cubin") / int(weights)
        print(f"{name}: {n:.3f} instructions a weight")
        if n > float(most):
            sys.exit(f"more than {most}")


main(*sys.argv[1:])
