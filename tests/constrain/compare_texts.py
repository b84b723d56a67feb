"""compare_texts.py ACCEPTED_TEXTS schemas|grammars: compares constraints with independent recognisers, over all texts
of some pieces. Recognisers of schemas are Python's json and jsonschema, those of grammars regular expressions and a few
lines of Python. The automaton must accept exactly the right texts. JSON must also have the form that rsr_constraint.h
describes: properties in order and only once, no white space except one space after a comma or colon, and numbers in the
form that it states."""
import itertools
import json
import re
import subprocess
import sys
import tempfile

program, what = sys.argv[1:]
NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,15})?([eE][+-]?\d{1,2})?")


def accepted(kind, source, n, pieces):
    with tempfile.NamedTemporaryFile("wb", suffix=".txt") as file:
        file.write(source.encode())
        file.flush()
        out = subprocess.run([program, kind, file.name, str(n)] + pieces, check=True, capture_output=True).stdout
    return {bytes.fromhex(line.decode()[1:]) for line in out.split()}


def compare(kind, source, n, pieces, is_right, least):
    """`least`: at least this many texts must be right, otherwise the comparison shows nothing."""
    got, want = accepted(kind, source, n, pieces), set()
    for k in range(n + 1):
        for parts in itertools.product(pieces, repeat=k):
            text = "".join(parts)
            if is_right(text):
                want.add(text.encode())
    if got != want or len(want) < least:
        sys.exit(f"{source}\n{len(got)} accepted, {len(want)} right\naccepted alone: {sorted(got - want)[:5]}\n"
                 f"right alone: {sorted(want - got)[:5]}")
    print(f"{len(want)} texts of {source[:60]!r}")


def spaces_are_ours(text):
    """White space outside strings is one space after a comma or a colon, and nothing else."""
    outside = re.sub(r'"(\\.|[^"\\])*"', '""', text)
    return re.fullmatch(r"([^\s]|(?<=[,:]) (?! ))*", outside) is not None


def in_order(schema, value):
    """Properties as the schema, or its definition of objects, lists them, at every depth; those of maps in any order."""
    names = list(schema.get("$defs", {}).get("n", schema).get("properties", {}))
    return not isinstance(value, Pairs) or not names or [name for name, _ in value] == [
        name for name in names if name in dict(value)] and all(in_order(schema, inside) for _, inside in value)


class Pairs(list):
    pass


def is_valid(schema, validator, text, is_form=lambda text: True):
    try:
        value = json.loads(text, parse_constant=lambda name: 1 / 0)
        pairs = json.loads(text, object_pairs_hook=Pairs)
        text.encode()
        json.dumps(value, ensure_ascii=False).encode()  # no half of a surrogate pair
    except (ValueError, ZeroDivisionError):
        return False
    return validator.is_valid(value) and spaces_are_ours(text) and in_order(schema, pairs) and is_form(text)


