"""Compiles for AArch64, without output, every source of a build with code for single machines:

    for_aarch64.py COMPILE_COMMANDS.json

Warnings are errors, as in the build: a function that only code for x86-64 calls would break a build
on AArch64.
"""
import json
import pathlib
import re
import shlex
import subprocess
import sys

OUTPUTS = ("-o", "-c", "-MD", "-MT", "-MF")
n_failed = n_compiled = 0
for entry in json.loads(pathlib.Path(sys.argv[1]).read_text()):
    source, words = pathlib.Path(entry["file"]), shlex.split(entry["command"])
    if any(word.startswith("-mavx") for word in words):
        continue  # a second object of one source, for x86-64 only
    if source.suffix != ".c" or not re.search("__x86_64__|__aarch64__", source.read_text()):
        continue
    options = [word for word in words if word.startswith("-") and word not in OUTPUTS]
    command = ["aarch64-linux-gnu-gcc", *options, "-idirafter", "/usr/include",
               "-c", source, "-o", "/dev/null"]
    n_compiled += 1
    n_failed += subprocess.run(command, cwd=entry["directory"]).returncode != 0
if n_compiled < 10:
    sys.exit(f"{n_compiled} sources tell machines apart, which cannot be all")
sys.exit(n_failed != 0)
