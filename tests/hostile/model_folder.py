"""A valid model's folder to spoil: links to the files that rsr-mkmodel wrote, and one that is replaced."""
import copy
import json
import os
import pathlib
import shutil
import subprocess

import formats

ARGUMENTS = ["model", "--target=generic", "--emit=report", "-o", "made"]
REMOVED = object()
_made = {}


def original(folder, *options):
    """The folder of a valid model, made once a run, beside the folders of cases."""
    work = folder.parent / ".valid" / "-".join(["tiny", *options]).replace("/", "")
    if work not in _made:
        shutil.rmtree(work, ignore_errors=True)
        work.parent.mkdir(exist_ok=True)
        subprocess.run(["rsr-mkmodel", "--preset", "tiny", *options, "-o", str(work)], check=True)
        _made[work] = {path.name: path for path in work.iterdir()}
    return _made[work]


def link_model(folder, *options, leave_out=()):
    model = folder / "model"
    model.mkdir()
    for name, path in original(folder, *options).items():
        if name not in leave_out:
            os.symlink(path, model / name)
    return model


def replace_file(name, content, *options):
    """make: the model with one file's bytes replaced, or added."""
    def make(folder):
        model = link_model(folder, *options, leave_out=[name])
        (model / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return ARGUMENTS
    return make


def set_json(name, path, value, *options):
    """make: the model with one value in a JSON file replaced; `path` is keys with slashes."""
    def make(folder):
        root = json.loads(original(folder, *options)[name].read_text())
        *above, last = [int(key) if key.isdigit() else key for key in path.split("/")]
        at = root
        for key in above:
            at = at.setdefault(key, {}) if isinstance(at, dict) else at[key]
        if value is REMOVED:
            del at[last]
        else:
            at[last] = copy.deepcopy(value)
        return replace_file(name, json.dumps(root), *options)(folder)
    return make


def change_text(name, change, *options):
    """make: the model with change(text) in the place of a file's text."""
    def make(folder):
        return replace_file(name, change(original(folder, *options)[name].read_text()), *options)(folder)
    return make


def read_safetensors(path: pathlib.Path):
    """Header and data."""
    content = path.read_bytes()
    n = int.from_bytes(content[:8], "little")
    return json.loads(content[8:8 + n]), content[8 + n:]


def set_weights(change):
    """make: the model with change(header, data), a pair, as its weights."""
    def make(folder):
        header, data = change(*read_safetensors(original(folder)["model.safetensors"]))
        return replace_file("model.safetensors", formats.safetensors(header, data))(folder)
    return make


# What is wrong with JSON text, whatever it should hold; the slug is <prefix>-<end>.
def json_damage(valid):
    return [
        ("empty", "syntax", ""), ("blank", "syntax", " \n\t "), ("zeros", "syntax", bytes(4096)),
        ("byte-order-mark", "syntax", b"\xef\xbb\xbf" + valid.encode()), ("utf-16", "syntax", valid.encode("utf-16")),
        ("latin-1", "syntax", b'{"\xe9": 1}'), ("half", "syntax", valid[:len(valid) // 2]),
        ("without-its-end", "syntax", valid.rstrip()[:-1]), ("twice", "syntax", valid + valid),
        ("single-quotes", "syntax", "{'a': 1}"), ("comment", "syntax", "/* */" + valid),
        ("nan", "syntax", '{"a": NaN}'), ("infinity", "syntax", '{"a": -Infinity}'),
        ("real-overflow", "syntax", '{"a": 1e999}'), ("integer-of-400-digits", "syntax", '{"a": -%s}' % ("9" * 400)),
        ("nul-in-a-string", "syntax", r'{"a": "\u0000"}'), ("half-a-surrogate", "syntax", r'{"a": "\udfff"}'),
        ("a-line-end-in-a-string", "syntax", '{"a": "\n"}'), ("leading-zero", "syntax", '{"a": 01}'),
        ("long-number", "syntax", '{"a": %s}' % ("9" * 100000)), ("markup", "syntax", "<!DOCTYPE html><html></html>"),
        ("duplicate-key", "duplicate", '{"a": 1, "a": 2}'), ("nested-duplicate-key", "duplicate",
                                                             '{"b": {"a": 1, "a": 2}}'),
        ("deep-lists", "depth", "[" * 1000000), ("deep-objects", "depth", '{"a":' * 200000),
        ("many-containers", "too-large", "[" + "[]," * 400000 + "[]]"),
    ]
