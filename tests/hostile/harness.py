"""Runs a program on one bad input under limits of memory and time, and says what is wrong with the
result.

Every bad input must give: exit status 1, the one diagnostic of the table with its place, nothing on
standard output, no file written, and no more memory than a fixed amount and a small multiple of the
input.
"""
import dataclasses
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
from typing import Callable, Optional

# Beyond what a run of the same program on a small valid input takes.
FREE_BYTES = 16 << 20
BYTES_PER_INPUT_BYTE = 40
# Address space for data, touched or not: the reserve of allocators, and the multiple above.
FREE_DATA_BYTES = 192 << 20
CPU_SECONDS = 10
WALL_SECONDS = 60


@dataclasses.dataclass
class Case:
    """One bad input. `make` writes it into a given folder and returns the arguments."""
    name: str
    slug: str  # the slug of a diagnostic, or words of rsr-run's sentence
    make: Callable[[pathlib.Path], list]
    place: str = "file"  # the place that the diagnostic must have: file, line, offset, or none
    program: str = "rsrc"
    stdin: bytes = b""  # fits into a pipe
    free_bytes: int = FREE_BYTES


@dataclasses.dataclass
class Result:
    status: int  # as in subprocess: -N is signal N
    stdout: str
    stderr: str
    peak_bytes: int


def limit_child(data_bytes):
    """Called in the child before it becomes the program. The alarm stays set."""
    def set_limits():
        signal.alarm(WALL_SECONDS)
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if data_bytes:
            resource.setrlimit(resource.RLIMIT_DATA, (data_bytes, data_bytes))
    return set_limits


def filled_pipe(content):
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    return open(reading, "rb")


def run(arguments, cwd, data_bytes=0, stdin=b""):
    """Like subprocess.run, with limits, and with the peak of resident memory of this one child."""
    with open(cwd / "stdout.log", "w+b") as out, open(cwd / "stderr.log", "w+b") as err, filled_pipe(stdin) as pipe:
        child = subprocess.Popen(arguments, cwd=cwd, stdin=pipe, stdout=out, stderr=err,
                                 preexec_fn=limit_child(data_bytes))
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        texts = [file.read().decode("utf-8", "surrogateescape") for file in (out, err)]
    for name in ("stdout.log", "stderr.log"):
        (cwd / name).unlink()
    return Result(child.returncode, *texts, usage.ru_maxrss * 1024)


def input_bytes(folder):
    """The bytes of the files written for the case. Common files are links."""
    total = 0
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            total += path.stat().st_blocks * 512
    return total


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def check_diagnostics(case, stderr):
    """Every line is one JSON object; every error has the slug; the first has its place."""
    try:
        lines = [json.loads(line) for line in stderr.splitlines()]
    except ValueError:
        return ["a line that is no diagnostic: " + stderr[:300]]
    errors = [line for line in lines if line["severity"] == "error"]
    slugs = sorted({error["slug"] for error in errors})
    if slugs != [case.slug]:
        return [f"[{', '.join(slugs)}] where [{case.slug}] is expected: " + stderr[:300]]
    if case.place and case.place not in errors[0]:
        return [f"no {case.place} in " + stderr[:300]]
    if not errors[0]["message"].strip():
        return ["no message"]
    return []


def check_sentence(case, stderr):
    if not re.search(case.slug, stderr):
        return [f"no '{case.slug}' in " + stderr[:300]]
    return []


def problems_of(case, result, before, after, allowed_bytes):
    found = []
    if result.status in (-signal.SIGALRM, -signal.SIGXCPU):
        found.append("does not end")
    elif result.status != 1:
        found.append(f"exit status {result.status}: {result.stderr[:300]}")
    check = check_diagnostics if case.program == "rsrc" else check_sentence
    found += check(case, result.stderr)
    if result.stdout:
        found.append("writes to standard output: " + result.stdout[:80])
    if "\x1b" in result.stderr:
        found.append("a raw escape on standard error")
    if before != after:
        found.append(f"files change: {sorted(set(before) ^ set(after))}")
    if allowed_bytes and result.peak_bytes > allowed_bytes:
        found.append(f"{result.peak_bytes >> 10} KiB of memory, {allowed_bytes >> 10} are allowed")
    return found


def run_case(case, folder, base_bytes) -> Optional[str]:
    """None, or what went wrong. base_bytes: the memory of a small valid run; 0: memory is not checked."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    arguments = [case.program, *map(str, case.make(folder))]
    if case.program == "rsrc":
        arguments += ["--diagnostics-format=json", "-j1"]
        if not any(str(argument).startswith("-o") for argument in arguments):
            arguments += ["-o", "made"]
    extra = BYTES_PER_INPUT_BYTE * input_bytes(folder)
    before = listing(folder)
    result = run(arguments, folder, FREE_DATA_BYTES + case.free_bytes + extra if base_bytes else 0, case.stdin)
    found = problems_of(case, result, before, listing(folder),
                        base_bytes + case.free_bytes + extra if base_bytes else 0)
    if found:
        return "; ".join(found)
    shutil.rmtree(folder, ignore_errors=True)
    return None
