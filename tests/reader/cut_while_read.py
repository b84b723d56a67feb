"""Starts rsrc on a checkpoint and cuts the weights at growing delays until that was in the middle."""
import pathlib
import shutil
import subprocess
import sys
import time

folder = pathlib.Path(sys.argv[1])
weights = folder / "model.safetensors"
keep = folder.parent / "whole.safetensors"
shutil.copy(weights, keep)
for delay in [0.01 * 1.3 ** i for i in range(20)]:
    shutil.copy(keep, weights)
    process = subprocess.Popen(["rsrc", str(folder), "--emit=plan", "-j", "1", "-o", str(folder / "x.plan")],
                               stderr=subprocess.PIPE, text=True)
    time.sleep(delay)
    with open(weights, "r+b") as file:
        file.truncate(4096)
    error = process.communicate()[1]
    if process.returncode not in (0, 1):
        sys.exit(f"exit {process.returncode} after {delay:.3f} s: {error}")
    if "[file-unreadable]" in error:
        print(error, end="")
        sys.exit(0)
sys.exit("never caught it in the middle")
