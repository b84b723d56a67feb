"""Compares the objects of a module's tables that two back ends made, byte by byte and address by address:
compare_tables.py A.o B.o. A table is what its symbol covers; an address in it is another table, a text, or a
symbol of another object, each with an offset. Where the tables lie in an object does not matter."""
import struct
import sys

ABSOLUTE = {62: 1, 183: 257}  # R_X86_64_64, R_AARCH64_ABS64
OBJECT, UNDEFINED, STRINGS = 1, 0, 0x20


class Object:
    def __init__(self, path):
        self.data = open(path, "rb").read()
        self.machine, = struct.unpack_from("<H", self.data, 18)
        shoff, = struct.unpack_from("<Q", self.data, 40)
        n, = struct.unpack_from("<H", self.data, 60)
        self.sections = [struct.unpack_from("<IIQQQQIIQQ", self.data, shoff + 64 * i) for i in range(n)]
        self.symbols = []
        for section in self.sections:
            if section[1] == 2:  # SHT_SYMTAB
                names = self.sections[section[6]][4]
                for at in range(section[4], section[4] + section[5], 24):
                    name, info, other, index, value, size = struct.unpack_from("<IBBHQQ", self.data, at)
                    self.symbols.append((self.text(names + name), info, other, index, value, size))

    def text(self, at):
        return self.data[at:self.data.index(b"\0", at)].decode("latin-1")

    def addresses(self, index):
        """{offset in the section: (symbol, addend)}"""
        found = {}
        for section in self.sections:
            if section[1] == 4 and section[7] == index:  # SHT_RELA
                for at in range(section[4], section[4] + section[5], 24):
                    offset, info, addend = struct.unpack_from("<QQq", self.data, at)
                    assert info & 0xffffffff == ABSOLUTE[self.machine], "an address of another kind"
                    found[offset] = self.symbols[info >> 32], addend
        return found

    def resolve(self, symbol, addend):
        name, _, other, index, value, _ = symbol
        if index == UNDEFINED:
            return "symbol", name, addend
        section, at = self.sections[index], value + addend
        for other_name, info, _, other_index, begin, size in self.symbols:
            if other_index == index and info & 15 == OBJECT and begin <= at < begin + size and size != 0 and \
                    not other_name.startswith(".L"):
                return "table", other_name, at - begin
        assert section[2] & STRINGS, f"{name}: neither a table nor a text"
        return "text", self.text(section[4] + at)

    def tables(self):
        result = {}
        for name, info, _, index, value, size in self.symbols:
            if info & 15 != OBJECT or index == UNDEFINED or name.startswith(".L"):
                continue
            section = self.sections[index]
            found = {offset - value: self.resolve(*address) for offset, address in self.addresses(index).items()
                     if value <= offset < value + size}
            begin = section[4] + value
            contents = bytes(size) if section[1] == 8 else self.data[begin:begin + size]
            result[name] = section[9], section[1] == 8 or section[2] & 1, contents, found
        return result

    def functions(self):
        return sorted(s[0] for s in self.symbols if s[1] & 15 == 2 and s[3] != UNDEFINED)


a, b = (Object(path) for path in sys.argv[1:3])
assert a.functions() == b.functions() != [], (a.functions(), b.functions())
x, y = a.tables(), b.tables()
assert x.keys() == y.keys(), x.keys() ^ y.keys()
for name in x:
    assert x[name][1] == y[name][1], f"{name}: written at run time in one alone"
    assert x[name][2] == y[name][2], f"{name}: other bytes"
    assert x[name][3] == y[name][3], f"{name}: other addresses"
n_addresses = sum(len(table[3]) for table in x.values())
n_bytes = sum(len(table[2]) for table in x.values())
print(f"{len(x)} tables, {n_bytes} bytes, {n_addresses} addresses, {len(a.functions())} functions")