def compare_schemas():
    import jsonschema

    def check(schema, n, pieces, least, is_form=lambda text: True):
        validator = jsonschema.Draft202012Validator(schema)
        compare("schema", json.dumps(schema), n, pieces,
                lambda text: is_valid(schema, validator, text, is_form), least)

    string = ['"', "a", "\u00e4", "\U0001f600", "\\u", "d83d", "de00", '\\"', "\\", "n", "\n"]
    check({"type": "string", "minLength": 1, "maxLength": 2}, 5, string, 50)
    check({"type": "string", "maxLength": 1}, 6, ['"', "\\u", "d83d", "DE00", "00e4", "x", "\x7f"], 5)
    check({"type": ["string", "null"], "minLength": 2}, 5, ['"', "ab", "c", "null", "\\/"], 20)
    object_schema = {"type": "object", "properties": {"a": {"type": "boolean"}, 'b"': {"enum": [1, "x"]}, "c": {"type": "null"}},
                     "required": ['b"']}
    check(object_schema, 6, ["{", '"a":true', '"b\\"":', "1", '"x"', '"c": null', ",", ", ", "}"], 10)
    check({"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}}, "additionalProperties": False}, 6,
          ["{", '"a":', '"b":', "1", "2", ",", " ", "}", '"b":2'], 6)
    check({"type": "object", "additionalProperties": {"type": "boolean"}}, 6, ["{", '"k"', ":", " ", "true", ",", "}", '"":false'], 5)
    check({"type": "array", "items": {"type": "array", "items": {"type": "null"}, "maxItems": 1}, "minItems": 1, "maxItems": 2}, 8,
          ["[", "]", "null", ",", " "], 6)
    numbers = ["-", "0", "1", "25", "9", ".", "e", "+"]
    whole, bounded = (lambda text: re.fullmatch(r"-?\d{1,18}", text)), (lambda text: "e" not in text and NUMBER.fullmatch(text)
                                                                       and not re.fullmatch(r"-[0.]+", text))
    check({"type": "number"}, 5, numbers, 100, lambda text: NUMBER.fullmatch(text) and not re.match(r"-[0.]+(e|$)", text))
    check({"type": "integer", "exclusiveMinimum": -9, "maximum": 1000}, 5, numbers, 30,
          lambda text: whole(text) and not re.fullmatch("-0+", text))
    check({"type": "number", "minimum": -0.25, "exclusiveMaximum": 19.1}, 5, numbers, 30, bounded)
    tree = {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 9}, {"type": "array", "items": {"$ref": "#"}, "maxItems": 2}]}
    check(tree, 7, ["[", "]", "1", "25", ","], 14)
    nested = {"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {"v": {"const": "x"}, "n": {"anyOf": [
        {"$ref": "#/$defs/n"}, {"type": "null"}]}}, "required": ["n"]}}}
    check(nested, 8, ["{", '"v":"x",', '"n":', "null", "}", ","], 3)


def is_sum(text):
    """e ::= t ((+|-) t)*, t ::= digits | ( e )"""
    def term(i):
        if i < len(text) and text[i] == "(":
            i = expression(i + 1)
            return i + 1 if i is not None and i < len(text) and text[i] == ")" else None
        j = i
        while j < len(text) and text[j].isdigit():
            j += 1
        return j if j > i else None

    def expression(i):
        i = term(i)
        while i is not None and i < len(text) and text[i] in "+-":
            i = term(i + 1)
        return i

    return expression(0) == len(text)


def compare_grammars():
    def check(source, pattern, n, pieces, least):
        compiled = re.compile(pattern, re.DOTALL)
        compare("grammar", source, n, pieces, lambda text: compiled.fullmatch(text) is not None, least)

    check("root ::= [a-c]{2,3} | \"x\"+ \"b\"?", "[a-c]{2,3}|x+b?", 5, list("abcx"), 45)
    check("root ::= .* \"ab\" [^a]", ".*ab[^a]", 6, list("ab\u00e4\n"), 250)
    check("root ::= [^\\u00e0-\\u00ff\\U0001F600b-]{1,2} \"-\"?", "[^\u00e0-\u00ff\U0001f600b-]{1,2}-?", 3,
          ["a", "b", "-", "\u00df", "\u00e4", "\u0100", "\u0800", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0001f5ff", "\U0001f600",
           "\U0010ffff"], 100)
    check("root ::= (\"a\" | \"b\" \"c\"){2} w{0,2} (\"d\" w)?\nw ::= \"a\" | [b-d] \"e\" | \"\\x66\"{2}",
          "(a|bc){2}(a|[b-d]e|ff){0,2}(d(a|[b-d]e|ff))?", 6, list("abcdef"), 90)
    check("root ::= (c | \"ca\")* \"b\"\nc ::= \"a\" | \"c\" \"b\"", "(a|cb|ca)*b", 7, list("abc"), 50)
    check("root ::= \"a\"? \"a\"? \"a\"* (\"b\"?){0}", "a*", 6, list("ab"), 7)
    check("root ::= ([ab] [ab])* [bc]*", "([ab][ab])*[bc]*", 7, list("abc"), 500)
    compare("grammar", "root ::= e\ne ::= t ((\"+\" | \"-\") t)*\nt ::= [0-9]+ | \"(\" e \")\"", 7, list("1+-()"), is_sum, 150)


compare_schemas() if what == "schemas" else compare_grammars()
