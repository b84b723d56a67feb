#!/bin/sh
# usage: tests/refusals.sh [LIT-OPTION...]
#
# Builds the preset coverage (gcc), runs its tests, and names every refusal of the compiler, with its line,
# that they do not reach. Options such as --filter=hostile go to lit. Takes as long as the tests.
set -eu
. "$(dirname "$0")/help.sh"
cd "$(dirname "$0")/.."
. examples/setup.sh
find_lit
cmake --preset coverage -DCMAKE_C_COMPILER=gcc >build/coverage.log &&
    cmake --build --preset coverage >>build/coverage.log || { tail -n 30 build/coverage.log; exit 1; }
find build/coverage -name '*.gcda' -delete
# Failures are check.sh's business: this run only counts.
python3 "$LIT" -j "$(nproc)" -q "$@" build/coverage/tests >build/coverage.log || tail -n 20 build/coverage.log
python3 tests/refusals.py . build/coverage
