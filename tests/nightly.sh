#!/bin/sh
# usage: tests/nightly.sh [--no-install]
#
# Runs tests/check.sh --long, tests/packages.sh and tests/wheels.sh with the given option, then long forms of
# tests that check.sh runs in short forms, in check.sh's builds. Takes some hours. Continues after a failure, and
# lists all failures at the end. The long form of a test is a line below.
set -u
. "$(dirname "$0")/help.sh"
cd "$(dirname "$0")/.."
export PATH="$PWD/build/release/bin:$PATH"
work=$PWD/build/nightly
failed=
# run COMMAND...: continues if the command fails, and records the failure.
run() {
    echo "== $*"
    "$@" || failed="$failed
  $*"
}

run tests/check.sh --long "$@"
run tests/packages.sh "$@"
run tests/wheels.sh "$@"
run python3 tests/container.py "$work/container"
run tests/threads/run.sh --races 100
run python3 tests/faults/failing_calls.py "$work/calls"
run python3 tests/faults/killed.py "$work/killed" 500 --seed "$(date +%s)" --swept
run tests/faults/uninitialised.sh --long "$work/uninitialised"
run tests/faults/kernels_of_c.sh
run python3 tests/hostile/damage.py "$work/damage" 500 --first 24
run tests/fuzz/run.sh -b build/asan 600
run tests/fuzz/run.sh -b build/asan 3600 whole_folder whole_file
run python3 tests/fuzz/fuzz_serve.py build/asan/bin/rsr-serve build/asan/fuzz_serve.so 3600
run tests/report/large.sh "$work/report"
run tests/refusals.sh
for cuda in none build/cuda/lib/python3*/site-packages/nvidia/cu13; do
    [ "$cuda" = none ] || [ -e "$cuda" ] || { echo "SKIPPED: NVRTC's PTX in the interpreter: no build/cuda"; continue; }
    run tests/cuda/ptx_models.sh build/release "$cuda" "$work/ptx" . examples/model/kjv \
        $(dirname tests/golden/*/config.json)
    run tests/cuda/engine_models.sh "$PWD/build/release" "$cuda" "$work/engine" long examples/model/kjv \
        $(dirname tests/golden/*/config.json)
    for variant in fold segment; do
        run tests/cuda/ptx_models.sh --variant=$variant build/release "$cuda" "$work/ptx_$variant" 'layers.0.' \
            examples/model/kjv $(dirname tests/golden/*/config.json)
    done
    mkdir -p "$work/ptx/odd"
    run build/release/tests/cuda/write_gpu_kernels specs/sm_90.yaml "$cuda" "$work/ptx/odd" --odd-only
    run build/release/tests/cuda/ptx_mutants "$work/ptx/odd" 4 7 8 12 13 q10 q12
done
rsrc examples/model/kjv --target=generic -o "$work/kjv.so"
run build/jsonschema/bin/python3 tests/constrain/outputs.py rsr-run "$work/kjv.so" 1000
[ -e build/lm_eval/complete ] || { python3 -m venv build/lm_eval &&
    build/lm_eval/bin/pip install -q 'lm-eval[api]==0.4.13' && touch build/lm_eval/complete; }
rsrc examples/model/kjv -o "$work/kjv.so"
export PYTHONPATH="$PWD/build/release/share/rsrc/python"
run build/lm_eval/bin/python3 tests/serve/lm_eval_client.py "$work/kjv.so" examples/model/heldout.txt "$work/lm_eval"
run build/lm_eval/bin/python3 tests/python/use_lm_eval.py "$work/kjv.so" examples/model/heldout.txt "$work/lm_eval" long
run rsr-mkmodel --preset tiny -o "$work/tiny"
run rsrc "$work/tiny" --target=generic -o "$work/tiny.so"
run build/numpy/bin/python3 tests/python/use_model.py "$work/kjv.so" "$work/tiny.so" "$work" 10000
run build/numpy/bin/python3 tests/python/use_matrix.py "$work" 1000
run build/numpy/bin/python3 tests/python/speed.py "$work/kjv.so"
[ -e build/mypy/complete ] || { python3 -m venv build/mypy && build/mypy/bin/pip install -q 'mypy>=1.8,<3' 'numpy>=2,<3' &&
    touch build/mypy/complete; }
run env -u PYTHONPATH MYPYPATH="$PYTHONPATH" build/mypy/bin/mypy --strict --follow-imports=silent tests/python/typed_user.py
run env -u PYTHONPATH MYPYPATH="$PYTHONPATH" build/mypy/bin/mypy -m rsrc
# The KV index beside other indices, and its rules' worst queries; long generations through it.
[ -e build/faiss/complete ] || { python3 -m venv build/faiss && build/faiss/bin/pip install -q 'faiss-cpu==1.12.0' numpy &&
    touch build/faiss/complete; }
run build/faiss/bin/python3 tests/bench/louver_workloads.py build/release
run python3 tests/bench/louver_generation.py build/release/bin/rsr-run "$work/kjv.so" examples/model/heldout.txt
# By predictions and measurements of one run; as root, Open MPI wants to be told.
if [ -x build/release/bin/rsr-mpi ] && command -v mpirun >/dev/null; then
    OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 run python3 tests/mpi/plan.py "$work/kjv.so" --check mpirun
else
    echo "SKIPPED: predictions of rsr-mpi: it was not built"
fi
# Debian's other MPI, in a build of its own.
if command -v mpicc.mpich >/dev/null; then
    cmake --preset release -B build/mpich -DMPI_C_COMPILER=mpicc.mpich >build/mpich.log &&
        cmake --build build/mpich >>build/mpich.log || failed="$failed
  the build with MPICH"
    . examples/setup.sh
    find_lit
    run python3 "$LIT" -sv build/mpich/tests --filter mpi/ --param mpirun=mpirun.mpich
else
    echo "SKIPPED: rsr-mpi with MPICH: apt-get install mpich libmpich-dev"
fi
# Replicas of rsr-serve: behind HAProxy, on Ray Serve, and the manifest by Kubernetes' schemas.
mkdir -p "$work/haproxy"
if command -v haproxy >/dev/null; then
    run python3 tests/deploy/haproxy.py examples/deploy/haproxy.cfg "$work/kjv.so" "$work/haproxy"
else
    echo "SKIPPED: replicas behind HAProxy: apt-get install haproxy"
fi
[ -e build/deploy/complete ] || { python3 -m venv build/deploy &&
    build/deploy/bin/pip install -q 'ray[serve]==2.60.0' httpx kubernetes-validate==1.37.0 && touch build/deploy/complete; }
run build/deploy/bin/python3 tests/deploy/ray_load.py "$PWD/examples/deploy" "$work/kjv.so"
run build/deploy/bin/kubernetes-validate --strict examples/deploy/kubernetes.yaml
[ -z "$failed" ] || { echo "nightly.sh: FAILED:$failed"; exit 1; }
echo "nightly.sh: all passed"
