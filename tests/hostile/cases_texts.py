"""Bad text forms: indexes, plans, steps and kernels, each a valid text with one thing changed."""
import os
import re
import subprocess

from harness import Case

TARGET = "avx2"
_texts = {}


def valid(folder, kind):
    """The text that rsrc prints, made once a run."""
    work = folder.parent / ".valid"
    if not _texts:
        work.mkdir(exist_ok=True)
        subprocess.run(["rsr-mkmodel", "--matrix", "6x20:ternary", "-o", str(work / "w.safetensors")], check=True)
        subprocess.run(["rsr-mkmodel", "--preset", "tiny", "-o", str(work / "m")], check=True)
        for source, kinds in (("w.safetensors", "rsr,plan,kernel"), ("m", "step")):
            subprocess.run(["rsrc", source, "--target=" + TARGET, f"--emit={kinds}", "-o", "t." + kinds[:4]],
                           cwd=work, check=True)
        for path in work.glob("t.*"):
            if path.is_file():
                _texts[path.suffix[1:]] = path.read_text()
    return _texts[kind]


def arguments(kind):
    return [f"t.{kind}", f"--from={kind}", "--target=" + TARGET, f"--emit={kind}", "-o", "made"]


def content(name, kind, text):
    def make(folder):
        (folder / f"t.{kind}").write_bytes(text if isinstance(text, bytes) else text.encode())
        return arguments(kind)
    return Case(f"{kind}-{name}", f"{kind}-text", make, "line")


def change(name, kind, pattern, replacement):
    """The first match of a pattern replaced, which must be there."""
    def make(folder):
        text, n = re.subn(pattern, replacement, valid(folder, kind), count=1, flags=re.M)
        assert n > 0, (name, pattern)
        (folder / f"t.{kind}").write_text(text)
        return arguments(kind)
    return Case(f"{kind}-{name}", f"{kind}-text", make, "line")


def cut(kind, share):
    def make(folder):
        text = valid(folder, kind)
        (folder / f"t.{kind}").write_text(text[:int(len(text) * share)])
        return arguments(kind)
    return Case(f"{kind}-cut-at-{share:.2f}", f"{kind}-text", make, "line")


def in_place(kind, name, spoil):
    def make(folder):
        spoil(folder / f"t.{kind}")
        return arguments(kind)
    return Case(f"{kind}-is-a-{name}", "file-unreadable", make)


KERNEL = """kernel %s: dot, 6 x 20, raw, 1 tiles of 8 rows, 6 computed, 0 bytes of scratch
  key "k"
  title "t"
  reason "r"
  target "avx2" input i8 bodies 0
  code
end kernel
"""


def many_kernels(folder):
    """The last kernel has the first one's name. Comparing each name with all others would take
    minutes."""
    names = [f"rsr_{i:08d}" for i in range(50000)] + ["rsr_00000000"]
    (folder / "t.kernel").write_text("kernels 1\n" + "".join(KERNEL % name for name in names))
    return ["t.kernel", "--from=kernel", "--target=" + TARGET, "--emit=c", "-o", "made"]


HUGE = ("4294967295", "4294967296", "18446744073709551615", "18446744073709551616", "9" * 100, "-1")


def damage(kind):
    """Texts that are no text form."""
    return [
        content("empty", kind, ""), content("of-zeros", kind, bytes(64)),
        content("of-bytes", kind, bytes(range(128, 256))),
        content("of-another", kind, "hello\n"), content("long-line", kind, "x" * 1000000),
        change("version-9", kind, r"\A(\w+) \d+", r"\1 999"),
        change("version-huge", kind, r"\A(\w+) \d+", r"\g<1> " + HUGE[3]),
        change("byte-order-mark", kind, r"\A", "\ufeff"), change("with-escape", kind, r"\A(\w+ \d+)$", "\\1 \x1b[31m"),
        *[cut(kind, share) for share in (0.3, 0.6, 0.95)],
        in_place(kind, "folder", os.mkdir), in_place(kind, "fifo", os.mkfifo),
    ]


