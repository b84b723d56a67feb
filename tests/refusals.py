"""Lists the refusals of the compiler that no test has reached: refusals.py SOURCE BUILD.

BUILD was configured with the preset coverage, and tests have run in it. A refusal is a call of rsrc_error,
of rsrc_refuse, or of a function whose name shows that it passes a refusal on; gcov counts how often its
lines ran. A person reads the list and decides whether a test is missing or the refusal is superfluous.
"""
import collections
import json
import pathlib
import re
import subprocess
import sys

CALL = re.compile(r"\n[ \t]+[^\n]*?\b((?:rsrc_)?(?:refuse\w*|fail(?:_\w+)?|error|bad_\w+|cannot_\w+)|problem_at)\(")
COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|/\*.*?\*/', re.S)


def line_counts(source, build):
    """(file below source, line) -> how often the line ran; (file, None): the file was compiled."""
    counts = collections.Counter()
    notes = sorted(str(path) for path in build.rglob("*.gcno") if "rsrc_static" in str(path))
    for begin in range(0, len(notes), 40):
        texts = subprocess.run(["gcov", "--json-format", "--stdout", *notes[begin:begin + 40]], cwd=build,
                               capture_output=True, text=True, check=True).stdout
        for file in (file for text in texts.splitlines() for file in json.loads(text)["files"]):
            path = (build / file["file"]).resolve()
            if not path.is_relative_to(source):
                continue
            name = str(path.relative_to(source))
            counts[name, None] = 1
            for line in file["lines"]:
                counts[name, line["line_number"]] += line["count"]
    return counts


def end_of_call(text, begin):
    depth = 1
    while depth:
        depth += {"(": 1, ")": -1}.get(text[begin], 0)
        begin += 1
    return begin


def blank(match):
    """A comment's lines, or a literal without what looks like a parenthesis."""
    text = match.group()
    return re.sub(r"[()]", " ", text) if text[0] == '"' else "\n" * text.count("\n")


def refusals(path):
    """(line, last line, text) of every refusal in a file."""
    text = COMMENT.sub(blank, path.read_text())
    for match in CALL.finditer(text):
        end = end_of_call(text, match.end())
        first = text.count("\n", 0, match.start(1)) + 1
        yield first, text.count("\n", 0, end) + 1, " ".join(text[match.start(1):end].split())


def main():
    source, build = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
    counts = line_counts(source, build)
    n = n_reached = 0
    for path in sorted((source / "compiler").rglob("*.c")):
        name = str(path.relative_to(source))
        if not counts[name, None] or "/tools/" in name:
            continue
        for first, last, text in refusals(path):
            n += 1
            if any(counts[name, line] for line in range(first, last + 1)):
                n_reached += 1
                continue
            print(f"{name}:{first}: {text[:120]}")
    print(f"{n} refusals, {n_reached} reached by tests")
    if n < 300:
        sys.exit("too few were found: this script no longer understands the sources")


main()
