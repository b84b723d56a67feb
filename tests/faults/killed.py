"""Kills rsrc with SIGKILL at random moments: killed.py WORK TIMES [--seed N] [--swept].

Afterwards an output is the earlier one (or missing, if there was none), or the complete new one.
The next compilation, with the cache as the kill left it, makes the same bytes as an undisturbed
one. With --swept that next compilation has also removed what the killed one left behind.
"""
import argparse
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

OLD = b"an output of before"
ARGUMENTS = ["model", "--target=generic", "--cache-dir=cache", "-o", "out/m.so"]


def start(folder):
    """Starts rsrc in its own process group, so that its linker is killed with it."""
    environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
    return subprocess.Popen(["rsrc", *ARGUMENTS], cwd=folder, env=environment, start_new_session=True,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def compile_whole(folder):
    child = start(folder)
    _, said = child.communicate()
    if child.returncode != 0:
        sys.exit(f"exit status {child.returncode}: {said}")
    return (folder / "out" / "m.so").read_bytes()


def left_behind(folder):
    return sorted(str(path.relative_to(folder)) for name in ("out", "cache", "tmp")
                  for path in (folder / name).rglob("*") if ".tmp" in path.name)


def empty(folder, names):
    for name in names:
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)


def problem_of(folder, delay, before, whole, swept):
    """Kills one after `delay` seconds; also returns whether it was still running."""
    output = folder / "out" / "m.so"
    child = start(folder)
    time.sleep(delay)
    was_killed = child.poll() is None
    if was_killed:
        os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
    after = output.read_bytes() if output.exists() else None
    if after not in (before, whole):
        return "an output that is neither the old one nor whole", was_killed
    if compile_whole(folder) != whole:
        return "the next compilation makes something else", was_killed
    left = left_behind(folder)
    return (f"still there after the next compilation: {left[:3]}" if swept and left else None), was_killed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("times", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--swept", action="store_true")
    options = parser.parse_args()
    folder = options.work.resolve()
    empty(folder.parent, [folder.name])
    subprocess.run(["rsr-mkmodel", "--preset", "tiny", "-o", folder / "model"], check=True)
    empty(folder, ["out", "cache", "tmp"])
    started = time.monotonic()
    whole = compile_whole(folder)
    seconds = time.monotonic() - started
    rng = random.Random(options.seed)
    failed = n_killed = 0
    for i in range(options.times):
        # Alternates: an earlier output or none, a filled cache or an empty one.
        empty(folder, ["out", "tmp"] + (["cache"] if i % 4 < 2 else []))
        if i % 2:
            (folder / "out" / "m.so").write_bytes(OLD)
        delay = rng.uniform(0, 1.05 * seconds)
        problem, was_killed = problem_of(folder, delay, OLD if i % 2 else None, whole, options.swept)
        n_killed += was_killed
        failed += problem is not None
        if problem:
            print(f"seed {options.seed}, kill {i}, after {1000 * delay:.0f} ms: {problem}", flush=True)
    print(f"{n_killed} compilations killed, {failed} problems")
    if n_killed < options.times // 3:
        sys.exit("too few were still running: this script no longer tests anything")
    sys.exit(1 if failed else 0)


main()
