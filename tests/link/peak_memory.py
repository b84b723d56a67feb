"""peak_memory.py SMALL LARGE: compiles both checkpoints with one job and with two. The peak memory of rsrc and its
children may grow by at most a sixteenth of the growth of the file, because mapped pages are given back; where embedding
and head are packed in 12 bits, by an eighth, because their rows' high bytes are kept until they are written. Medians of
three runs are compared: the order in which two threads work makes up to 10 MB of difference."""
import os
import statistics
import subprocess
import sys

MEASURE = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); " \
          "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"


def peak_bytes(model, jobs, bits):
    command = ["rsrc", model, "--target=generic", f"-j{jobs}", f"--head-bits={bits}", "-o", model + ".so"]
    return int(subprocess.run([sys.executable, "-c", MEASURE, *command], check=True, stdout=subprocess.PIPE).stdout)


small, large = sys.argv[1:]
grown = os.path.getsize(large + "/model.safetensors") - os.path.getsize(small + "/model.safetensors")
for bits, share in ((16, 16), (12, 8)):
    for jobs in (1, 2):
        peaks = [statistics.median(peak_bytes(model, jobs, bits) for _ in range(3)) for model in (small, large)]
        print(f"{bits} bits, -j{jobs}: a file of {grown} bytes more takes {peaks[1] - peaks[0]} more: {peaks[0]}, {peaks[1]}")
        if grown < 75e6 or peaks[1] - peaks[0] > grown / share:
            sys.exit(1)
