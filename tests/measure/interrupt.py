"""usage: interrupt.py SIGNAL FILE COMMAND...: sends SIGNAL to the command once FILE is there, and waits for its end. Fails
if it ended by itself, or if a process whose id FILE has is left."""
import os
import pathlib
import signal
import subprocess
import sys
import time

name, path, command = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:]
path.unlink(missing_ok=True)
signal.signal(signal.SIGINT, signal.SIG_DFL)  # what runs the tests may ignore it, and so would a shell
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
