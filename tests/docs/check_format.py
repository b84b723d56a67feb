"""usage: check_format.py CLANG_FORMAT FOLDER: checks that clang-format would not change the sources, and that no
line has more than 100 columns. Prints each wrong file, and how to correct it."""
import pathlib
import subprocess
import sys
import unicodedata

program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
ROOMS = ["compiler", "runtime", "cuda", "tests", "examples"]
SUFFIXES = {".c", ".h", ".cu", ".cuh", ".cpp"}
paths = sorted(path for room in ROOMS for path in (folder / room).rglob("*") if path.suffix in SUFFIXES)
assert len(paths) > 3, folder


def columns(line):
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in line)


bad = 0
for path in paths:
    for n, line in enumerate(path.read_text().splitlines(), 1):
        if columns(line) > 100:
            print(f"{path.relative_to(folder)}:{n}: {columns(line)} columns")
            bad += 1
for first in range(0, len(paths), 50):
    run = subprocess.run([program, "--dry-run", "-Werror", *paths[first:first + 50]], cwd=folder, text=True,
                         stderr=subprocess.PIPE)
    lines = [line for line in run.stderr.splitlines() if "error: code should be clang-formatted" in line]
    assert run.returncode == 0 or lines, run.stderr
    for name in sorted({line.split(":")[0] for line in lines}):
        print(f"{name}: not formatted: {program} -i {name}")
        bad += 1
print(f"{len(paths)} files, {bad} findings")
sys.exit(bad > 0)
