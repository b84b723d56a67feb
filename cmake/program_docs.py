"""Writes the manual page and the shell completions of a program from what its --help prints:

    program_docs.py PROGRAM VERSION SUMMARY SHARE [SEE_ALSO ...]

SUMMARY is what the program does, in a few words. Below SHARE come man/man1/NAME.1.gz and the
completions of bash, zsh and fish. --help is: lines of usage; paragraphs; options, each two columns
in, with its help on the same line or deeper on the next ones; paragraphs. "word: text" at the
beginning of a paragraph is a heading; where it is a command of the usage, the options below belong
to that command.
"""
import dataclasses
import gzip
import pathlib
import re
import subprocess
import sys

SPELLING = r"-[-\w#]+"
ITEM = rf"{SPELLING}(?:\[=\S+\]|=\S+| [^\s-]\S*?(?=,? -|  |$))?"
OPTION_LINE = re.compile(rf"  ({ITEM}(?:,? {ITEM})*)(?: +(\S.*))?$")


@dataclasses.dataclass
class Option:
    spelling: str  # "--target"
    argument: str  # "NAME", or empty: a flag
    form: str  # what stands before the argument: "=", " ", or "[=" where it may be left out
    help: str
    commands: list  # that it is for; empty: for all

    @property
    def words(self):
        """The words of which one may be given: of --color=auto|always|never, of "so obj asm [so]"."""
        if re.fullmatch(r"[a-z0-9,]+(\|[a-z0-9,]+)+(\[.*\])?", self.argument):
            return self.argument.split("[")[0].split("|")
        listed = re.match(r"((?:\w+ )+)\[(\w+)\]", self.help)
        words = listed[1].split() if listed else []
        return words if listed and listed[2] in words else []

    @property
    def is_file(self):
        return bool(re.search(r"FILE|DIR|PATH|OUT", self.argument))

    @property
    def summary(self):
        return re.split(r";(?![^\[]*\])", self.help)[0]


class Help:
    """--help, taken apart: usage, and blocks of a kind each: text, example, heading, options."""

    def __init__(self, program):
        self.name = pathlib.Path(program).name
        told = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)
        lines = told.stdout.splitlines()
        n_usage = lines.index("")
        self.usage = [re.sub(r"^(usage:)? *", "", line) for line in lines[:n_usage]]
        words = [line.split()[1] for line in self.usage]
        self.commands = [word for word in words if word.isalpha() and word.islower()]
        self.blocks = []
        self.fresh = True  # the next line begins a block
        for line in lines[n_usage:]:
            self.take(line)

    def take(self, line):
        option = OPTION_LINE.match(line)
        last, content = self.blocks[-1] if self.blocks else ("", [])
        if line == "":
            self.fresh = True
            return
        if option and last == "options" and not self.fresh and content[-1][1] == "":
            content[-1] = (content[-1][0] + " " + option[1], option[2])  # share one help
        elif option:
            self.append("options", (option[1], option[2] or ""))
        elif line.startswith("     ") and last == "options":
            content[-1] = (content[-1][0], (content[-1][1] + " " + line.strip()).lstrip())
        elif line.startswith("    "):
            self.append("example", line[4:])
        elif self.fresh and (heading := re.match(r"([a-z]+):\s*(.*)", line)):
            self.blocks.append(("heading", heading[1]))
            self.blocks.append(("text", [heading[2]]))
        else:
            self.append("text", line)
        self.fresh = False

    def append(self, kind, content):
        if not self.blocks or self.blocks[-1][0] != kind or (self.fresh and kind == "text"):
            self.blocks.append((kind, []))
        self.blocks[-1][1].append(content)

    @property
    def options(self):
        """Every option once, with all commands under which it is told."""
        found, command = {}, None
        for kind, content in self.blocks:
            if kind == "heading":
                command = content if content in self.commands else None
            for left, help_text in content if kind == "options" else []:
                for item in re.findall(ITEM, left):
                    spelling = re.match(SPELLING, item)[0]
                    value = re.fullmatch(r"(\[=|=| )?(.*?)\]?", item[len(spelling):])
                    form, argument = value[1] or "", value[2]
                    if "[" in argument:  # text|json[:FILE]
                        argument += "]"
                    new = Option(spelling, argument, form, help_text, [])
                    option = found.setdefault(spelling, new)
                    if command is not None and command not in option.commands:
                        option.commands.append(command)
        return list(found.values())


# ---- manual page ---------------------------------------------------------------------------------


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text.startswith((".", "'")) else text


def roff_items(left):
    """Spellings bold, arguments as they are."""
    return re.sub(rf"(^|[ ])({SPELLING})", lambda m: f"{m[1]}\\fB{roff(m[2])}\\fR", left)


