"""The compiler: the program `rsrc`, in a process of its own."""
from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from typing import Any, Callable, Iterator, List, Optional

from ._library import PREFIX, Error, Status, terminated

_PROGRESS = re.compile(r"\[(\d+)/(\d+)\] (.*)")
Progress = Callable[[int, int, str], Any]


def find_program(name: str) -> str:
    """The program of this installation, else the one in PATH."""
    own = PREFIX / "bin" / name if PREFIX else None
    found = str(own) if own and own.exists() else shutil.which(name)
    if not found:
        raise Error(Status.FILE, f"the program {name} is not there: install rsrc with its compiler, or put it in PATH")
    return found


def _sentence(said: "List[str]", status: int) -> str:
    """The first error of the compiler, with its place and its help."""
    for line in said:
        if line.startswith("{"):
            found = json.loads(line)
            if found.get("severity") == "error":
                place = f"{found['file']}: " if found.get("file") else ""
                return f"{place}{found['message']}" + (f"; {found['help']}" if found.get("help") else "")
    return said[-1] if said else f"rsrc ended with status {status}"


def _run(arguments: "List[Any]", on_progress: Optional[Progress] = None) -> "tuple[int, bytes, List[str]]":
    """rsrc's exit status, what it prints, and what it says. An exception ends rsrc, which then leaves no file."""
    said: "List[str]" = []
    command = [find_program("rsrc"), "--diagnostics-format=json", "--progress", *arguments]
    with tempfile.TemporaryFile() as printed, \
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.PIPE) as program:
        try:
            for line in _lines(program.stderr):
                shown = _PROGRESS.fullmatch(line)
                if not shown:
                    said.append(line)
                elif on_progress:
                    on_progress(int(shown[1]), int(shown[2]), shown[3])
        except BaseException:
            program.terminate()
            program.wait()
            raise
        status = program.wait()
        printed.seek(0)
        return status, printed.read(), said


def _lines(stream: Any) -> "Iterator[str]":
    """Lines; progress comes in one piece, and the next line takes its place."""
    held = b""
    for read in iter(lambda: stream.read1(65536), b""):
        *whole, held = re.split(rb"\r\x1b\[K|\n", held + read)
        if _PROGRESS.fullmatch(held.decode(errors="replace")):
            whole, held = [*whole, held], b""
        yield from (line.decode(errors="replace") for line in whole if line)
    if held:
        yield held.decode(errors="replace")


def _options(options: "dict[str, Any]") -> "List[str]":
    """cache_dir="x", tune=True: --cache-dir=x --tune."""
    return [f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
            for name, value in options.items() if value is not None and value is not False]


def _file(name: str, path: "str | bytes | os.PathLike[str]") -> bytes:
    """A path that is no option, whatever it begins with."""
    found = terminated(name, os.fspath(path)) or b""
    return b"./" + found if found.startswith((b"-", b"@")) else found


def compile(path: "str | os.PathLike[str]", out: "str | os.PathLike[str]", target: str = "native",
            on_progress: Optional[Progress] = None, **options: Any) -> None:
    """Compiles a checkpoint (a Hugging Face folder, a safetensors or GGUF file) into the module `out`.

    target        machines, with commas: "native", "avx512,avx2,generic", "neon"; `rsrc --print-targets` lists them
    on_progress   called as on_progress(done, total, what); an exception from it ends the compilation
    options       those of the command line: cache_dir="DIR", tune=True, backend="c", ...
    """
    status, _, said = _run([*_options(options), f"--target={target}", b"-o" + _file("out", out), _file("path", path)],
                           on_progress)
    if status:
        raise Error(Status.ARGUMENT, _sentence(said, status))


def _json(*arguments: Any) -> "dict[str, Any]":
    status, printed, said = _run(list(arguments))
    if not printed:
        raise Error(Status.ARGUMENT, _sentence(said, status))
    return json.loads(printed)


def report(path: "str | os.PathLike[str]", target: str = "native", **options: Any) -> "dict[str, Any]":
    """What a compilation for one target would choose for each layer, and why, with the predicted times: the object
    that report.schema.json describes. Writes no module."""
    with tempfile.TemporaryDirectory() as folder:
        return _json(*_options(options), f"--target={target}", "--emit=plan", f"-o{folder}/plan", "--report=json",
                     _file("path", path))


def info(path: "str | os.PathLike[str]", target: str = "native", **options: Any) -> "dict[str, Any]":
    """What a checkpoint is, what would be refused, its size and speed: the object of `rsrc --info=json`."""
    return _json(*_options(options), f"--target={target}", "--info=json", _file("path", path))
