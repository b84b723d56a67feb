"""Breaks the emitted PTX of a folded layer on purpose, one line at a time, and runs it in the interpreter: each must be
noticed, by an error or by wrong results.

usage: fold_mutants.py PTX_RUN FOLDER MODULE.so EVERY
  FOLDER  of `rsrc MODEL --emit=ptx -o FOLDER/`, with one layer of fold; its PTX is broken in a copy
  EVERY   of the additions, each so many-th is broken

Each barrier is omitted, each offset of a memory access moved, additions become subtractions, comparisons that choose a
body are turned around, and the launch loses a block or half of its threads."""
import pathlib
import re
import shutil
import subprocess
import sys


def swapped(line):
    """An addition of two registers as a subtraction, or the other way round; not one to a sum, which may be 0."""
    for word, other in (("add.s32", "sub.s32"), ("sub.s32", "add.s32")):
        operands = re.search(rf"\b{word}\s+(%r\d+), (%r\d+), (%r\d+);", line)
        if operands and operands.group(1) not in operands.groups()[1:]:
            return line.replace(word, other)
    return None


def moved(line):
    """A memory access at the neighbouring element."""
    access = re.search(r"\b(ld|st)\.(global|shared)\S*\s", line)
    if not access or "]" not in line:
        return None
    step = 16 if ".v4." in access.group(0) else 4
    return re.sub(r"\[([^\]+]+)(?:\+(-?\d+))?\]", lambda m: f"[{m.group(1)}+{int(m.group(2) or 0) + step}]", line)


def turned(line):
    return line.replace("setp.lt.u32", "setp.ge.u32") if "setp.lt.u32" in line else None


def mutants(lines, first, every):
    """The changed line, or None for an omitted one, by its number."""
    additions = 0
    for i, line in enumerate(lines[first:], first):
        if "bar.sync" in line:
            yield i, "no barrier", ""
        for what, change in (("the neighbour", moved), ("the other branch", turned)):
            if change(line) not in (None, line):
                yield i, what, change(line)
        other = swapped(line)
        if other is not None:
            additions += 1
            if additions % every == 0:
                yield i, "the other sign", other


def launches(text):
    blocks, threads = map(int, re.search(r"(?<=32 tokens\.\n)// Launch: (\d+) blocks of (\d+)", text).groups())
    old = f"// Launch: {blocks} blocks of {threads} threads"
    for b, t in ((blocks - 1, threads), (blocks, threads // 2), (blocks, threads * 2)):
        yield f"{b} blocks of {t} threads", text.replace(old, f"// Launch: {b} blocks of {t} threads")


def is_right(run, folder, module):
    return all(subprocess.run([run, f"--tokens={n}", folder, module], capture_output=True).returncode == 0
               for n in (33, 31))


def main(run, folder, module, every):
    copy = pathlib.Path(folder + ".broken")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    (path,) = copy.glob("*.ptx")
    text = path.read_text()
    if not is_right(run, copy, module):
        sys.exit("it is wrong as it is")
    lines = text.splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if ".entry" in line and "_fold_" in line)
    made = [(f"{what}: {lines[i].strip()}", "".join(lines[:i] + [new] + lines[i + 1:]))
            for i, what, new in mutants(lines, first, int(every))]
    made += launches(text)
    survivors = 0
    for what, broken in made:
        path.write_text(broken)
        if is_right(run, copy, module):
            survivors += 1
            print(f"survives: {what}")
    print(f"{len(made)} mutants, {survivors} survive")
    sys.exit(survivors != 0 or len(made) < 50)


main(*sys.argv[1:])
