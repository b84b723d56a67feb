# lit configuration: unit tests (programs) and the *.test files of every stage.
#
# Features that tests may require: avx2, avx512vnni (what this machine can execute), aarch64-gcc
# (the cross compiler is there), qemu-aarch64 (the runtime was cross-built, and --param aarch64=DIR
# says where), qemu-x86_64 (on x86-64, for CPUs that this machine is not), strace (which may trace), valgrind, clang-format, static-libc,
# asan, serve (rsr-serve was built), model (the bundled checkpoint is there), disk-8g, own-mounts (a test may mount
# something over /sys/fs/cgroup, for itself), nvrtc and ptxas (of a CUDA installation:
# --param cuda=DIR, $CUDA_PATH or /usr/local/cuda), clang (one that makes PTX, as rsrc finds it), gpu (one that specs/ describes),
# cuda-on-host, gguf-library (--param gguf_python=PYTHON), jsonschema (--param schema_python=PYTHON),
# mpi (rsr-mpi was built, and --param mpirun=PROGRAM, else mpirun, is there), openai (--param
# openai_python=PYTHON), numpy (--param numpy_python=PYTHON), lm-eval (--param lm_eval_python=PYTHON), curl. A test
# skipped for a missing feature is listed at the end of a run by check.sh.
import glob
import os
import platform
import re
import shutil
import subprocess

import lit.formats
import lit.TestingConfig

config.name = "rsrc"
config.test_source_root = os.path.join(config.source_dir, "tests")
config.test_exec_root = os.path.join(config.build_dir, "tests", "lit")
config.suffixes = [".test"]
config.excludes = ["fuzz", "bench", "CMakeLists.txt"]
# If a program died, FileCheck only says that its input is empty. So a failed test ends with the
# exit statuses of all programs of its last pipeline.
config.test_format = lit.formats.ShTest(
    execute_external=True,
    preamble_commands=["trap 'echo \"exit statuses: ${PIPESTATUS[*]}\" >&2' EXIT"])

tools = [os.path.join(config.build_dir, "bin"), config.llvm_tools_dir]
config.environment["PATH"] = os.pathsep.join(tools + [os.environ.get("PATH", "")])
# Tests do not depend on the caller's environment.
for name in ("RSRC_CC", "RSRC_LD", "RSRC_TEST_LONG", "RSRC_CUDA_CC", "NO_COLOR", "CUDA_HOME"):
    config.environment.pop(name, None)
# Unit tests, and programs of other tests, run in their long forms (tests/check.sh --long).
if lit_config.params.get("long"):
    config.environment["RSRC_TEST_LONG"] = "1"
# Tests share CPUs: a thread that waits for OpenMP's next region yields its CPU to another test.
config.environment["OMP_WAIT_POLICY"] = "passive"

config.substitutions.append(("%source", config.source_dir))
config.substitutions.append(("%model", os.path.join(config.source_dir, "examples", "model", "kjv")))
config.substitutions.append(("%build", config.build_dir))
config.substitutions.append(("%unit", os.path.join(config.build_dir, "tests", "unit")))
config.substitutions.append(("%cc", config.c_compiler))
config.substitutions.append(("%triple", config.triple))

flags = set()
if os.path.exists("/proc/cpuinfo"):
    with open("/proc/cpuinfo") as cpuinfo:
        for line in cpuinfo:
            if line.startswith("flags"):
                flags = set(line.split(":", 1)[1].split())
                break
if {"avx2", "fma", "f16c", "bmi1", "bmi2"} <= flags:
    config.available_features.add("avx2")
