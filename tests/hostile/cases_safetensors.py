"""Bad .safetensors files: each a matrix file of its own, so that nothing but its container is read."""
import json

from formats import safetensors, tensor, u64
from harness import Case

GOOD = {"w": tensor(0, 6, [2, 3])}
DATA = bytes([1, 0, 255, 0, 1, 1])
WHOLE = safetensors(GOOD, DATA)
HEADER_END = len(WHOLE) - len(DATA)


def case(name, slug, content, place="offset"):
    def make(folder):
        (folder / "m.safetensors").write_bytes(content)
        return ["m.safetensors", "--target=generic", "--emit=report", "-o", "made"]
    return Case(name, slug, make, place)


def entry(name, slug, **changes):
    """A member of the only entry replaced, or omitted if None."""
    changed = {**GOOD["w"], **changes}
    header = {"w": {key: value for key, value in changed.items() if value is not None}}
    return case(name, slug, safetensors(header, DATA))


def raw(name, slug, text, place="offset"):
    """The header as text."""
    return case(name, slug, safetensors(text, DATA), place)


def with_dimension(text):
    return '{"w": {"dtype": "I8", "shape": [%s, 3], "data_offsets": [0, 6]}}' % text


def two(first, second, n_data):
    return safetensors({"a": tensor(*first, [first[1] - first[0]]), "b": tensor(*second, [second[1] - second[0]])},
                       bytes(n_data))


