#!/usr/bin/env python3
"""Writes rsr.h for Python: its structs, constants, initialisers and prototypes as ctypes.

usage: make_rsr.py HEADER.h... > rsr.py

It reads the forms of declaration that rsr.h, rsr_louver.h and rsr_constraint.h use, with no macro of a compiler
defined. What has another form is refused by its line, and nothing is written. It needs no packages and no C compiler.

A pointer to characters is c_char_p where a NUL ends the text, and where a function only reads it. Buffers, and texts
that have their length beside them (text and text_bytes), are POINTER(c_char): text[:text_bytes] are the bytes.
"""
import collections
import os
import re
import sys

SCALARS = {"bool": "c.c_bool", "char": "c.c_char", "size_t": "c.c_size_t", "float": "c.c_float",
           "double": "c.c_double", **{f"{u}int{n}_t": f"c.c_{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)}}
INTEGER = r"(?:0[xX][0-9a-fA-F]+|0|[1-9]\d*)(?![\w.])"
NUMBER = rf"(?:{INTEGER}|\d+(?:\.\d+f?|\.\d+e-?\d+|e-?\d+)(?![\w.]))"
TOKEN = re.compile(rf"\s*([A-Za-z_]\w*|{NUMBER}|[{{}}()\[\]*,;=.])")
SIZED = "{.size_bytes = sizeof(type)}"  # what RSR_SIZED(type) stands for


Member = collections.namedtuple("Member", "name base is_const depth length function")


class Refused(Exception):
    """A sentence with file and line."""


class Declarations:
    """The declarations of headers. Types are Python expressions."""

    def __init__(self):
        self.macros, self.constants, self.initialisers = {}, {}, {}
        self.structs, self.enums, self.callbacks, self.functions = {}, set(), {}, {}

    def read(self, path):
        self.file, self.line = os.path.basename(path), 1
        with open(path, encoding="utf-8") as file:
            text = re.sub(r"/\*.*?\*/", lambda comment: " " + "\n" * comment[0].count("\n"), file.read(), flags=re.S)
        self.tokens, self.at = list(self.preprocess(text.split("\n"))), 0
        while self.peek():
            self.declaration()

    def refuse(self, what):
        raise Refused(f"{self.file}:{self.line}: {what} is not understood")

    # ---- Lines to tokens -----------------------------------------------------------------------------------------

    def preprocess(self, lines):
        """The tokens of declarations, with their lines; macros go to self.macros."""
        branches = []  # of the conditionals around a line: whether it is read
        numbered = enumerate(lines, 1)
        for self.line, line in numbered:
            while line.endswith("\\"):
                line = line[:-1] + next(numbered, (0, ""))[1]
            directive = re.fullmatch(r"\s*#\s*(\w+)\s*(.*?)\s*", line)
            if directive:
                self.directive(branches, *directive.groups())
            elif all(branches):  # without RSR_EXPORT and the like, which are nothing
                yield from ((token, self.line) for token in self.split(line) if self.macros.get(token) != [])
        if branches:
            self.refuse("#if without #endif")

    def directive(self, branches, name, rest):
        condition = re.fullmatch(r"defined\((\w+)\)" if name == "if" else r"(\w+)", rest)
        if name in ("if", "ifdef", "ifndef") and condition:
            branches.append((condition[1] in self.macros) == (name != "ifndef"))
        elif name == "else" and branches:
            branches[-1] = not branches[-1]
        elif name == "endif" and branches:
            branches.pop()
        elif name == "define" and all(branches):
            self.define(rest)
        elif name not in ("define", "include"):
            self.refuse(f"#{name} {rest}")

    def define(self, rest):
        name, parameter, text = re.fullmatch(r"(\w*)(\(.*?\))?\s*(.*)", rest).groups()
        body = self.macros[name] = self.split(text)
        if parameter:
            if (name, body) != ("RSR_SIZED", self.split(SIZED)):
                self.refuse(f"#define {name}{parameter}")
        elif len(body) == 1 and re.fullmatch(INTEGER, body[0]):
            self.constants[name] = body[0]
        elif body[:1] in (["{"], ["RSR_SIZED"]):
            self.initialisers[name] = self.file, self.line
        elif body:
            self.refuse(f"#define {name} {text}")

    def split(self, line):
        tokens, at = [], 0
        while line[at:].strip():
            token = TOKEN.match(line, at)
            if not token:
                self.refuse(repr(line[at:].strip()))
            tokens.append(token[1])
            at = token.end()
        return tokens

    def peek(self):
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def next(self, pattern=r"[A-Za-z_]\w*"):
        """The next token, which must be an identifier or match `pattern`."""
        token = self.peek()
        self.line = self.tokens[min(self.at, len(self.tokens) - 1)][1]
        if not re.fullmatch(pattern, token):
            self.refuse(repr(token) if token else "the end")
        self.at += 1
        return token

    def accept(self, token):
        found = self.peek() == token
        self.at += found
        return found

    # ---- Declarations --------------------------------------------------------------------------------------------

    def declaration(self):
        defines_type = self.accept("typedef")
        if self.peek() == "enum":
            self.enumeration(defines_type)
        elif self.peek() == "struct":
            self.struct(defines_type)
        else:
            function = self.member()
            parameters = self.parameters()
            (self.callbacks if defines_type else self.functions)[function.name] = self.type(function), parameters
        self.next(";")

    def enumeration(self, defines_type):
        self.next()
        tag = self.next() if self.peek() != "{" else ""
        value = 0
        self.next("{")
        while not self.accept("}"):
            name = self.next()
            if self.accept("="):
                value = int(self.next(INTEGER), 0)
            self.constants[name] = value
            value += 1
            if self.peek() != "}":
                self.next(",")
        if defines_type:
            self.enums.add(self.next(tag))

    def struct(self, defines_type):
        """`struct tag;`, `typedef struct tag tag;` or either with fields."""
        self.next()
        tag = self.next()
        self.structs.setdefault(tag, None)
        if self.accept("{"):
            fields = []
            while not self.accept("}"):
                fields.append(self.member())
                while self.accept(","):
                    fields.append(self.member(fields[-1]))
                self.next(";")
            self.structs[tag] = self.typed(fields)
        if defines_type:
            self.next(tag)

    def parameters(self):
        self.next(r"\(")
        parameters = []
        while not self.accept(")"):
            parameters.append(self.member())
            if self.peek() != ")":
                self.next(",")
        if len(parameters) == 1 and parameters[0][:4] == ("", "void", False, 0):
            return []
        return [kind for _, kind in self.typed(parameters, True)]

    def member(self, first=None):
        """A declarator with its type. A parameter may have no name; after a comma the type is that of `first`."""
        if first:
            is_const, base = first.is_const, first.base
        else:
            is_const = self.accept("const")
            base = self.next()
            if base == "struct":
                base = self.next()
                self.structs.setdefault(base, None)
        depth = self.stars()
        if self.accept("("):
            self.next(r"\*")
            name = self.next()
            self.next(r"\)")
            result = self.type(Member(name, base, is_const, depth, None, None))
            return Member(name, base, is_const, depth, None, self.call(result, self.parameters()))
        name = self.next() if re.match(r"\w", self.peek()) else ""
        length = self.next(r"\d+") if self.accept("[") else None
        if length:
            self.next(r"\]")
        return Member(name, base, is_const, depth, length, None)

    def stars(self):
        depth = 0
        while self.accept("*"):
            self.accept("const")
            depth += 1
        return depth

    # ---- Types ---------------------------------------------------------------------------------------------------

    def typed(self, members, are_parameters=False):
        counted = {member.name.removesuffix("_bytes") for member in members if member.name.endswith("_bytes")}
        if any(member.base == "void" and member.depth == 0 or are_parameters and member.length for member in members):
            self.refuse("this type")
        return [(member.name, self.type(member, member.name not in counted or are_parameters and member.depth == 1))
                for member in members]

    def type(self, member, is_text=True):
        depth, base = member.depth, member.base
        if member.function:
            return member.function
        if base == "void":
            known, depth = "c.c_void_p" if depth else "None", max(depth - 1, 0)
        elif base == "char" and depth and member.is_const and is_text:
            known, depth = "c.c_char_p", depth - 1
        elif base in self.callbacks and depth:
            known, depth = base, depth - 1
        elif base in self.enums or base in self.structs and (depth or self.structs[base]):
            known = base
        else:
            known = SCALARS.get(base) or self.refuse(f"type {base!r}")
        known = "c.POINTER(" * depth + known + ")" * depth
        return f"{known} * {member.length}" if member.length else known

    @staticmethod
    def call(result, parameters):
        return f"c.CFUNCTYPE({', '.join([result, *parameters])})"

    # ---- Python --------------------------------------------------------------------------------------------------

    def initialiser(self, name):
        """The struct that a macro initialises, and its values."""
        self.file, self.line = self.initialisers[name]
        struct = re.sub(r"_(INIT|DEFAULT)$", "", name).lower()
        body = " ".join(self.macros[name])
        fields = self.structs.get(struct)
        if not fields:
            self.refuse(f"#define {name}")
        if body == f"RSR_SIZED ( {struct} )":
            return struct, [f"c.sizeof({struct})"]
        values = body.removeprefix("{ ").removesuffix(" }").split(" , ")
        if len(values) > len(fields):
            self.refuse(f"#define {name}")
        return struct, [self.value(value.strip(), kind) for value, (_, kind) in zip(values, fields)]

    def value(self, text, kind):
        sized = re.fullmatch(r"sizeof \( (\w+) \)", text)
        if sized and sized[1] in self.structs:
            return f"c.sizeof({sized[1]})"
        if re.fullmatch(INTEGER, text) or text in self.constants:
            return text
        if re.fullmatch(NUMBER, text):
            return text.removesuffix("f")
        if text in self.initialisers:
            return f"{text}()"
        if text == "{ 0 }":
            return f"({kind})()"  # an array of zeros
        words = {"NULL": f"{kind}()" if kind in self.callbacks else "None", "true": "True", "false": "False"}
        return words.get(text) or self.refuse(repr(text))

    def python(self, sources):
        yield f'"""Made by make_rsr.py of {sources}: change that."""\nimport ctypes as c\n'
        yield from (f"{name} = {value}" for name, value in self.constants.items())
        yield from (f"{name} = c.c_uint" for name in sorted(self.enums))
        for name in self.structs:
            yield f"\n\nclass {name}(c.Structure):\n    pass"
        yield "\n"
        for name, signature in self.callbacks.items():
            yield f"{name} = {self.call(*signature)}"
        for name, fields in self.structs.items():
            if fields:
                yield f"{name}._fields_ = ["
                yield from (f'    ("{field}", {kind}),' for field, kind in fields)
                yield "]"
        for name in self.initialisers:
            struct, values = self.initialiser(name)
            yield f"\n\ndef {name}() -> {struct}:\n    return {struct}({', '.join(values)})"
        yield "\n\n_FUNCTIONS = {"
        for name, (result, parameters) in self.functions.items():
            yield f'    "{name}": ({result}, [{", ".join(parameters)}]),'
        yield LOAD


LOAD = """}


def load(path: str) -> c.CDLL:
    \"\"\"The shared library, whose functions know their prototypes.\"\"\"
    library = c.CDLL(path)
    for name, (result, parameters) in _FUNCTIONS.items():
        function = getattr(library, name, None)
        if function is None:
            raise OSError(f"{path}: it lacks {name} and is older than rsr.h")
        function.restype, function.argtypes = result, parameters
    return library"""


def main():
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__.strip())
    declarations = Declarations()
    try:
        for path in sys.argv[1:]:
            declarations.read(path)
        text = "\n".join(declarations.python(", ".join(os.path.basename(path) for path in sys.argv[1:])))
    except (OSError, UnicodeDecodeError, Refused) as error:
        sys.exit(f"make_rsr.py: {error}")
    print(text)


if __name__ == "__main__":
    main()
