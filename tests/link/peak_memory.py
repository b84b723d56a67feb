"""peak_memory.py SMALL LARGE: compiles both checkpoints with one job and with two. The peak memory of rsrc and its
children may grow by at most a sixteenth of the growth of the file, because mapped pages are given back. malloc has one
arena for all threads: what it keeps in others, which no file decides, makes 10 MB of difference from run to run."""
import os
import subprocess
import sys

MEASURE = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); " \
          "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"


def peak_bytes(model, jobs):
    command = ["rsrc", model, "--target=generic", f"-j{jobs}", "-o", model + ".so"]
    return int(subprocess.run([sys.executable, "-c", MEASURE, *command], check=True, stdout=subprocess.PIPE,
                              env={**os.environ, "MALLOC_ARENA_MAX": "1"}).stdout)


small, large = sys.argv[1:]
grown = os.path.getsize(large + "/model.safetensors") - os.path.getsize(small + "/model.safetensors")
for jobs in (1, 2):
    peaks = [peak_bytes(model, jobs) for model in (small, large)]
    print(f"-j{jobs}: a file of {grown} bytes more takes {peaks[1] - peaks[0]} more: {peaks[0]}, {peaks[1]}")
    if grown < 75e6 or peaks[1] - peaks[0] > grown / 16:
        sys.exit(1)