def manual_page(help_text, version, summary, see_also):
    name = help_text.name
    out = [f'.TH {name.upper()} 1 "" "rsrc {version}" "User Commands"',
           ".SH NAME", f"{roff(name)} \\- {summary}", ".SH SYNOPSIS"]
    for line in help_text.usage:
        before, _, after = line.partition(name)  # mpirun -n N rsr-mpi
        out += [roff(before.strip())] if before else []
        out += [f".B {roff(name)}", roff(after.strip()), ".br"]
    del out[-1]
    kinds = [kind for kind, _ in help_text.blocks]
    first = min(i for i, kind in enumerate(kinds) if kind in ("heading", "options"))
    after = len(kinds) - kinds[::-1].index("options")
    sections = {0: "DESCRIPTION", first: "OPTIONS", after: "NOTES"}
    for i, (kind, content) in enumerate(help_text.blocks):
        out += [f".SH {sections[i]}"] if i in sections else []
        if kind == "heading":
            out += [f".SS {content}"] if content != "options" else []
        elif kind == "example":
            out += [".PP", ".RS 4", ".nf", *map(roff, content), ".fi", ".RE"]
        elif kind == "text":
            out += [".PP", *map(roff, content)] if content != [""] else []
        else:
            for left, text in content:
                out += [".TP", roff_items(left), roff(text) or "\\&"]
    out += [".SH SEE ALSO", " ,\n".join(f".BR {roff(other)} (1)" for other in see_also)]
    return "\n".join(out) + "\n"


# ---- completions ---------------------------------------------------------------------------------


def of_command(help_text, command):
    return [option for option in help_text.options if not option.commands or command in option.commands]


def bash(help_text):
    function = "_" + help_text.name.replace("-", "_")
    cases, nothing = [], []
    for option in help_text.options:
        patterns = [option.spelling] if option.form != "[=" else []
        patterns.append(f"{option.spelling}=")
        if option.words:
            reply = f'COMPREPLY=($(compgen -W "{" ".join(option.words)}" -- "$word"))'
            cases.append(f'    {" | ".join(patterns)}) {reply}; return ;;')
        elif option.argument and not option.is_file:
            nothing += patterns
    cases.append(f'    {" | ".join(nothing)}) compopt +o default; return ;;')
    spellings = []
    for command in help_text.commands or ["*"]:
        listed = " ".join(option.spelling for option in of_command(help_text, command))
        spellings.append(f'        {command}) COMPREPLY=($(compgen -W "{listed}" -- "$word")) ;;')
    commands = f"""    if [[ $COMP_CWORD -eq 1 ]]; then
        COMPREPLY=($(compgen -W "{' '.join(help_text.commands)}" -- "$word"))
        return
    fi
""" if help_text.commands else ""
    return f"""# bash completion of {help_text.name}
{function}() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} option=${{COMP_WORDS[COMP_CWORD - 1]}}
    if [[ $word == "=" ]]; then # bash makes a word of every = sign
        word= option+==
    elif [[ $option == "=" ]]; then
        option=${{COMP_WORDS[COMP_CWORD - 2]}}=
    fi
{commands}    case $option in
{chr(10).join(cases)}
    esac
    if [[ $word == -* ]]; then
        case ${{COMP_WORDS[1]}} in
{chr(10).join(spellings)}
        esac
    fi
}}
complete -o default -F {function} {help_text.name}
"""


def quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def zsh(help_text):
    def specification(option):
        help_in_brackets = re.sub(r"([\[\]:\\])", r"\\\1", option.summary)
        form = {"=": "=", "[=": "=-"}.get(option.form, "")
        action = f"({' '.join(option.words)})" if option.words else "_files" if option.is_file else " "
        argument = option.argument.replace(":", "\\:")
        colon = "::" if option.form == "[=" else ":"
        value = f"{colon}{argument}:{action}" if argument else ""
        return quoted(f"{option.spelling}{form}[{help_in_brackets}]{value}")

    out = [f"#compdef {help_text.name}", "local -a options", "case $words[2] in"]
    for command in help_text.commands or ["*"]:
        out += [f"{command}) options=("]
        out += ["    " + specification(option) for option in of_command(help_text, command)]
        out += [") ;;"]
    out += ["esac"]
    command = f"'1:command:({' '.join(help_text.commands)})' " if help_text.commands else ""
    return "\n".join(out) + f"\n_arguments $options {command}'*:file:_files'\n"


def fish(help_text):
    name, out = help_text.name, [f"# fish completion of {help_text.name}"]
    if help_text.commands:
        commands = quoted(" ".join(help_text.commands))
        out.append(f"complete -c {name} -n __fish_use_subcommand -x -a {commands}")
    for option in help_text.options:
        bare = option.spelling.lstrip("-")
        kind = "-l" if option.spelling.startswith("--") else "-s" if len(bare) == 1 else "-o"
        line = f"complete -c {name} {kind} {quoted(bare)} -d {quoted(option.summary)}"
        if option.commands:
            line += f" -n '__fish_seen_subcommand_from {' '.join(option.commands)}'"
        if option.argument and option.form != "[=":
            line += " -r" if option.is_file else " -x"
        if option.words:
            line += f" -f -a {quoted(' '.join(option.words))}"
        out.append(line)
    return "\n".join(out) + "\n"


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def main():
    program, version, summary, share, *see_also = sys.argv[1:]
    share, help_text = pathlib.Path(share), Help(program)
    name = help_text.name
    page = manual_page(help_text, version, summary, see_also)
    write(share / f"man/man1/{name}.1.gz", gzip.compress(page.encode(), 9, mtime=0))
    write(share / f"bash-completion/completions/{name}", bash(help_text).encode())
    write(share / f"zsh/site-functions/_{name}", zsh(help_text).encode())
    write(share / f"fish/vendor_completions.d/{name}.fish", fish(help_text).encode())


main()