CASES = [
    # cut at each boundary, and between boundaries
    *[case(f"cut-at-{at}", "safetensors-truncated", WHOLE[:at])
      for at in (0, 1, 7, 8, 9, HEADER_END - 1, HEADER_END, len(WHOLE) - 1)],
    case("length-0", "safetensors-syntax", u64(0)),
    case("length-one-less", "safetensors-syntax", u64(HEADER_END - 9) + WHOLE[8:]),
    case("length-one-more", "safetensors-syntax", u64(HEADER_END - 7) + WHOLE[8:]),
    case("length-to-the-end", "safetensors-syntax", u64(len(WHOLE) - 8) + WHOLE[8:]),
    case("length-past-the-end", "safetensors-truncated", u64(len(WHOLE) - 7) + WHOLE[8:]),
    *[case(f"length-{n:x}", "safetensors-header-size", u64(n) + WHOLE[8:])
      for n in (100000001, 1 << 32, 1 << 63, (1 << 63) - 1, (1 << 64) - 1, (1 << 64) - 8)],
    # texts that are not headers
    *[raw(f"header-is-{name}", "safetensors-entry", text)
      for name, text in [("a-list", "[]"), ("a-list-of-entries", json.dumps([GOOD]))]],
    *[raw(f"header-{name}", "safetensors-syntax", text)
      for name, text in [("is-a-number", "7"), ("is-null", "null"), ("is-a-string", '"w"'), ("is-blank", "    "),
                         ("is-binary", bytes(range(1, 64))), ("is-zeros", bytes(64)), ("not-closed", '{"w": {'),
                         ("with-a-comma-too-many", json.dumps(GOOD)[:-1] + ",}"),
                         ("followed-by-more", json.dumps(GOOD) + "{}"),
                         ("in-utf-16", json.dumps(GOOD).encode("utf-16")),
                         ("name-not-utf-8", b'{"\xff\xfe": {}}'), ("name-with-nul", r'{"a\u0000b": {}}'),
                         ("name-half-a-surrogate", r'{"\ud800": {}}'), ("nan-dimension", with_dimension("NaN")),
                         ("infinite-dimension", with_dimension("1e999")),
                         ("dimension-2-to-the-63", with_dimension(str(1 << 63))),
                         ("dimension-2-to-the-64", with_dimension(str(1 << 64)))]],
    raw("deep", "safetensors-depth", '{"w":' + "[" * 200),
    raw("very-deep", "safetensors-depth", "[" * 1000000),
    raw("deep-objects", "safetensors-depth", '{"a":' * 100000),
    raw("many-containers", "safetensors-too-large", "[" + "[]," * 400000 + "[]]", "file"),
    raw("too-many-tensors", "safetensors-count", json.dumps(dict.fromkeys(map(str, range((1 << 18) + 1))))),
    raw("twice-the-tensor", "safetensors-duplicate", '{"w": %s, "w": %s}' % ((json.dumps(GOOD["w"]),) * 2)),
    raw("twice-the-shape", "safetensors-duplicate", '{"w": {"shape": [6], "shape": [2, 3]}}'),
    raw("only-metadata", "safetensors-empty", '{"__metadata__": {"format": "pt"}}'),
    *[raw(f"metadata-is-{name}", "safetensors-metadata", json.dumps({"__metadata__": value, **GOOD}))
      for name, value in [("a-list", []), ("text", "pt"), ("null", None)]],
    # the entry of a tensor
    *[raw(f"entry-is-{name}", "safetensors-entry", json.dumps({"w": value}))
      for name, value in [("null", None), ("a-list", []), ("a-number", 1), ("text", "I8"), ("true", True)]],
    raw("many-bad-entries", "safetensors-entry", json.dumps({f"t{i}": None for i in range(1000)})),
    entry("no-dtype", "safetensors-entry", dtype=None),
    entry("dtype-is-a-number", "safetensors-entry", dtype=8),
    entry("dtype-unknown", "safetensors-dtype", dtype="F128"),
    entry("dtype-in-small-letters", "safetensors-dtype", dtype="i8"),
    entry("dtype-hostile", "safetensors-dtype", dtype="\x1b[31m%s%n\n" + "x" * 100000),
    entry("no-shape", "safetensors-entry", shape=None),
    entry("shape-is-a-number", "safetensors-entry", shape=6),
    entry("shape-is-an-object", "safetensors-entry", shape={"0": 2, "1": 3}),
    entry("dimension-is-text", "safetensors-shape", shape=["2", 3]),
    entry("dimension-is-a-fraction", "safetensors-shape", shape=[2.0, 3]),
    entry("dimension-is-true", "safetensors-shape", shape=[True, 6]),
    entry("dimension-is-a-list", "safetensors-shape", shape=[[2, 3]]),
    entry("dimension-is-negative", "safetensors-shape", shape=[-2, -3]),
    entry("nine-dimensions", "safetensors-shape", shape=[1] * 7 + [2, 3]),
    entry("a-million-dimensions", "safetensors-shape", shape=[1] * 1000000),
    entry("product-2-to-the-64", "safetensors-shape", shape=[1 << 32, 1 << 32]),
    entry("bytes-2-to-the-64", "safetensors-shape", dtype="I64", shape=[1 << 31, 1 << 30]),
    entry("shape-too-large", "safetensors-size", shape=[3, 3]),
    entry("shape-too-small", "safetensors-size", shape=[1, 3]),
    entry("dtype-too-wide", "safetensors-size", dtype="F32"),
    entry("shape-with-0", "safetensors-size", shape=[0, 1 << 62]),
    entry("no-offsets", "safetensors-entry", data_offsets=None),
    *[entry(f"offsets-{name}", "safetensors-entry", data_offsets=value)
      for name, value in [("is-a-number", 0), ("is-one", [6]), ("are-three", [0, 3, 6]), ("are-text", ["0", "6"]),
                          ("are-fractions", [0.0, 6.0]), ("are-null", [None, None]), ("is-an-object", {"begin": 0})]],
    entry("offsets-reversed", "safetensors-offsets", data_offsets=[6, 0]),
    entry("offsets-negative", "safetensors-offsets", data_offsets=[-6, 0]),
    entry("offsets-most-negative", "safetensors-offsets", data_offsets=[-(1 << 63), (1 << 63) - 1]),
    entry("end-past-the-file", "safetensors-truncated", data_offsets=[0, 7]),
    entry("end-far-past-the-file", "safetensors-truncated", data_offsets=[0, (1 << 63) - 1]),
    entry("begin-far-past-the-file", "safetensors-truncated", data_offsets=[(1 << 63) - 1, (1 << 63) - 1]),
    # how the tensors lie
    case("overlap-whole", "safetensors-overlap", two((0, 4), (0, 4), 4)),
    case("overlap-part", "safetensors-overlap", two((0, 4), (3, 7), 7)),
    case("overlap-inside", "safetensors-overlap", two((0, 8), (2, 4), 8)),
    case("hole-in-front", "safetensors-hole", two((1, 4), (4, 8), 8)),
    case("hole-between-unsorted", "safetensors-hole", two((6, 8), (0, 4), 8)),
    case("one-byte-behind", "safetensors-trailing", WHOLE + b"\0"),
    case("another-file-behind", "safetensors-trailing", WHOLE + WHOLE),
    # a matrix file that holds no matrix
    case("one-dimension", "matrix-shape", safetensors({"w": tensor(0, 6, [6])}, DATA), "tensor"),
    case("no-rows", "matrix-shape", safetensors({"w": tensor(0, 0, [0, 3])}), "tensor"),
    case("no-alphabet", "matrix-value", safetensors(GOOD, bytes(range(6))), "tensor"),
    case("nan", "matrix-value", safetensors({"w": tensor(0, 4, [1, 1], "F32")}, b"\0\0\xc0\x7f"), "tensor"),
]
