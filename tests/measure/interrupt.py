"""usage: interrupt.py SIGNAL FILE COMMAND...: sends SIGNAL to the command as soon as FILE exists, and waits for the
command's end. Fails if the command ended by itself, or if the process whose id is in FILE still exists."""
import os
import pathlib
import signal
import subprocess
import sys
import time

name, path, command = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:]
path.unlink(missing_ok=True)
signal.signal(signal.SIGINT, signal.SIG_DFL)  # the tests' runner may ignore it, and children would, too
process = subprocess.Popen(command)
while not path.exists() or not path.read_text().endswith("\n"):
    if process.poll() is not None:
        sys.exit(f"ended by itself: {process.returncode}")
    time.sleep(0.05)
process.send_signal(signal.Signals[name])
print("status", process.wait())
try:
    os.kill(int(path.read_text()), 0)
except ProcessLookupError:
    sys.exit(0)
sys.exit("its child still runs")
