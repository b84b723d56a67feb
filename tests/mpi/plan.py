"""usage: plan.py MODULE.so [--check] MPIRUN...

Prints what --plan predicts and what the same run measures, with delays of 0, 10, 50 and 200 us. With --check they must
agree within 20 % in one of several tries: other programs disturb a run, so it is for a machine that has none."""
import re
import subprocess
import sys

checks = sys.argv[2] == "--check"
mpirun = sys.argv[2 + checks:]
failed = False
for delay in 0, 10, 50, 200:
    for _ in range(5 if checks else 1):
        text = subprocess.run([*mpirun, "-n", "2", "rsr-mpi", sys.argv[1], "-t", "1", "--plan", "--delay",
                               str(delay), "-p", "x"], capture_output=True, text=True, check=True).stdout
        predicted = float(re.search(r"^ +2 +([\d.]+)", text, re.M)[1])
        measured = float(re.search(r"^measured with 2 ranks: ([\d.]+)", text, re.M)[1])
        agrees = 1 / 1.2 <= predicted / measured <= 1.2
        if agrees:
            break
    failed |= checks and not agrees
    print(f"{delay} us: predicted {predicted:.0f}, measured {measured:.0f}: {predicted / measured:.2f}")
print(text)
sys.exit(failed)
