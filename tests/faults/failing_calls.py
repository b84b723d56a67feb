"""Lets one system call of rsrc fail, a different one in every run: failing_calls.py WORK [--sample N] [--only CALL].

strace injects the error. Each run must end in one of two ways. Exit status 0 and its whole output:
the error did not matter. Or exit status 1 and a sentence on stderr, with any earlier output
unchanged; several outputs get their names one after another, so each is then the old one or the
complete new one. After ENOMEM, the status may be 70 (out of memory). No run may leave a temporary
file behind, or a cache that spoils the next compilation.
"""
import argparse
import collections
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys

# The errors of each call. Some calls are not listed: calls that cannot fail or whose result is
# ignored (umask, munmap); futex, because glibc then ends the process; brk, which returns an address
# when it fails; and calls that remove files, without which no clean-up is possible.
ERRORS = {"openat": ["EACCES", "EMFILE"], "newfstatat": ["EIO"], "fstat": ["EIO"], "read": ["EIO"],
          "pread64": ["EIO"], "write": ["ENOSPC"], "pwrite64": ["ENOSPC"], "close": ["EIO"], "mmap": ["ENOMEM"],
          "mprotect": ["ENOMEM"], "rename": ["EIO"], "renameat2": ["EIO"], "linkat": ["EIO"],
          "mkdir": ["EACCES"], "fchmod": ["EPERM"], "clone3": ["EAGAIN"], "vfork": ["EAGAIN"], "pipe2": ["EMFILE"],
          "wait4": ["ECHILD"], "poll": ["EINTR", "ENOMEM"], "getdents64": ["EIO"], "fsync": ["EIO"],
          "fdatasync": ["EIO"], "ftruncate": ["EIO"], "fallocate": ["ENOSPC"], "flock": ["EIO"], "lseek": ["EIO"],
          "readlink": ["EIO"], "getcwd": ["ENOENT"], "access": ["EACCES"], "madvise": ["EINVAL"],
          "getrandom": ["EAGAIN"], "utimensat": ["EPERM"], "sysinfo": ["EFAULT"], "prlimit64": ["EPERM"]}
OLD = b"an output of before"
SECONDS = 60


class Way:
    """A compilation: arguments, and the names of its outputs below out/."""

    def __init__(self, name, arguments, outputs):
        self.name, self.arguments, self.outputs = name, arguments, outputs


WAYS = [
    Way("module", ["model", "--target=generic", "-j1", "--cache-dir=cache", "-o", "out/m.so"], ["m.so"]),
    Way("texts", ["m.safetensors", "--target=generic", "-j1", "--emit=c,plan,report", "-o", "out/"], ["m.c", "m.plan"]),
]


class Bench:
    def __init__(self, work, way):
        self.folder, self.way = work / way.name, way
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for name in ("tmp", "out", "cache"):
            (self.folder / name).mkdir()
        subprocess.run(["rsr-mkmodel", "--preset", "tiny", "--layers", "1", "-o", self.folder / "model"], check=True)
        subprocess.run(["rsr-mkmodel", "--matrix", "40x30:ternary", "-o", self.folder / "m.safetensors"], check=True)

    def run(self, strace):
        environment = {**os.environ, "TMPDIR": str(self.folder / "tmp")}
        return subprocess.run(["strace", "-y", "-o", self.folder / "trace", *strace, "rsrc", *self.way.arguments],
                              cwd=self.folder, env=environment, capture_output=True, text=True, timeout=SECONDS)

    def reset(self):
        """Makes outputs of an earlier run, and an empty cache."""
        for name in ("out", "cache", "tmp"):
            shutil.rmtree(self.folder / name)
            (self.folder / name).mkdir()
        for name in self.way.outputs:
            (self.folder / "out" / name).write_bytes(OLD)

    def outputs(self):
        return {path.name: path.read_bytes() for path in sorted((self.folder / "out").iterdir()) if path.is_file()}

    def left_behind(self):
        found = [path for path in (self.folder / "tmp").iterdir()]
        found += [path for name in ("out", "cache") for path in (self.folder / name).rglob("*")
                  if ".tmp" in path.name or path.name.startswith(".")]
        return [str(path.relative_to(self.folder)) for path in found]

    def list_calls(self):
        """name -> numbers of its calls, from the point where the program reads its input."""
        counts, numbers, started = collections.Counter(), collections.defaultdict(list), False
        for line in (self.folder / "trace").read_text().splitlines():
            match = re.match(r"(\w+)\(", line)
            if not match:
                continue
            name = match.group(1)
            counts[name] += 1
            # strace returns the error instead of making the call: a pipe that is not closed keeps
            # its readers waiting.
            if name == "close" and str(self.folder) not in line:
                continue
            started = started or f'"{self.way.arguments[0]}' in line and name != "execve"
            if started and name in ERRORS and "(2<" not in line:
                numbers[name].append(counts[name])
        return numbers

    def problem(self, name, error, number, whole):
        before = self.outputs()
        try:
            result = self.run([f"-e", f"inject={name}:error={error}:when={number}"])
        except subprocess.TimeoutExpired:
            return "does not end"
        if self.left_behind():
            return f"leaves behind {self.left_behind()[:5]} (exit status {result.returncode})"
        if result.returncode == 0:
            return None if self.outputs() == whole else "exit status 0, and outputs that are not whole"
        if result.returncode not in ((1, 70) if error == "ENOMEM" else (1,)):
            return f"exit status {result.returncode}: {result.stderr[-300:]}"
        if not re.search(r"error: .*\w", result.stderr):
            return f"fails without a sentence: '{result.stderr[-300:]}'"
        after = self.outputs()
        if len(self.way.outputs) == 1:
            return None if after == before else "fails, and its output has changed"
        return None if all(content in (before.get(file), whole.get(file)) for file, content in after.items()) \
            else "fails, and an output is not whole"

    def is_spoilt(self, whole):
        """The same compilation once more, with the cache as it was left."""
        return self.run(["-e", "trace=execve"]).returncode != 0 or self.outputs() != whole


def check(bench, sample, only):
    bench.reset()
    first = bench.run([])
    if first.returncode != 0:
        sys.exit(f"{bench.way.name}: {first.stderr}")
    whole = bench.outputs()
    faults = [(name, error, number) for name, numbers in bench.list_calls().items() for error in ERRORS[name]
              for number in numbers if only in (None, name)]
    if len(faults) < 100 and not only:
        sys.exit(f"{bench.way.name}: only {len(faults)} calls were found: this script does not see them")
    if sample < len(faults):
        # The last call of each kind comes first, because files get their names at the end.
        rng = random.Random(1)
        kept = list({fault[:2]: fault for fault in faults}.values())
        others = [fault for fault in faults if fault not in kept]
        faults = rng.sample(kept, min(sample, len(kept))) + rng.sample(others, max(0, sample - len(kept)))
    failed = 0
    for name, error, number in faults:
        bench.reset()
        problem = bench.problem(name, error, number, whole)
        if not problem and "cache" in " ".join(bench.way.arguments) and bench.is_spoilt(whole):
            problem = "spoils the next compilation"
        if problem:
            print(f"{bench.way.name}: {name} {number} answers {error}: {problem}", flush=True)
            failed += 1
    print(f"{bench.way.name}: {len(faults)} failing calls, {failed} wrong answers", flush=True)
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--sample", type=int, default=sys.maxsize, help="of each way only so many calls")
    parser.add_argument("--only", help="this system call alone")
    options = parser.parse_args()
    work = options.work.resolve()
    sys.exit(1 if sum(check(Bench(work, way), options.sample, options.only) for way in WAYS) else 0)


main()
