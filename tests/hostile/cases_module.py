"""Bad compiled models for rsr-run: what the loader and the runtime check before they use a file or a table."""
import os
import pathlib
import re
import struct
import subprocess

from harness import Case

ABI = (pathlib.Path(__file__).parents[2] / "runtime" / "include" / "rsr_abi.h").read_text()
PROMPT = ["-p", "hello", "-n", "2", "-t", "1"]
TEMPLATE = b"{% for message in messages %}"
_made = {}


def offsets(struct_name):
    """The numbers at the beginning of a struct of rsr_abi.h: name -> (offset, bytes)."""
    body = re.search(r"struct %s \{(.*?)\n\};" % struct_name, ABI, re.S).group(1)
    found, at = {}, 0
    for bits, name in re.findall(r"^    (?:uint(\d+)_t (\w+)|\S.*?);", body, re.M):
        if not name:
            break
        size = int(bits) // 8
        at += -at % size
        found[name] = (at, size)
        at += size
    return found


HEADER = offsets("rsr_tokenizer_header")
HYPER = offsets("rsr_hyper")
MAGIC = struct.pack("<I", int(re.search(r"RSR_TOKENIZER_MAGIC (0x[0-9a-f]+)", ABI).group(1), 16))
SIZES = {"hidden": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "head_dim": 16, "ffn": 176, "vocab": 512,
         "context": 256}  # of rsr-mkmodel's tiny


def valid(folder):
    """The bytes of a model and of a library of matrices, made once a run."""
    work = folder.parent / ".valid"
    if not _made:
        work.mkdir(exist_ok=True)
        commands = ["rsr-mkmodel --preset tiny -o m", "rsrc m --target=generic -o m.so",
                    "rsr-mkmodel --matrix 6x20:ternary -o w.safetensors", "rsrc w.safetensors --target=generic -o w.so"]
        for command in commands:
            subprocess.run(command.split(), cwd=work, check=True)
        _made.update({name: (work / (name + ".so")).read_bytes() for name in "mw"})
    return _made


def find_section(module):
    """Where the tokenizer's section is: the magic number stands in code as well."""
    at = -1
    while (at := module.index(MAGIC, at + 1)) >= 0:
        if at % 8 == 0 and struct.unpack_from("<I", module, at + HEADER["n_tokens"][0])[0] == SIZES["vocab"]:
            return at


def find_hyper(module):
    assert list(HYPER)[:len(SIZES)] == list(SIZES)
    return module.index(struct.pack("<8I", *SIZES.values()))


def write(at, size, value):
    def change(module):
        start = at(module) if callable(at) else at
        return module[:start] + value.to_bytes(size, "little") + module[start + size:]
    return change


def model(name, words, change, arguments=PROMPT):
    """The model's bytes after change(bytes); rsr-run's sentence has `words`, a regular expression."""
    def make(folder):
        (folder / "m.so").write_bytes(change(valid(folder)["m"]))
        return ["m.so", *arguments]
    return Case(name, words, make, program="rsr-run")


def in_place(name, words, spoil):
    def make(folder):
        spoil(folder / "m.so")
        return ["m.so", *PROMPT]
    return Case("file-" + name, words, make, program="rsr-run")


def section(field, value, words="tokenizer section is damaged"):
    offset, size = HEADER[field]
    return model(f"section-{field}-{value:x}", words, write(lambda module: find_section(module) + offset, size, value))


def size_of_the_model(field, value, words):
    return model(f"{field}-{value:x}", words, write(lambda module: find_hyper(module) + HYPER[field][0], 4, value))


def first_segment(module):
    """Where the program header of the first loaded segment is."""
    begin, size, n = *struct.unpack_from("<Q", module, 32), *struct.unpack_from("<HH", module, 54)
    return next(begin + i * size for i in range(n) if struct.unpack_from("<I", module, begin + i * size)[0] == 1)


def segment(name, offset, value, words):
    return model("segment-" + name, words, write(lambda module: first_segment(module) + offset, 8, value))


def template(name, words, text, **limits):
    """The chat template replaced by another one, which is at most as long."""
    def make(folder):
        module = valid(folder)["m"]
        begin = module.index(TEMPLATE)
        end = module.index(b"\0", begin)
        assert len(text) <= end - begin
        (folder / "m.so").write_bytes(module[:begin] + text.encode().ljust(end - begin) + module[end:])
        return ["m.so", "--chat", "-n", "1", "-t", "1"]
    return Case("template-" + name, words, make, program="rsr-run", stdin=b"hello\n", **limits)


def user(name, words, *arguments, **files):
    """A right model, and wrong arguments or files."""
    def make(folder):
        (folder / "m.so").write_bytes(valid(folder)["m"])
        for stem, content in files.items():
            (folder / stem).write_bytes(content)
        return ["m.so", *arguments]
    return Case("user-" + name, words, make, program="rsr-run")


def matrices(folder):
    (folder / "w.so").write_bytes(valid(folder)["w"])
    return ["w.so", *PROMPT]


NO_MODEL = "not a module that rsrc made"
HUGE = ((1 << 32) - 1, 1 << 31)
HUGE_AT = ((1 << 64) - 8, 1 << 63, 1 << 40, 1)

LOOPS = "".join("{%% for %s in range(9999) %%}" % name for name in "abc") + "x" + 3 * "{% endfor %}"

