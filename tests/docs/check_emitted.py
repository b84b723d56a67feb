"""Compares the excerpts of generated files in a page with the files:

    check_emitted.py PAGE DIR

An excerpt is a fenced block "```c FILE". Its parts, between lines of "...", must occur in DIR/FILE in
this order, line by line. All lines of a part may be indented less than in the file, by one amount.
"""
import pathlib
import re
import sys

page, folder = map(pathlib.Path, sys.argv[1:])
excerpts = re.findall(r"^```c (\S+)\n(.*?)^```$", page.read_text(), re.M | re.S)
errors = [] if len(excerpts) >= 3 else [f"{page.name}: {len(excerpts)} excerpts"]


def find(part, lines, first):
    """Finds the part at or after line `first`. Returns the line after it, or None."""
    for at in range(first, len(lines) - len(part) + 1):
        indent = len(lines[at]) - len(part[0])
        if indent >= 0 and all(line == (" " * indent + want if want else "")
                               for want, line in zip(part, lines[at:])):
            return at + len(part)
    return None


for name, text in excerpts:
    lines, at = (folder / name).read_text().splitlines(), 0
    for part in re.split(r"^ *\.\.\.\n", text, flags=re.M):
        if not part:
            continue
        end = find(part.splitlines(), lines, at)
        if end is None:
            errors.append(f"{name} has no such lines now, or not in this order:\n{part}")
            break
        at = end
    print(f"{name}: {len(text.splitlines())} lines of {len(lines)}")
sys.exit("\n".join(errors) or 0)