CASES = [
    *damage("rsr"),
    *[change(f"{key}-{value[:20]}", "rsr", rf"\b{key} \d+", f"{key} {value}")
      for key in ("rows", "cols", "k", "segments", "members") for value in HUGE],
    *[change(f"{key}-0", "rsr", rf"\b{key} \d+", f"{key} 0") for key in ("rows", "cols", "k", "members")],
    change("rows-promised", "rsr", r"rows \d+", "rows 1000000"),
    change("cols-promised", "rsr", r"cols \d+", "cols 1000000000"),
    change("alphabet", "rsr", "alphabet ternary", "alphabet klingon"),
    change("quote-open", "rsr", r'"matrix\.0"', '"matrix.0'),
    change("block-skipped", "rsr", "block 1", "block 2"), change("block-twice", "rsr", "block 1", "block 0"),
    change("column-twice", "rsr", r"^(  1 : )(\S+)", r"\1\2 \2"), change("column-beyond", "rsr", r"\+1 ", "+20 "),
    change("column-huge", "rsr", r"\+1 ", "+4294967297 "), change("sign-missing", "rsr", r"\+1 ", "1 "),
    change("segment-0", "rsr", "^  1 :", "  0 :"), change("segment-beyond", "rsr", "^  1 :", "  2 :"),
    change("end-missing", "rsr", "^end\n", ""),

    *damage("plan"),
    *[change(f"{key}-{value[:20]}", "plan", rf"\b{key} \d+", f"{key} {value}")
      for key in ("tile_rows", "token_tile", "weight_bytes", "acc_bound") for value in HUGE[3:]],
    *[change(f"us-is-{value}", "plan", r"us [\d.]+", f"us {value}") for value in ("nan", "inf", "-1", "1e999", "x")],
    change("kernel", "plan", "kernel dot", "kernel magic"),
    change("machine", "plan", r"machine [\w-]+", "machine loose"),
    change("input", "plan", "input i8", "input i9"),
    *[change(f"k-{value[:20]}", "plan", "kernel dot", f"kernel scatter k {value} fold tree") for value in HUGE[3:]],
    change("fold", "plan", "kernel dot", "kernel scatter k 4 fold shrub"),
    change("no-prefill", "plan", r"(?s)  prefill.*\Z", ""), change("reason-open", "plan", r'reason "', "reason "),

    *damage("step"),
    *[change(f"{key}-{value[:20]}", "step", rf"\b{key} \d+", f"{key} {value}")
      for key in ("tokens", "arena", "cols", "row_bytes", "offset", "kernel", "block") for value in HUGE[3:]],
    change("buffer-twice", "step", r"^(  buffer x .*\n)", r"\1\1"),
    change("buffer-unknown", "step", "normed <- x", "normed <- zebra"),
    change("buffer-beyond-the-arena", "step", r"offset \d+", "offset 4294967232"),
    change("operation-unknown", "step", "^  embed ", "  embark "), change("arrow-missing", "step", "x <-", "x"),

    *damage("kernel"),
    *[change(f"{what}-{value[:20]}", "kernel", pattern, replacement.replace("N", value))
      for what, pattern, replacement in [("kernels", r"\Akernels \d+", "kernels N"),
                                         ("rows", r"dot, \d+ x", "dot, N x"),
                                         ("cols", r"x \d+, raw", "x N, raw"), ("tiles", r"\d+ tiles", "N tiles"),
                                         ("tile-rows", r"of \d+ rows", "of N rows"),
                                         ("scratch", r"\d+ bytes of scratch", "N bytes of scratch"),
                                         ("bodies", r"bodies \d+", "bodies N")] for value in HUGE[2:]],
    change("register-type", "kernel", "regs v8u32", "regs v999u32"),
    change("register-lanes-0", "kernel", "regs v8u32", "regs v0u32"),
    change("register-twice", "kernel", r"regs i64 ldx ldy", "regs i64 ldx ldx"),
    change("register-of-c", "kernel", r"\bquad\b", "while"),
    change("end-missing", "kernel", r"^end kernel.*$", ""),
    Case("kernel-many-and-one-twice", "kernel-twice", many_kernels),
]
