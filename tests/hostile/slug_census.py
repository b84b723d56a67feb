"""Lists the slugs of diagnostics that no test mentions: slug_census.py SOURCE. None may be.

A slug is the argument for a parameter called `slug`, of rsrc_diag_emit or of a function in the same
file that passes it on. The slug given to a function of json.h is the beginning of five slugs.
"""
import pathlib
import re
import sys

source = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(source / "tests" / "hostile"))

READERS = sorted(path.stem[len("cases_"):] for path in (source / "tests" / "hostile").glob("cases_*.py"))
MACROS = {"rsrc_error": 1, "rsrc_refuse": 1, "rsrc_warning": 1, "rsrc_note": 1}
# Slugs that no input can provoke: LLVM fails on code that rsrc has checked, a machine cannot load a
# module that it linked, a back end has no instruction at all.
UNPROVOKED = {"emit-failed", "measure-load", "measure-probe"}
JSON_SLUGS = {"rsrc_json_parse": ["syntax", "depth", "duplicate", "too-large"],
              "rsrc_json_parse_embedded": ["syntax", "depth", "duplicate", "too-large"]}
TOKEN = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|//[^\n]*|/\*.*?\*/', re.S)


def without_comments(text):
    return TOKEN.sub(lambda match: match.group() if match.group()[0] in "\"'" else " ", text)


def split_arguments(text, begin):
    """The arguments of the call whose parenthesis opens just before `begin`."""
    depth, at, start, found = 0, begin, begin, []
    while at < len(text):
        quoted = TOKEN.match(text, at)
        if quoted:
            at = quoted.end()
            continue
        c = text[at]
        if c in "([{":
            depth += 1
        elif c in ")]}" and depth == 0:
            return found + [text[start:at]]
        elif c in ")]}":
            depth -= 1
        elif c == "," and depth == 0:
            found.append(text[start:at])
            start = at + 1
        at += 1
    return found


def functions_with_slug(text):
    """name -> which parameter is the slug, of every function declared or defined there."""
    found = {}
    for match in re.finditer(r"\b(\w+)\(", text):
        parameters = split_arguments(text, match.end())
        for i, parameter in enumerate(parameters):
            if re.fullmatch(r"\s*const char \*slug\s*", parameter):
                found[match.group(1)] = i
    return found


def literals(expression, text):
    """The texts that an argument can have: literals, and the values of macros and constants."""
    found = re.findall(r'"([^"]*)"', expression)
    for name in re.findall(r"\b[A-Za-z_]\w*\b", re.sub(r'"[^"]*"', "", expression)):
        found += re.findall(r'#define %s "([^"]*)"' % name, text)
        found += re.findall(r'\b%s\[\] = "([^"]*)"' % name, text)
    return found


def slugs_of_file(text, functions):
    found = set()
    for match in re.finditer(r"\b(\w+)\(", text):
        index = functions.get(match.group(1))
        arguments = split_arguments(text, match.end()) if index is not None else []
        if len(arguments) <= index if index is not None else True:
            continue
        ends = JSON_SLUGS.get(match.group(1), ["field"] if match.group(1).startswith("rsrc_json_") else [""])
        for literal in literals(arguments[index], text):
            found |= {literal + ("-" + end if end else "") for end in ends}
    if re.search(r"\bconst char [^;]*\*slug;", text):  # a table of them
        first_words = {slug.split("-")[0] for slug in found}
        found |= {text for text in re.findall(r'"([^"]*)"', text) if text.split("-")[0] in first_words}
    return {slug for slug in found if re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", slug)}


def list_slugs():
    """slug -> the files that raise it."""
    texts = {path: without_comments(path.read_text()) for path in sorted((source / "compiler").rglob("*.[ch]"))}
    shared = dict(MACROS)
    for path, text in texts.items():
        if path.suffix == ".h":
            shared.update(functions_with_slug(text))
    found = {}
    for path, text in texts.items():
        if path.name in ("json.c", "diag.c", "diag.h", "rsr_mkmodel_break.c"):
            continue
        for slug in slugs_of_file(text, {**functions_with_slug(text), **shared}):
            found.setdefault(slug, []).append(str(path.relative_to(source)))
    return found


def tested_text():
    """All texts in which a test may name a slug, also the expectations of generated files."""
    texts = [(source / "compiler" / "tools" / "mkmodel" / "rsr_mkmodel_break.c").read_text()]
    for path in sorted((source / "tests").rglob("*")):
        if path.suffix in (".test", ".c", ".h", ".py", ".sh") and path.is_file():
            texts.append(path.read_text(errors="replace"))
    for reader in READERS:
        texts += [case.slug for case in __import__("cases_" + reader).CASES]
    return "\n".join(texts)


def main():
    slugs = list_slugs()
    if len(slugs) < 100:
        sys.exit(f"only {len(slugs)} slugs were found: this script no longer understands the sources")
    tested = set(re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)+", tested_text()))
    missing = sorted(set(slugs) - tested - UNPROVOKED)
    for slug in sorted(UNPROVOKED - set(slugs)):
        sys.exit(f"[{slug}] is raised nowhere: leave it out of this script")
    for slug in missing:
        print(f"no test mentions [{slug}] of {', '.join(slugs[slug])}")
    print(f"{len(slugs)} slugs, {len(missing)} without a test")
    sys.exit(1 if missing else 0)


main()
