"""Bad .npy files."""
import os
import struct

from formats import npy
from harness import Case

DATA = struct.pack("6b", -1, 0, 1, 0, 1, 1)
HEADER = "{'descr': '|i1', 'fortran_order': False, 'shape': (2, 3), }"
WHOLE = npy(HEADER, DATA)


def case(name, slug, content, place="offset"):
    def make(folder):
        (folder / "m.npy").write_bytes(content)
        return ["m.npy", "--target=generic", "--emit=report", "-o", "made"]
    return Case(name, slug, make, place)


def header(name, slug, text, data=DATA, **how):
    return case(name, slug, npy(text, data, **how))


def syntax(name, text, data=DATA):
    return header("header-" + name, "npy-header", text, data)


def member(name, slug, descr="'|i1'", order="False", shape="(2, 3)", data=DATA):
    return header(name, slug, "{'descr': %s, 'fortran_order': %s, 'shape': %s, }" % (descr, order, shape), data)


def sparse(name, slug, text, n_data):
    """A file of n_data bytes that take no place on the disk."""
    def make(folder):
        with open(folder / "m.npy", "wb") as file:
            file.write(npy(text, b""))
            file.truncate(file.tell() + n_data)
        return ["m.npy", "--target=generic", "--emit=report", "-o", "made"]
    return Case(name, slug, make, "offset")


def of_a_folder(folder):
    os.mkdir(folder / "m.npy")
    return ["m.npy", "--target=generic", "--emit=report", "-o", "made"]


CASES = [
    *[case(f"cut-at-{at}", "npy-magic", WHOLE[:at]) for at in (0, 1, 5)],
    *[case(f"cut-at-{at}", "npy-truncated", WHOLE[:at])
      for at in (6, 7, 8, 9, 10, 11, len(WHOLE) - 7, len(WHOLE) - 6, len(WHOLE) - 1)],
    case("magic-of-another", "npy-magic", b"\x93NUMPX" + WHOLE[6:]),
    case("zip-of-arrays", "npy-magic", b"PK\3\4" + WHOLE),
    *[header(f"version-{major}-{minor}", "npy-version", HEADER, version=(major, minor))
      for major, minor in [(0, 0), (1, 1), (2, 255), (4, 0), (255, 255)]],
    header("length-0", "npy-header", HEADER, length=0),
    header("length-past-the-end", "npy-truncated", HEADER, length=0xffff),
    header("length-2-to-the-32", "npy-truncated", HEADER, version=(2, 0), length=0xffffffff),
    header("length-in-the-text", "npy-header", HEADER, length=20),
    header("length-into-the-data", "npy-header", HEADER, length=119 - 1 + 4),

    syntax("empty", ""), syntax("blank", "    "), syntax("of-zeros", bytes(64)),
    syntax("of-bytes", bytes(range(128, 255))),
    syntax("not-closed", HEADER[:-1]), syntax("closed-twice", HEADER + "}"), syntax("of-two", HEADER + HEADER),
    syntax("a-list", "[]"), syntax("an-empty-dictionary", "{}"), syntax("of-json", HEADER.replace("False", "false")),
    syntax("of-code", "__import__('os').system('id')"), syntax("key-unknown", HEADER[:-1] + "'more': 1}"),
    syntax("key-twice", "{'descr': '|i1', 'descr': '|i1', 'fortran_order': False, 'shape': (2, 3)}"),
    syntax("key-missing", "{'descr': '|i1', 'fortran_order': False}"),
    syntax("key-of-bytes", HEADER.replace("'d", "b'd")),
    syntax("key-escaped", HEADER.replace("'descr'", r"'\x64escr'")), syntax("key-not-closed", "{'descr"),
    syntax("key-long", "{'%s': 1}" % ("x" * 60000)), syntax("without-colon", HEADER.replace("':", "'")),
    syntax("without-comma", HEADER.replace(", 'shape", " 'shape")),
    syntax("order-a-number", HEADER.replace("False", "0")),
    syntax("shape-a-list", HEADER.replace("(2, 3)", "[2, 3]")), syntax("shape-a-number", HEADER.replace("(2, 3)", "6")),
    syntax("shape-not-closed", HEADER.replace("(2, 3), }", "(2, 3")),
    syntax("shape-in-brackets", HEADER.replace("(2, 3)", "(6)")),
    syntax("dimension-negative", HEADER.replace("2", "-2")), syntax("dimension-a-fraction", HEADER.replace("2", "2.0")),
    syntax("dimension-in-hexadecimal", HEADER.replace("2", "0x2")),
    syntax("dimension-with-L", HEADER.replace("2", "2L")),
    syntax("deep", "{'descr': " + "(" * 60000),

    *[member(f"dtype-{name}", "npy-dtype", descr="'%s'" % descr)
      for name, descr in [("empty", ""), ("objects", "|O"), ("big-endian", ">i4"), ("double", "<f8"),
                          ("complex", "<c8"),
                          ("text", "<U8"), ("raw", "|V1"), ("date", "<M8[ns]"), ("wide", "<i4" * 10000)]],
    member("dtype-of-records", "npy-dtype", descr="[('a', '|i1'), ('b', '|i1')]"),
    member("fortran-order", "npy-order", order="True"),
    member("dimension-2-to-the-64", "npy-shape", shape="(18446744073709551616, 1)"),
    member("dimension-of-many-digits", "npy-shape", shape="(%s, 1)" % ("9" * 50000)),
    member("product-2-to-the-64", "npy-shape", shape="(4294967296, 4294967296)"),
    member("bytes-2-to-the-64", "npy-shape", descr="'<i8'", shape="(2305843009213693952, 1)"),
    member("many-dimensions", "npy-shape", shape="(" + "1, " * 10000 + ")"),
    member("shape-too-large", "npy-truncated", shape="(3, 3)"),
    member("shape-far-too-large", "npy-truncated", shape="(18446744073709551615, 1)"),
    member("dtype-too-wide", "npy-truncated", descr="'<f4'"),
    member("shape-too-small", "npy-trailing", shape="(1, 3)"),
    member("rows-0", "npy-trailing", shape="(0, 18446744073709551615)"),
    member("one-byte-behind", "npy-trailing", data=DATA + b"\0"),
    member("bool-2", "npy-bool", descr="'|b1'", data=bytes([0, 1, 2, 0, 1, 1])),
    sparse("a-tebibyte-behind", "npy-trailing", HEADER, 1 << 40),

    case("no-matrix-0", "matrix-shape", npy(HEADER.replace("(2, 3)", "()"), b"\1"), "tensor"),
    case("no-matrix-1", "matrix-shape", npy(HEADER.replace("(2, 3)", "(6,)"), DATA), "tensor"),
    case("no-matrix-3", "matrix-shape", npy(HEADER.replace("(2, 3)", "(1, 2, 3)"), DATA), "tensor"),
    case("no-rows", "matrix-shape", npy(HEADER.replace("(2, 3)", "(0, 3)"), b""), "tensor"),
    *[case(f"value-{name}", "matrix-value", npy(HEADER.replace("|i1", "<f4"),
                                                struct.pack("<6f", 1, 0, -1, 0, 1, value)), "tensor")
      for name, value in [("nan", float("nan")), ("inf", float("inf")), ("half", 0.5), ("tiny", 1e-45), ("2", 2.0)]],
    case("value-2-to-the-32", "matrix-value", npy(HEADER.replace("|i1", "<i8"),
                                                  struct.pack("<6q", 1, 0, -1, 0, 1, 1 << 32)), "tensor"),
    Case("a-folder", "checkpoint-no-weights", of_a_folder),
]
