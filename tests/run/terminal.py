"""Runs rsr-run, interrupts it, and checks the terminal's output. Used by terminal.test."""
import os
import pathlib
import pty
import signal
import subprocess
import sys
import time

program, model, chatting = sys.argv[1:4]

# More tokens than can be generated before the signal; it is sent once text flows.
run = subprocess.Popen([program, model, "-p", "In the beginning", "-n", "480"], stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE)
first = os.read(run.stdout.fileno(), 1)
run.send_signal(signal.SIGINT)
out, err = run.communicate(timeout=60)
print("exit", run.returncode)
print("newline at the end:", (first + out).endswith(b"\n"))
print("summary:", err.decode().strip())

# While rsr-run waits for a text, it prints nothing. If the kernel does not tell what a process waits
# for, the test waits for some time.
fifo = chatting + ".fifo"
pathlib.Path(fifo).unlink(missing_ok=True)
os.mkfifo(fifo)
for arguments in [model, "-"], [model, "--perplexity", "-"], [chatting, "--chat"], [model, "-f", fifo]:
    run = subprocess.Popen([program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if any(wait in pathlib.Path(f"/proc/{run.pid}/wchan").read_text() for wait in ("pipe", "partner")):
            break
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    print("waiting:", run.wait(timeout=60), run.stdout.read() + run.stderr.read())


def is_control(byte):
    return byte < 0x20 and byte not in b"\r\n\t" or byte == 0x7f


# At this temperature every token is as likely as another, control characters among them. The
# terminal gets them as text; a pipe gets them as they are.
wild = [program, model, "-p", "x", "-n", "400", "--temp", "1000", "--top-k", "0", "--top-p", "1",
        "--repeat-penalty", "1", "--seed", "1"]
piped = subprocess.run(wild, capture_output=True, timeout=60).stdout
print("control characters in a pipe:", sum(map(is_control, piped)))
leader, follower = pty.openpty()
run = subprocess.Popen(wild, stdout=follower, stderr=subprocess.DEVNULL)
os.close(follower)
shown = b""
while True:
    try:
        block = os.read(leader, 4096)
    except OSError:  # the other end is closed
        break
    if not block:
        break
    shown += block
run.wait(timeout=60)
print("control characters on a terminal:", sum(map(is_control, shown)))

# Control characters of names in messages are always shown as text.
run = subprocess.run([program, "no\x1b[31msuch.so", "-p", "x"], capture_output=True, timeout=60)
print("control characters in a message:", sum(map(is_control, run.stderr)))
