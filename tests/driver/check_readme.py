"""Compares compiler/README.md with the tree: files, folders and options that it names exist, the
picture has the passes in their order, and every folder of the compiler is named."""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
compiler = root / "compiler"
text = (compiler / "README.md").read_text()
errors = []

# `path/` or `file.ext` in backquotes; <name> stands for whatever comes next. The build's own files
# are not there.
GENERATED = {"model.so", "config.json"}
n_paths = 0
for name in re.findall(r"`([\w./-]+/|[\w./-]+\.(?:[ch]|cuh|def|py|sh|md|yaml|test|txt))`", text):
    if name in GENERATED:
        continue
    n_paths += 1
    if not any((base / name).exists() for base in (compiler, root)):
        errors.append(f"{name}: no such file")

options = set(re.findall(r'^RSRC_OPTION\(\w+, "(-[^"]+)"', (compiler / "options.def").read_text(), re.M))
for name in re.findall(r"`(?:rsrc )?(--?[a-zA-Z][\w-]*)", text):
    if name not in options:
        errors.append(f"{name}: no such option")

# RSRC_PASS(READ, "read", ...) and, in the table of a road, {PASS_READ, WEIGHTS, .run_layer = ...}; in the picture
# "─ read ─>", or at the beginning of a layer's line.
passes = dict(re.findall(r'^RSRC_PASS\((\w+), "(\w+)"', (compiler / "driver/passes.def").read_text(), re.M))
picture = text[:text.index("`ir.h`")]
drawn = re.findall(r"(?:─ |│ |  )(\w+)(?: ─>|    +\w)", picture)
rows = re.findall(r"\{PASS_(\w+), (?:WEIGHTS|CPU|RSRC_WAY_CPU),\s+\.run_layer", (compiler / "driver/road.c").read_text())
layer_passes = [passes[row] for row in rows]
if [name for name in drawn if name in layer_passes] != layer_passes:
    errors.append(f"the picture has the layer passes {drawn}, driver/road.c {layer_passes}")
if sorted(drawn) != sorted(passes.values()):
    errors.append(f"the picture has the passes {sorted(drawn)}, driver/passes.def {sorted(passes.values())}")

for folder in sorted(path for path in compiler.iterdir() if path.is_dir() and path.name != "include"):
    if f"| `{folder.name}/` |" not in text:
        errors.append(f"{folder.name}/: not in the table of folders")
for folder in sorted(path for path in (compiler / "emit").iterdir() if path.is_dir()):
    if f"| `emit/{folder.name}/` |" not in text:
        errors.append(f"emit/{folder.name}/: not in the table of back ends")
variants = re.findall(r'X\(\w+, "(\w+)"\)', re.search(r"#define RSR_VARIANTS\(X\)(?:.*\\\n)*.*", (compiler / "ir.h").read_text())[0])
for name in variants:
    if f"| `{name}` |" not in text:
        errors.append(f"{name}: not in the table of variants")
if n_paths < 50 or len(passes) < 10 or len(layer_passes) < 5 or len(variants) < 6:
    errors.append("too little seen: is this the source tree?")
sys.exit("\n".join(errors) if errors else 0)
