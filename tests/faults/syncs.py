"""Checks that outputs reach the disk before their names do: syncs.py WORK.

In a traced compilation, for every file that gets its name in out/, the data is synced before the
rename, through any descriptor, and the folder is synced after it.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

CALLS = "trace=fsync,fdatasync,syncfs,rename,renameat,renameat2,linkat,write,pwrite64,openat"
WAYS = [(["model", "--target=generic", "-o", "out/m.so", "--report=text:out/r.txt"], 2),
        (["model", "--target=generic", "--backend=c", "-o", "out/m.so"], 1),
        (["model", "--target=generic", "--emit=c,plan", "-o", "out/"], 5),
        (["m.safetensors", "--target=generic", "-o", "out/m.so"], 2)]


def absolute(folder, name):
    return os.path.normpath(os.path.join(folder, name))


def events(folder, arguments):
    """Yields (kind, path ...) in order: write, sync, rename from to; opening a file to truncate it
    is a write."""
    trace = folder / "trace"
    subprocess.run(["strace", "-f", "-y", "-s", "4096", "-e", CALLS, "-o", trace, "rsrc", *arguments],
                   cwd=folder, check=True)
    for line in trace.read_text(errors="replace").splitlines():
        call = re.match(r"\d+ +(\w+)\((.*)\) += 0$", line)
        writes = re.match(r"\d+ +p?write(?:64)?\(\d+<([^>]*)>", line)
        if writes:
            yield "write", writes.group(1)
        elif call and "sync" in call.group(1):
            yield "sync", re.match(r"\d+<([^>]*)>", call.group(2)).group(1)
        elif call and call.group(1).startswith("rename"):
            yield "rename", *(absolute(folder, name) for name in re.findall(r'"([^"]*)"', call.group(2)))


def problems(folder, found):
    """Follows data across renames: synced data stays synced until it is written to."""
    out, synced, waiting, n = str(folder / "out"), set(), [], 0
    for kind, *paths in found:
        if kind == "write":
            synced.discard(paths[0])
        elif kind == "sync" and paths[0] == out:
            waiting = []
        elif kind == "sync":
            synced.add(paths[0])
        elif kind == "rename":
            was_synced = paths[0] in synced
            synced.discard(paths[0])
            if was_synced:
                synced.add(paths[1])
            if os.path.dirname(paths[1]) == out:
                n += 1
                waiting.append(paths[1])
                if not was_synced:
                    yield f"{paths[1]} gets its name before its data is synced"
    for path in waiting:
        yield f"the folder is not synced after {path} got its name"
    yield n


def main():
    folder = pathlib.Path(sys.argv[1]).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    subprocess.run(["rsr-mkmodel", "--preset", "tiny", "--layers", "1", "-o", folder / "model"], check=True)
    subprocess.run(["rsr-mkmodel", "--matrix", "40x30:ternary", "-o", folder / "m.safetensors"], check=True)
    failed = 0
    for arguments, least in WAYS:
        shutil.rmtree(folder / "out", ignore_errors=True)
        (folder / "out").mkdir()
        *said, n = problems(folder, events(folder, arguments))
        if n < least:
            said.append(f"only {n} files were seen to get a name")
        for text in said:
            print(f"{' '.join(arguments)}: {text}")
        failed += len(said)
    sys.exit(1 if failed else 0)


main()