CASES = [
    in_place("absent", "No such file", lambda path: None),
    in_place("is-a-folder", NO_MODEL, os.mkdir),
    in_place("is-a-fifo", NO_MODEL, os.mkfifo),
    in_place("is-a-device", NO_MODEL, lambda path: os.symlink("/dev/zero", path)),
    in_place("links-to-itself", "symbolic links", lambda path: os.symlink("m.so", path)),
    in_place("is-empty", NO_MODEL, lambda path: path.write_bytes(b"")),
    in_place("is-text", NO_MODEL, lambda path: path.write_text("#!/bin/sh\n")),
    in_place("of-zeros", NO_MODEL, lambda path: path.write_bytes(bytes(100000))),
    in_place("is-the-program", NO_MODEL, lambda path: os.symlink("/proc/self/exe", path)),
    Case("file-is-a-library-of-matrices", "is a library of matrices, and no model", matrices, program="rsr-run"),
    *[model(f"cut-at-{at}", NO_MODEL, lambda module, at=at: module[:at]) for at in (1, 4, 63)],
    *[model(f"cut-at-{at}", "is cut off", lambda module, at=at: module[:at]) for at in (64, 100, 4096, 100000)],
    model("magic-of-another", NO_MODEL, write(0, 4, 0x7f454c47)),
    model("of-32-bits", NO_MODEL, write(4, 1, 1)),
    model("big-endian", NO_MODEL, write(5, 1, 2)),
    model("of-no-elf-version", NO_MODEL, write(6, 1, 9)),
    model("for-another-machine", NO_MODEL, write(18, 2, 0xf3)),
    model("no-library", NO_MODEL, write(16, 2, 1)),
    *[model(f"headers-at-{at:x}", NO_MODEL, write(32, 8, at)) for at in (1 << 40, 1 << 63, (1 << 64) - 1)],
    model("headers-of-another-size", NO_MODEL, write(54, 2, 1)),
    model("headers-65535", "is cut off|" + NO_MODEL, write(56, 2, 0xffff)),
    segment("offset-huge", 8, 1 << 63, "is cut off|" + NO_MODEL),
    segment("in-file-huge", 32, 1 << 63, "is cut off|" + NO_MODEL),

    *[size_of_the_model(field, 0, "holds no runnable model") for field in SIZES],
    *[size_of_the_model(field, (1 << 32) - 1, "holds no runnable model") for field in SIZES],
    size_of_the_model("n_kv_heads", 3, "do not fit together"),
    size_of_the_model("head_dim", 15, "do not fit together"),
    size_of_the_model("context", 1 << 25, "do not fit together"),
    size_of_the_model("hidden", 128, "the module is broken"),
    size_of_the_model("vocab", 513, "the module is broken"),
    size_of_the_model("activation", 77, "activation 77 .*is unknown"),

    section("n_tokens", 0), *[section("n_tokens", value) for value in HUGE],
    section("size_bytes", 0), section("size_bytes", 8), section("size_bytes", 2000),
    *[section(field, value) for field in ("n_merges", "n_normalizers", "n_pretokenizers", "alphabet", "n_prefix",
                                          "n_suffix")
      for value in HUGE],
    section("unk_token", 1 << 31),
    *[section(field, value) for field in HEADER if field.endswith("_at") for value in HUGE_AT],
    section("text_begin_at", 0), section("merges_at", 8),

    *[template(name, "chat template", text)
      for name, text in [("not-closed", "{{ a"), ("tag-not-closed", "{% for"), ("comment-not-closed", "{# a"),
                         ("block-not-closed", "{% if true %}a"), ("block-not-opened", "{% endif %}"),
                         ("tag-unknown", "{% include '/etc/passwd' %}"), ("import", "{% import 'os' as os %}"),
                         ("string-not-closed", "{{ 'a }}"), ("empty-expression", "{{ }}"), ("deep", "{{ " + "(" * 200),
                         ("deep-lists", "{{ " + "[" * 200), ("deep-blocks", "{% if 1 %}" * 19),
                         ("filter-unknown", "{{ 'a' | exec }}"), ("attributes-of-python", "{{ ''.__class__.__mro__ }}"),
                         ("function-unknown", "{{ open('/etc/passwd') }}"), ("division-by-0", "{{ 1 // 0 }}"),
                         ("number-that-overflows", "{{ 99999999999999999999 }}"),
                         ("sum-that-overflows", "{{ 9223372036854775807 + 1 }}"),
                         ("text-without-end", "{{ 'x' * 1000000000000 }}"),
                         ("range-without-end", "{% for i in range(10 ** 18) %}x{% endfor %}"),
                         ("raises", "{{ raise_exception('no') }}"),
                         ("index-past-the-end", "{{ messages[99]['content'] }}")]],

    # templates are programs: their time and memory are limited
    template("loops-in-loops", "chat template", LOOPS, free_bytes=288 << 20),

    user("no-such-target", "no target", "--target", "none", *PROMPT),
    user("prompt-file-absent", "cannot read", "-f", "absent"),
    user("prompt-file-a-folder", "cannot read", "-f", "."),
    user("text-absent", "cannot read", "--perplexity", "absent"),
    user("text-empty", "is empty", "--perplexity", "text", text=b""),
    user("prompt-longer-than-the-context", "context|longer|room", "-p", "x" * 10000, "-n", "1", "--json"),
    user("tokens-of-many-digits", "expected", "-p", "x", "-n", "9" * 1000),
    user("context-0", "expected", "-p", "x", "-c", "0"),
    user("temperature-nan", "expected", "-p", "x", "--temp", "nan"),
    user("option-hostile", "unknown option", "--\x1b[31m%s%n"),
]
