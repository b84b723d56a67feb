"""Checks which files may include which: base <- diag <- ir.h <- kernel <- kernels/* <- stages <- measure <-
driver; a kernel's folder includes no other kernel's folder. A stage includes no other stage and no kernel's
folder. Nothing below the driver includes the driver; a file of the driver includes and calls only files
before it in DRIVER; the runtime includes nothing of the compiler, and its rooms include only what ROOMS
allows; the compiler includes a few headers of the runtime's sources; LLVM headers stay under emit/llvm, but
for the wheel's linker."""
import pathlib
import re
import sys

STAGES = {"reader", "spec", "model", "rsr", "plan", "profile", "schedule", "lower", "emit", "link", "report", "cache"}
# What stages build on, lowest first.
BELOW = ["kernel", "kernels"]
LLVM_USERS = {("compiler", "emit", "llvm"), ("compiler", "tools", "lld")}
# The host CPU's name comes from LLVM, whose headers stay under emit/llvm; so do the names that it knows.
ALLOWED = {("compiler/spec/spec.c", "emit/llvm/host_cpu.h"), ("compiler/spec/spec_document.c", "emit/llvm/llvm_cpus.def")}
# Parts of the runtime that the compiler uses, too (not counting measurements): its code makes the
# sketch of a head, tries the patterns of a tokenizer and a chat template, counts CPUs, and shares out
# a module among ranks.
ALLOWED_OF_RUNTIME = {("compiler/model/head_sketch.c", "sketch/sketch.h"),
                      ("compiler/model/open_rows.c", "sketch/sketch.h"),
                      ("compiler/model/open_rows.c", "sketch/sketch_scan.h"),
                      ("compiler/reader/chat_template.c", "chat/chat_template.h"),
                      ("compiler/reader/tokenizer_text.c", "tokenizer/pretokenize.h"), ("compiler/driver/set_up.c", "host/cpu.h"),
                      ("compiler/driver/shard.c", "sketch/sketch.h"), ("compiler/driver/shard.c", "walk/rank_share.h")}
# The folders of runtime/src, from the bottom up. Each may include those of earlier rows, runtime.h
# (which includes no folder) and the public headers. An engine knows its backend as a table
# (engine/backend.h): walk/ is the host's, cuda/ is that of GPUs.
ROOMS = {
    "host": "",
    "file": "",
    "ops": "host",
    "sketch": "host",
    "kv": "ops sketch",
    "louver": "host ops sketch kv",
    "sample": "ops",
    "chat": "host",
    "constrain": "host chat",
    "tokenizer": "host chat",
    "speculate": "",
    "engine": "host kv sample",
    "walk": "host ops sketch kv louver engine",
    "attention": "host walk",
    "cuda": "host ops sketch kv engine",
    "api": "host ops sketch kv tokenizer sample speculate",
}
# The driver from the bottom to the top: a compilation is a call down this list.
DRIVER = """turns.h turns.c run.h run.c inputs.h outputs.h output_paths.c outputs.c units.h code_cache.c unit_writers.c
    weights.h weights_writer.c gpu_products.h gpu_products.c compilation.h layer.h layer_analysis.c layer_lower.c tuner.c layer_plan.c layer_gpu.c
    layer_emit.c gpu_operations.h gpu_operations.c gpu_units.c packed_weights.c head_blocks.c expand_embedding.c shard.c text_forms.c plan_file.c profile_file.c read_input.c module_steps.c module_note.c matrix_library.c module_link.c compare_module.c describe_input.c write_report.c
    survey.c logit_spreads.h logit_spreads.c calibrate.c dependency_file.c open_outputs.c road.c set_up.c done_line.c compile.c""".split()
# Files outside the driver that may include it: the program, which names passes, and the command
# line, which takes their kinds.
ABOVE_DRIVER = {("compiler/main.c", "driver/run.h"), ("compiler/options.c", "driver/kinds.def")}
FUNCTION = re.compile(r"^(?!static|typedef)[a-z][\w *]*?\b(rsrc_\w+)\([^;{}]*\)\s*\{", re.M)
TABLE = re.compile(r"^const struct \w+ (rsrc_\w+)\[", re.M)


