"""Bad target descriptions."""
import os

from harness import Case

NUMBERS = {"cores": "2", "l2_bytes": "1M", "read_gbps": "10", "prefetch_level": "1",
           "dot_gmacs": "10", "vector_gips": "4", "fold_gips": "3", "panel_gmacs": "7", "add_gops": "1"}
GENERIC = {"name": "x", "triple": "x86_64-linux-gnu", "cpu": "x86-64", "features": "[]", "vector_bits": "128",
           **NUMBERS}

GPU = {"name": "x", "triple": "nvptx64-nvidia-cuda", "cpu": "sm_90", "sm": "90", "sm_count": "1", "clock_ghz": "1",
       "memory_gbps": "1", "launch_us": "1"}


def print_target(path="x.yaml"):
    return ["--print-target=./" + path]


def case(name, slug, content, place="line"):
    def make(folder):
        (folder / "x.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
        return print_target()
    return Case(name, slug, make, place)


def field(name, slug, key, value, place="line"):
    """A whole description with one value replaced, or omitted if None."""
    pairs = {**GENERIC, key: value}
    return case(name, slug, "".join(f"{k}: {v}\n" for k, v in pairs.items() if v is not None), place)


def line(name, slug, text, place="line"):
    """A description that inherits, and one more line."""
    return case(name, slug, "name: x\ninherit: generic\n" + text, place)


def files(name, slug, place="line", **contents):
    def make(folder):
        for stem, content in contents.items():
            (folder / f"{stem}.yaml").write_text(content)
        return print_target()
    return Case(name, slug, make, place)


def chain(n):
    """n descriptions, each the child of the next."""
    return {"x": "name: x\ninherit: s1\n", **{f"s{i}": f"name: s{i}\ninherit: s{i + 1}\n" for i in range(1, n)}}


def in_place(name, slug, spoil):
    def make(folder):
        spoil(folder / "x.yaml")
        return print_target()
    return Case(name, slug, make)


def misnamed(folder):
    (folder / "specs").mkdir()
    (folder / "specs" / "x.yaml").write_text("".join(f"{k}: {v}\n" for k, v in {**GENERIC, "name": "y"}.items()))
    return ["--print-target=x", "--spec-dir=specs"]


def of_another_machine(folder):
    (folder / "specs").mkdir()
    (folder / "specs" / "x.yaml").write_text("".join(f"{k}: {v}\n" for k, v in GPU.items()))
    return ["--print-target=native", "--spec-dir=specs"]


def no_descriptions(folder):
    (folder / "specs").mkdir()
    return ["--print-target=x", "--spec-dir=specs"]


CASES = [
    *[case(f"file-{name}", slug, content)
      for name, slug, content in [("empty", "spec-type", ""), ("of-a-comment", "spec-type", "# nothing\n"),
                                  ("of-zeros", "spec-syntax", bytes(64)),
                                  ("of-bytes", "spec-syntax", bytes(range(128, 256))),
                                  ("not-utf-8", "spec-syntax", b"name: \xff\xfe\n"), ("of-text", "spec-type", "hello"),
                                  ("a-list", "spec-type", "- name: x\n"),
                                  ("of-two-documents", "spec-type", "name: x\n---\nname: y\n"),
                                  ("with-tabs", "spec-syntax", "name: x\n\tcpu: y\n"),
                                  ("not-closed", "spec-syntax", "{name: x"),
                                  ("quote-not-closed", "spec-syntax", 'name: "x\n'),
                                  ("markup", "spec-type", "<html></html>"),
                                  ("control-characters", "spec-syntax", "name: x\x1b[31m\n")]],
    case("file-too-large", "spec-too-large", "#" * 65537, "file"),
    in_place("file-of-a-tebibyte", "spec-too-large", lambda path: (path.write_bytes(b""), os.truncate(path, 1 << 40))),
    in_place("file-absent", "file-unreadable", lambda path: None),
    in_place("file-is-a-folder", "file-unreadable", os.mkdir),
    in_place("file-is-a-fifo", "file-unreadable", os.mkfifo),
    in_place("file-is-a-device", "file-unreadable", lambda path: os.symlink("/dev/zero", path)),
    in_place("file-links-to-itself", "file-unreadable", lambda path: os.symlink("x.yaml", path)),

    # YAML that is not a description
    line("key-unknown", "spec-unknown-key", "colour: red\n"),
    line("key-empty", "spec-unknown-key", '"": 1\n'),
    line("key-long", "spec-syntax", "k" * 2000 + ": 1\n"),
    line("key-hostile", "spec-unknown-key", r'"\e[31m%s%n\0": 1' + "\n"),
    line("key-a-list", "spec-type", "? [cores]\n: 1\n"),
    line("key-twice", "spec-duplicate-key", "cores: 1\ncores: 2\n"),
    line("key-without-colon", "spec-syntax", "cores\n"),
    line("anchor", "spec-alias", "cores: &a 1\n"),
    line("alias", "spec-alias", "cores: *a\n"),
    line("tag", "spec-alias", "cores: !!int 1\n"),
    line("tag-of-python", "spec-alias", "cores: !!python/object/apply:os.system [id]\n"),
    line("merge-key", "spec-unknown-key", "<<: {cores: 1}\n"),
    line("many-aliases", "spec-alias", "features: &a [avx, avx]\ncores: [*a, *a, *a]\n"),
    line("deep", "spec-type", "features: " + "[" * 10000 + "\n"),
    line("value-a-mapping", "spec-type", "cores: {a: 1}\n"),
    line("value-a-list", "spec-type", "cores: [1]\n"),
    line("value-empty", "spec-value", "cores:\n"),
    line("value-of-two-words", "spec-value", "cpu: a b\n"),
    line("features-no-list", "spec-type", "features: avx2\n"),
    line("features-in-lists", "spec-type", "features: [[avx2]]\n"),
    line("feature-unknown", "spec-feature", "features: [avx9]\n"),
    line("feature-long", "spec-value", "features: [%s]\n" % ("a" * 1000)),
    line("feature-of-another-machine", "spec-feature", "features: [dotprod]\n"),
    line("gpu-key-for-a-cpu", "spec-foreign-key", "sm_count: 1\n"),

    # values
    *[line(f"{key}-{name}", slug, f"{key}: {value}\n")
      for key in NUMBERS
      for name, slug, value in [("is-text", "spec-value", "many"),
                                ("negative", "spec-range" if "g" in key[2:] else "spec-value", "-1"),
                                ("nan", "spec-value", ".nan"), ("inf", "spec-value", "inf"), ("0", "spec-range", "0"),
                                ("hexadecimal", "spec-value", "0x10"), ("too-large", "spec-range", "99999999999999999"),
                                ("of-many-digits", "spec-value", "9" * 1000)]],
    line("number-that-overflows", "spec-value", "read_gbps: 1e999\n"),
    line("size-of-two-units", "spec-value", "l2_bytes: 1KM\n"),
    line("size-that-overflows", "spec-range", "l2_bytes: 999999999999999999G\n"),
    line("vector-bits-64", "spec-value", "vector_bits: 64\n"),
    line("vector-bits-1024", "spec-range", "vector_bits: 1024\n"),
    line("vector-bits-without-features", "spec-feature", "vector_bits: 512\n"),
    *[line(f"name-{name}", "spec-value", f"cpu: {value}\n")
      for name, value in [("of-a-path", "../x"), ("hidden", ".x"), ("an-option", "-x"), ("quoted", "'\"x\"'"),
                          ("long", "x" * 65)]],
    field("cpu-unknown", "spec-cpu", "cpu", "pentium12"),
    field("cpu-of-another-architecture", "spec-cpu", "cpu", "neoverse-n1"),
    field("triple-of-no-machine", "spec-triple", "triple", "vax-dec-ultrix"),
    *[field(f"without-{key}", "spec-missing", key, None, "file") for key in GENERIC],

    # parents
    line("parent-twice", "spec-duplicate-key", "inherit: avx2\n"),
    files("parent-absent", "spec-inherit", x="name: x\ninherit: nothing\n"),
    files("parent-of-a-path", "spec-value", x="name: x\ninherit: ../../etc/passwd\n"),
    files("parent-is-itself", "spec-inherit-cycle", x="name: x\ninherit: x\n"),
    files("parent-is-its-child", "spec-inherit-cycle", x="name: x\ninherit: y\n", y="name: y\ninherit: x\n"),
    files("parents-without-end", "spec-inherit-depth", **chain(100)),
    files("parent-broken", "spec-syntax", x="name: x\ninherit: y\n", y="{"),
    files("cpu-with-a-gpu-as-parent", "spec-foreign-key", x="name: x\ninherit: sm_90\ncores: 1\n"),
    Case("name-of-another", "spec-name", misnamed),
    Case("folder-of-another-machine", "spec-native", of_another_machine, ""),
    Case("folder-without-descriptions", "spec-none", no_descriptions, ""),
]
