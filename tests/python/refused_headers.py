"""Checks that make_rsr.py refuses headers that it does not understand, with file and line."""
import subprocess
import sys
import tempfile

HEADERS = [
    "struct s { uint32_t a : 3; };",
    "struct s { union { int a; float b; } u; };",
    "union u { int a; };",
    "struct s { unsigned int a; };",
    "struct s { long a; };",
    "struct s { struct t inner; };",
    "struct s { void nothing; };",
    "struct s { uint32_t a[N]; };",
    "struct s { uint32_t a[2][2]; };",
    "struct s { uint32_t a; } __attribute__((packed));",
    "struct s { uint32_t a;",
    "typedef uint32_t rsr_id;",
    "typedef struct s { int32_t a; } t;",
    "typedef enum e { A } f;",
    "enum e { A = -1 };",
    "enum e { A, B = A };",
    "enum e { A = 010 };",
    "void f(uint32_t a[4]);",
    "void f(int32_t a, ...);",
    "void f(int32_t);;",
    "rsr_unknown f(void);",
    "inline int32_t f(void) { return 1; }",
    "#pragma pack(1)",
    "#if RSR_VERSION > 2\n#endif",
    "#elif 1",
    "#else",
    "#endif",
    "#undef RSR_EXPORT",
    "#define RSR_MAX(a, b) a",
    "#define RSR_SIZED(type) {0}",
    "#define RSR_NAME other",
    "#define RSR_X 1.5f",
    "#define RSR_UNKNOWN_INIT {0}",
    "struct rsr_s { int32_t a; };\n#define RSR_S_INIT {0, 1}",
    "struct rsr_s { int32_t a; };\n#define RSR_S_INIT {.a = 1}",
    "struct rsr_s { int32_t a; };\n#define RSR_S_INIT {unknown}",
    'extern "C" int32_t f(void);',
    "#ifndef RSR_H",
    "/* open",
]
for header in HEADERS:
    with tempfile.NamedTemporaryFile("w", suffix=".h") as file:
        file.write("#include <stdint.h>\n" + header + "\n")
        file.flush()
        result = subprocess.run([sys.argv[1], file.name], capture_output=True, text=True)
    name = file.name.rsplit("/", 1)[1]
    said = result.stderr
    assert result.returncode == 1 and not result.stdout and said.count("\n") == 1, (header, result)
    assert said.startswith(f"make_rsr.py: {name}:") and said.endswith(" is not understood\n"), (header, said)
    assert 2 <= int(said.split(":")[2]) <= 4, (header, said)