def check_driver(folder):
    """Only later files may use what a file defines."""
    texts = {path.name: re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S) for path in folder.glob("*.[ch]")}
    errors = [f"{folder}/{name}: in the folder or in DRIVER alone" for name in set(texts) ^ set(DRIVER)]
    place = {name: i for i, name in enumerate(DRIVER)}
    home = {symbol: name for name in set(texts) & set(DRIVER) for pattern in (FUNCTION, TABLE)
            for symbol in pattern.findall(texts[name])}
    for name in set(texts) & set(DRIVER):
        for header in re.findall(r'#include "driver/(\w+\.h)"', texts[name]):
            if place.get(header, len(DRIVER)) > place[name]:
                errors.append(f"{name}: includes {header}, which stands above it")
        for symbol in sorted(set(re.findall(r"\brsrc_\w+", texts[name])) if name.endswith(".c") else ()):
            if place[home.get(symbol, name)] > place[name]:
                errors.append(f"{name}: uses {symbol} of {home[symbol]}, which stands above it")
    if len(home) < 90:
        errors.append(f"{len(home)} functions seen in {folder}: is this the driver?")
    return sorted(errors)


root = pathlib.Path(sys.argv[1])
errors = check_driver(root / "compiler/driver")
n_includes = 0


def check_room(relative, include):
    """Checks a file of runtime/src: it is in a room of ROOMS, and includes only what the room may
    include."""
    own = relative.parts[2] if len(relative.parts) > 3 else ""
    other = include.split("/")[0] if (root / "runtime/src" / include).exists() and "/" in include else ""
    if own not in ROOMS and str(relative) != "runtime/src/runtime.h":
        errors.append(f"{relative}: no room of ROOMS")
    elif ".." in include or other and other not in ROOMS.get(own, "").split():
        errors.append(f"{relative} includes {include}, which ROOMS does not let it")


rooms = list(ROOMS)
errors += [f"ROOMS: {room} includes {other}, which is not below it" for room, others in ROOMS.items()
           for other in others.split() if other not in rooms[:rooms.index(room)]]
names = [path.name for path in root.glob("runtime/src/**/*.[ch]")]
errors += [f"runtime/src: two files have the name {name}" for name in set(names) if names.count(name) > 1]
for path in sorted(root.glob("compiler/**/*.[ch]")) + sorted(root.glob("runtime/**/*.[ch]")):
    relative = path.relative_to(root)
    part = relative.parts[1] if len(relative.parts) > 2 else ""
    for include in re.findall(r'^\s*#\s*include\s+[<"]([^">]+)[">]', path.read_text(), re.M):
        n_includes += 1
        first = include.split("/")[0]
        if include.startswith("llvm") and relative.parts[:3] not in LLVM_USERS:
            errors.append(f"{relative}: LLVM header {include}")
        if relative.parts[0] == "runtime":
            if (root / "compiler" / include).exists() and "/" in include or include == "ir.h":
                errors.append(f"{relative}: the runtime includes the compiler's {include}")
            if relative.parts[1] == "src":
                check_room(relative, include)
            continue
        if part != "tools" and (root / "runtime/src" / include).exists() and \
                (str(relative), include) not in ALLOWED_OF_RUNTIME:
            errors.append(f"{relative}: the compiler includes the runtime's {include}")
        if part == "base" and (first in STAGES | set(BELOW) or include == "ir.h"):
            errors.append(f"{relative}: base includes {include}")
        if part in BELOW and (first in STAGES or first in BELOW[BELOW.index(part) + 1:]):
            errors.append(f"{relative}: {part} includes {include}")
        if first == "kernels" and (part in STAGES or part == "kernels" and
                                   include.split("/")[1] != relative.parts[2]):
            errors.append(f"{relative}: a kernel's folder is its own: {include}")
        if first == "driver" and part != "driver" and (str(relative), include) not in ABOVE_DRIVER:
            errors.append(f"{relative}: outside the driver, includes {include}")
        if part in STAGES and first in STAGES | {"measure"} and first != part and \
                (str(relative), include) not in ALLOWED:
            errors.append(f"{relative}: stage {part} includes stage {first}: {include}")
if n_includes < 100:
    errors.append("too few includes seen: is this the source tree?")
sys.exit("\n".join(errors) if errors else 0)
