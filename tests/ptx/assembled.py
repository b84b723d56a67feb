"""Machine code of a checkpoint's kernels of one variant, made by both compilers for a GPU of each generation."""
import subprocess
import sys

GPUS = ("sm_120", "sm_80", "sm_90")
CLEAN = "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads"


def assemble(cuda, stem, matrix, variant, n_functions):
    """Yields the compiler's name and the file for the last GPU, once none of the functions spills for any GPU."""
    for compiler, name in ((cuda, "NVRTC"), ("none", "clang")):
        for gpu in GPUS:
            ptx, cubin = f"{stem}.{name}.ptx", f"{stem}.cubin"
            subprocess.run(["rsrc", matrix, f"--target={gpu}", "--emit=ptx", "-o", ptx, f"--cuda-path={compiler}",
                            f"--variant=*={variant}"], check=True)
            run = subprocess.run([f"{cuda}/bin/ptxas", "-v", f"-arch={gpu}", "-o", cubin, ptx],
                                 capture_output=True, text=True)
            report = run.stdout + run.stderr
            if run.returncode != 0 or report.count(CLEAN) != n_functions:
                sys.exit(f"{name}, {gpu}: {report}")
        yield name, cubin
