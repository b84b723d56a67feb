#!/bin/sh
# Installs what is missing, builds rsrc, compiles the bundled model for this machine and lets it
# speak.
set -eu

usage() {
    cat <<'TEXT'
usage: examples/quickstart.sh [--no-install] [--prompt TEXT] [--help]

Installs the needed Debian packages (root or sudo), builds rsrc into build/release, compiles the
bundled model (examples/model/kjv) to build/kjv.so and generates text with it. Run again, it takes
seconds.

  --no-install   do not install packages
  --prompt TEXT  what the model continues [In the beginning]
TEXT
}

install=yes prompt="In the beginning"
while [ $# -gt 0 ]; do
    case $1 in
    --no-install) install=no ;;
    --prompt)
        [ $# -gt 1 ] || { echo "quickstart.sh: --prompt needs a text" >&2; exit 1; }
        prompt=$2; shift ;;
    --help | -h) usage; exit 0 ;;
    *) echo "quickstart.sh: unknown option '$1'; --help lists the options" >&2; exit 1 ;;
    esac
    shift
done

cd "$(dirname "$0")/.."
. examples/setup.sh
mkdir -p build
trap '[ $? -eq 0 ] || echo "quickstart.sh: FAILED; build/quickstart.log has the details"' EXIT

[ "$install" = no ] || install_packages build
echo "Building rsrc (build/release)"
{ cmake --preset release && cmake --build --preset release; } >build/quickstart.log 2>&1 || {
    tail -n 30 build/quickstart.log
    exit 1
}
echo "Compiling examples/model/kjv for this machine (build/kjv.so)"
build/release/bin/rsrc examples/model/kjv --target native -o build/kjv.so
echo "Running it"
echo
printf '%s' "$prompt"
build/release/bin/rsr-run build/kjv.so -p "$prompt" -n 90 --temp 0.75 --top-k 40 \
    --repeat-penalty 1.1 --seed 8
echo
echo "Done. Try: build/release/bin/rsr-run build/kjv.so -p \"And God said\""