if {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"} <= flags:
    config.available_features.add("avx512vnni")
if {"avx512_vnni", "avx512_vbmi", "gfni"} <= flags:
    config.available_features.add("avx512")
config.available_features.add(platform.machine())
# A CPU feature that this machine lacks, as specs spell it: modules that need it must refuse to run.
lacking = [spec for spec, flag in (("amx-int8", "amx_int8"), ("avxvnni", "avx_vnni"),
                                   ("gfni", "gfni"), ("avx512f", "avx512f"))
           if flag not in flags]
if lacking:
    config.available_features.add("lacks-a-feature")
    config.substitutions.append(("%lacking", lacking[0]))
if shutil.which("aarch64-linux-gnu-gcc"):
    config.available_features.add("aarch64-gcc")
if platform.machine() == "x86_64" and shutil.which("qemu-x86_64"):
    config.available_features.add("qemu-x86_64")
aarch64 = lit_config.params.get("aarch64")
if aarch64:
    config.available_features.add("qemu-aarch64")
    # Programs of the AArch64 build, under the emulator: %aarch64/bin/rsr-run ...
    config.substitutions.append(("%aarch64", "qemu-aarch64 -L /usr/aarch64-linux-gnu " + aarch64))
if shutil.which("strace") and subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode == 0:
    config.available_features.add("strace")
if all(os.path.isabs(subprocess.run([config.c_compiler, "-print-file-name=" + name], capture_output=True,
                                    text=True).stdout.strip()) for name in ("libc.a", "libm.a")):
    config.available_features.add("static-libc")
if shutil.which("clang-format-14"):
    config.available_features.add("clang-format")
if shutil.which("valgrind"):
    config.available_features.add("valgrind")
if shutil.which("chromedriver") and shutil.which("chromium"):
    config.available_features.add("chromium")
if shutil.which("unshare") and subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/sys/fs/cgroup"], capture_output=True).returncode == 0:
    config.available_features.add("own-mounts")
if config.sanitize:
    config.available_features.add("asan")
    # Modules run inside sanitised programs; leaks are looked for by the unit tests.
    config.environment["ASAN_OPTIONS"] = "detect_leaks=0:abort_on_error=0"
    config.environment["UBSAN_OPTIONS"] = "print_stacktrace=1:halt_on_error=1"
if os.path.exists(os.path.join(config.build_dir, "bin", "rsr-serve")):
    config.available_features.add("serve")
# Ranks on this machine, more than it has CPUs, also of root.
mpirun = shutil.which(lit_config.params.get("mpirun", "mpirun"))
if mpirun and os.path.exists(os.path.join(config.build_dir, "bin", "rsr-mpi")):
    config.available_features.add("mpi")
    is_open = "Open MPI" in subprocess.run([mpirun, "--version"], capture_output=True, text=True).stdout
    config.substitutions.append(("%mpirun", "timeout 120 " + mpirun + (" --oversubscribe" if is_open else "")))
    config.environment["OMPI_ALLOW_RUN_AS_ROOT"] = config.environment["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
if os.path.exists(os.path.join(config.source_dir, "examples", "model", "kjv", "model.safetensors")):
    config.available_features.add("model")
clang = shutil.which("clang-19") or shutil.which("clang")
if clang and int(subprocess.run([clang, "-dumpversion"], capture_output=True, text=True).stdout.split(".")[0]) >= 19:
    config.available_features.add("clang")
# A CUDA toolkit, or NVIDIA's Python packages; clang's PTX is tested without.
for cuda in (lit_config.params.get("cuda"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"):
    libraries = [os.path.dirname(path) for folder in ("lib64", "lib") if cuda
                 for path in glob.glob(os.path.join(cuda, folder, "libnvrtc.so*"))]
    if libraries:
        # Through the sanitizer's dlopen NVRTC does not find the library beside it.
        if "asan" in config.available_features:
            config.environment["LD_LIBRARY_PATH"] = libraries[0]
        config.available_features.add("nvrtc")
        config.substitutions.append(("%cuda", cuda))
        if os.access(os.path.join(cuda, "bin", "ptxas"), os.X_OK):
            config.available_features.add("ptxas")
        for nvdisasm in (lit_config.params.get("nvdisasm"), os.path.join(cuda, "bin", "nvdisasm"),
                         shutil.which("nvdisasm")):
            if nvdisasm and os.access(nvdisasm, os.X_OK):
                config.available_features.add("nvdisasm")
                config.substitutions.append(("%nvdisasm", nvdisasm))
                break
        break
# A GPU that the driver opens and specs/ describes: %gpu is its description.
runner = os.path.join(config.build_dir, "tests", "cuda", "run_on_gpu")
if os.path.exists(runner):
    config.available_features.add("cuda-on-host")  # built, as there is a C++ compiler
    found = subprocess.run([runner], capture_output=True, text=True)
    name = re.search(r"\bsm_\d+\b", found.stdout) if found.returncode == 0 else None
    spec = os.path.join(config.source_dir, "specs", name.group() + ".yaml") if name else ""
    if os.path.exists(spec):
        config.available_features.add("gpu")
        config.substitutions.append(("%gpu", spec))
# A Python with the gguf package, which writes models for tests of that format.
gguf_python = lit_config.params.get("gguf_python")
if gguf_python:
    config.available_features.add("gguf-library")
    config.substitutions.append(("%gguf_python", gguf_python))
# A Python with jsonschema, which judges constrained texts.
schema_python = lit_config.params.get("schema_python")
if schema_python:
    config.available_features.add("jsonschema")
    config.substitutions.append(("%schema_python", schema_python))
# A Python with openai, jsonschema and prometheus-client: clients of rsr-serve.
openai_python = lit_config.params.get("openai_python")
if openai_python:
    config.available_features.add("openai")
    config.substitutions.append(("%openai_python", openai_python))
# One with numpy and scipy, for the Python package.
numpy_python = lit_config.params.get("numpy_python")
if numpy_python:
    config.available_features.add("numpy")
    config.substitutions.append(("%numpy_python", numpy_python))
# One with lm-eval, for the package's model of it.
lm_eval_python = lit_config.params.get("lm_eval_python")
if lm_eval_python:
    config.available_features.add("lm-eval")
    config.substitutions.append(("%lm_eval_python", lm_eval_python))
if shutil.which("curl"):
    config.available_features.add("curl")
if shutil.disk_usage(config.build_dir).free > 8 << 30:
    config.available_features.add("disk-8g")
