"""Compares a program's help and documentation with its table of options:

    check_docs.py PROGRAM TABLE SHARE

TABLE is the C file with the table, or several of them with commas. The option names of the table are those of --help,
of the manual page and of the completions below SHARE; the manual page has every word of --help, in its order. bash is
run; zsh's and fish's files are read.
"""
import gzip
import pathlib
import re
import subprocess
import sys

program, share = map(pathlib.Path, sys.argv[1::2])
tables = [pathlib.Path(table) for table in sys.argv[2].split(",")]
name, errors = program.name, []
OUTSIDE = {"rsr-bench": {"--help", "--version"}}  # answered before there are options


def compare(what, found):
    for option in sorted(expected - found):
        errors.append(f"{what}: {option} is missing")
    for option in sorted(found - expected):
        errors.append(f"{what}: {option} is not in {tables[0].name}")


def bash_options(*words):
    """The completions that bash offers for "-" after these words."""
    line = " ".join(f"'{word}'" for word in (name, *words, "-"))
    script = f"""source '{share}/bash-completion/completions/{name}'
COMP_WORDS=({line}) COMP_CWORD={len(words) + 1}
$(complete -p {name} | sed 's/.*-F \\([^ ]*\\).*/\\1/')
printf '%s\\n' "${{COMPREPLY[@]}}" """
    completed = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return set(completed.stdout.split())


def plain(roff):
    """The words of a manual page, which uses few requests."""
    text = re.sub(r"^\.(?:SH|SS|TH|TP|PP|RS|RE|nf|fi|br).*\n", "", roff, flags=re.M)
    text = re.sub(r"^\.BR? ", "", text, flags=re.M)
    return re.sub(r"\\f[BR]|\\&", "", text).replace("\\-", "-").replace("\\e", "\\").split()


# RSRC_OPTION(ID, "--name", ...   {"--name", ...   [OPTION_ID] = {"--name", ...
ROW = r'^(?:RSRC_OPTION\(\w+, |    (?:\[\w+\] = )?\{)"(-[^"]+)"'
expected = {name for table in tables for name in re.findall(ROW, table.read_text(), re.M)}
expected |= OUTSIDE.get(name, set())
if len(expected) < 20:
    errors.append(f"{tables[0].name}: {len(expected)} options, which cannot be all")

help_text = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
heads = [re.split(r"  +", line[2:])[0] for line in help_text.splitlines() if line.startswith("  -")]
compare("--help", {word for head in heads for word in re.findall(r"(?:^|(?<= ))-[-\w#]+", head)})

page = gzip.decompress((share / f"man/man1/{name}.1.gz").read_bytes()).decode()
lines = page[:page.index(".SH SEE ALSO")].splitlines()
items = " ".join(line for tag, line in zip(lines, lines[1:]) if tag == ".TP").replace("\\-", "-")
compare("manual page", set(re.findall(r"\\fB(-[^\\]+)\\fR", items)))
told = iter(plain(page))
for word in re.sub(r"^[a-z]+:", "", help_text, flags=re.M).split():
    if word not in told:  # continues after the last found word
        errors.append(f"manual page: '{word}' of --help is missing, or not where it was")
        break

commands = re.findall(r"rsr-bench ([a-z]+) ", help_text) if name == "rsr-bench" else []
compare("bash", set().union(*map(bash_options, commands)) if commands else bash_options())
zsh = (share / f"zsh/site-functions/_{name}").read_text()
compare("zsh", set(re.findall(r"^    '(-[-\w#]+)", zsh, re.M)))
fish = (share / f"fish/vendor_completions.d/{name}.fish").read_text()
dashes = {"l": "--", "s": "-", "o": "-"}
compare("fish", {dashes[kind] + bare for kind, bare in re.findall(r" -([lso]) '([^']+)' -d ", fish)})

sys.exit("\n".join(f"{name}: {error}" for error in errors) or 0)
