"""Compares rsr.py in DIR with the headers in INCLUDE, as compilers read them: a C program prints the layout of
every struct, every constant and every initialiser, and a C++ program the types of fields and functions. LIBRARY
must have no other functions.

usage: check_bindings.py DIR INCLUDE LIBRARY CC
"""
import ctypes as c
import pathlib
import re
import subprocess
import sys

work, include, library, cc = sys.argv[1:]
sys.path.insert(0, work)
import rsr

LAYOUT = """#include <stdio.h>
#include "rsr_constraint.h"
#include "rsr_louver.h"
static void put(const void *bytes, size_t n) {
    for (size_t i = 0; i < n; i++)
        printf("%02x", ((const unsigned char *)bytes)[i]);
    puts("");
}
"""
TYPES = """#include <stdio.h>
#include "rsr_constraint.h"
#include "rsr_louver.h"
template <class T> void show(const char *what) { printf("%s: %s\\n", what, __PRETTY_FUNCTION__); }
"""
structs = {name: kind for name, kind in vars(rsr).items() if hasattr(kind, "_fields_")}
initialisers = {name: make for name, make in vars(rsr).items() if re.fullmatch("RSR_.*_(INIT|DEFAULT)", name)}
constants = {name: value for name, value in vars(rsr).items() if name.startswith("RSR_") and isinstance(value, int)}


def printed(name, flags, text):
    """The output of a program whose source ends with `text`, the body of main()."""
    source, program = pathlib.Path(work, name), pathlib.Path(work, name + ".exe")
    source.write_text(text + "    return 0;\n}\n")
    subprocess.run([cc, *flags, "-Wall", "-Werror", "-I", include, source, "-o", program], check=True)
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()


def compare(expected, found):
    assert len(expected) == len(found) and len(found) > 0
    for ours, theirs in zip(expected, found):
        assert ours == theirs, f"rsr.py has   {ours}\nrsr.h is     {theirs}"
    print(len(found), "equal")


def layouts():
    text, ours = LAYOUT + "int main(void) {\n", []
    for name, kind in structs.items():
        text += f'    printf("{name} %zu\\n", sizeof({name}));\n'
        ours.append(f"{name} {c.sizeof(kind)}")
        for field, *_ in kind._fields_:
            text += f'    printf("{name}.{field} %zu %zu\\n", offsetof({name}, {field}),'
            text += f" sizeof((({name} *)0)->{field}));\n"
            member = getattr(kind, field)
            ours.append(f"{name}.{field} {member.offset} {member.size}")
    for name, value in constants.items():
        text += f'    printf("{name} %lld\\n", (long long){name});\n'
        ours.append(f"{name} {value}")
    for name, make in initialisers.items():
        made = make()
        text += f"    {{\n        const {type(made).__name__} made = {name};\n"
        for field, *_ in made._fields_:
            member = getattr(type(made), field)
            text += f'        printf("{name}.{field} "), put(&made.{field}, sizeof made.{field});\n'
            ours.append(f"{name}.{field} {bytes(made)[member.offset:member.offset + member.size].hex()}")
        text += "    }\n"
    compare(ours, printed("layout.c", ["-std=c11"], text))


def spelt(kind):
    """A ctypes type in C++, without const, blanks and names of enums."""
    simple = {None: "void", c.c_void_p: "void*", c.c_char_p: "char*", c.c_char: "char", c.c_bool: "bool",
              c.c_uint8: "unsignedchar", c.c_uint32: "unsignedint", c.c_uint64: "unsignedlong", c.c_int64: "long",
              c.c_float: "float", c.c_double: "double"}
    if kind in simple:
        return simple[kind]
    if hasattr(kind, "_argtypes_"):
        return f"{spelt(kind._restype_)}(*)({','.join(map(spelt, kind._argtypes_))})"
    if hasattr(kind, "_length_"):
        return f"{spelt(kind._type_)}[{kind._length_}]"
    return spelt(kind._type_) + "*" if hasattr(kind, "contents") else kind.__name__


def types():
    text, ours = TYPES + "int main() {\n", []
    for name, kind in structs.items():  # as many fields as there are, or it does not compile
        text += f"    {{ [[maybe_unused]] auto [f{', f'.join(field for field, _ in kind._fields_)}] = {name}(); }}\n"
        for field, field_type in kind._fields_:
            text += f'    show<decltype({name}::{field})>("{name}.{field}");\n'
            ours.append(f"{name}.{field}: {spelt(field_type)}")
    for name, (result, parameters) in rsr._FUNCTIONS.items():
        text += f'    show<decltype(&{name})>("{name}");\n'
        ours.append(f"{name}: {spelt(result)}(*)({','.join(map(spelt, parameters))})")
    enums = re.compile("|".join(re.findall(r"^(\w+) = c\.c_uint$", pathlib.Path(work, "rsr.py").read_text(), re.M)))

    def without_words(line):
        what, pretty = line.split(": ", 1)
        pretty = re.search(r"\bT = (.*)\]", pretty)[1].replace("long unsigned int", "unsigned long").replace("long int", "long")
        pretty = enums.sub("unsigned int", re.sub(r"\bconst\b", "", pretty))
        return f"{what}: {pretty}".replace(" ", "").replace(":", ": ")

    compare(ours, [without_words(line) for line in printed("types.cc", ["-std=c++17", "-x", "c++"], text)])


layouts()
types()
symbols = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
compare(sorted(rsr._FUNCTIONS), sorted(re.findall(r" T (rsr_\w+)", symbols)))
