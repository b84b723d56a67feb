"""Breaks the emitted PTX of a layer of fold or segment on purpose, one line at a time, and runs it in the interpreter:
each must be noticed, by an error or by wrong results.

usage: layer_mutants.py PTX_RUN FOLDER MODULE.so VARIANT EVERY EVERY_ACCESS
  FOLDER        of `rsrc MODEL --emit=ptx -o FOLDER/`, with one layer of VARIANT; its PTX is broken in a copy
  EVERY         of the additions, and of the codes that are taken from a word, each so many-th is broken
  EVERY_ACCESS  of the memory accesses, each so many-th

Each barrier is omitted, offsets of memory accesses are moved, additions become subtractions, codes are of other bits,
limits and comparisons are turned around, and the launch loses a block or half of its threads."""
import itertools
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
    step = 16 if ".v4." in access.group(0) else 8 if re.search(r"v2|64", access.group(0)) else 4
    return re.sub(r"\[([^\]+]+)(?:\+(-?\d+))?\]", lambda m: f"[{m.group(1)}+{int(m.group(2) or 0) + step}]", line)


def other_bits(line):
    """A code of other bits of its word."""
    return re.sub(r"(bfe\.u32\s+%r\d+, %r\d+), (\d+), 8;", lambda m: f"{m.group(1)}, {int(m.group(2)) - 1}, 8;", line)


def turned(line):
    for words in (("setp.lt.u32", "setp.ge.u32"), ("min.u32", "max.u32")):
        line = line.replace(*words)
    return line


def mutants(lines, first, every, every_access):
    """The changed line, or "" for an omitted one, by its number."""
    kinds = (("the neighbour", moved, every_access), ("the other sign", swapped, every),
             ("other bits", other_bits, every), ("turned", turned, 1))
    counts = {what: itertools.count(1) for what, _, _ in kinds}
    for i, line in enumerate(lines[first:], first):
        if "bar.sync" in line:
            yield i, "no barrier", ""
        for what, change, each in kinds:
            if change(line) not in (None, line) and next(counts[what]) % each == 0:
                yield i, what, change(line)


def launches(text):
    blocks, threads = map(int, re.search(r"// Functions: .*\n// Launch: (\d+) blocks of (\d+)", text).groups())
    old = f"// Launch: {blocks} blocks of {threads} threads"
    for b, t in ((blocks - 1, threads), (blocks, threads // 2), (blocks, threads * 2)):
        yield f"{b} blocks of {t} threads", text.replace(old, f"// Launch: {b} blocks of {t} threads")


def is_right(run, folder, module):
    return all(subprocess.run([run, f"--tokens={n}", folder, module], capture_output=True).returncode == 0
               for n in (33, 31, 1))


def main(run, folder, module, variant, every, every_access):
    copy = pathlib.Path(folder + ".broken")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    (path,) = copy.glob("*.ptx")
    text = path.read_text()
    if not is_right(run, copy, module):
        sys.exit("it is wrong as it is")
    lines = text.splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if ".entry" in line and f"_{variant}_" in line)
    made = [(f"{what}: {lines[i].strip()}", "".join(lines[:i] + [new] + lines[i + 1:]))
            for i, what, new in mutants(lines, first, int(every), int(every_access))]
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
