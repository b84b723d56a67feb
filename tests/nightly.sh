#!/bin/sh
# What takes too long for every change: all tests with their long parts, and the Debian packages.
# Options are theirs:
# --no-install.
set -u

cd "$(dirname "$0")/.."
failed=
# run COMMAND...: goes on where one fails, and remembers it.
run() {
    echo "== $*"
    "$@" || failed="$failed
  $*"
}

run tests/check.sh --long "$@"
run tests/packages.sh "$@"
[ -z "$failed" ] || { echo "nightly.sh: FAILED:$failed"; exit 1; }
echo "nightly.sh: all passed"
