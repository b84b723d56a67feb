"""Bad response files, and command lines that name too many files."""
import os

from harness import Case


def case(name, slug, content, place="file"):
    def make(folder):
        (folder / "args").write_bytes(content if isinstance(content, bytes) else content.encode())
        return ["@args"]
    return Case(name, slug, make, place)


def in_place(name, slug, spoil, place="file"):
    def make(folder):
        spoil(folder / "args")
        return ["@args"]
    return Case("file-" + name, slug, make, place)


def nested(n):
    """n files; each names the next."""
    def make(folder):
        (folder / "args").write_text("@a1")
        for i in range(1, n):
            (folder / f"a{i}").write_text(f"@a{i + 1}")
        return ["@args"]
    return make


CASES = [
    *[in_place("is-a-" + name, "file-unreadable", spoil)
      for name, spoil in [("folder", os.mkdir), ("fifo", os.mkfifo),
                          ("device", lambda path: os.symlink("/dev/zero", path)),
                          ("link-to-itself", lambda path: os.symlink("args", path))]],
    in_place("absent", "file-unreadable", lambda path: None),
    in_place("of-a-tebibyte", "response-file", lambda path: (path.write_bytes(b""), os.truncate(path, 1 << 40))),
    in_place("of-17-mebibytes", "response-file", lambda path: path.write_bytes(b" " * (17 << 20))),
    case("of-zeros", "response-file", bytes(64), "line"),
    case("nul-in-a-word", "response-file", b"-o\0x", "line"),
    case("nul-in-the-third-line", "response-file", b"\n\n\0", "line"),
    case("nul-after-a-backslash", "response-file", b"\\\0", "line"),
    case("quote-not-closed", "response-file", "'m.safetensors", "line"),
    case("double-quote-not-closed", "response-file", 'a "b\n\n', "line"),
    case("quote-escaped-away", "response-file", '"a\\"', "line"),
    case("names-itself", "response-file", "@args"),
    case("names-itself-twice", "response-file", "@args @args"),
    case("names-itself-often", "response-file", "@args " * 10000),
    case("names-nothing", "file-unreadable", "@nothing"),
    case("names-its-folder", "file-unreadable", "@."),
    Case("names-17-more", "response-file", nested(18)),
    Case("names-1000-more", "response-file", nested(1000)),
    case("too-many-words", "response-file", "x " * 65537),
    case("of-bytes", "option-input", bytes(range(33, 34)) + bytes(range(128, 256)) + b" x", ""),
    case("option-unknown", "option-unknown", "--no-such-option", ""),
    case("option-long", "option-unknown", "--" + "x" * 1000000, ""),
    case("option-hostile", "option-unknown", "--\x1b[31m%s%n", ""),
    *[case(f"value-{name}", "option-value", words, "")
      for name, words in [("negative", "-j -1"), ("of-many-digits", "-j " + "9" * 100000), ("unknown", "--emit=gold"),
                          ("empty", "--target="), ("of-a-size-that-overflows", "--fold-budget=99999999999999999999G"),
                          ("of-a-bad-expression", "m.safetensors -Rpass '(('")]],
]
