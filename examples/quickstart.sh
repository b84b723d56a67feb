#!/bin/sh
# Installs what is missing, builds rsrc, compiles the bundled model for this machine and lets it
# speak.
set -eu

usage() {
    cat <<'TEXT'
usage: examples/quickstart.sh [--no-install] [--prompt TEXT] [--serve [--port N]] [--help]

Installs the needed Debian packages (root or sudo), builds rsrc into build/release, compiles the
bundled model (examples/model/kjv) to build/kjv.so and generates text with it. Run again, it takes
seconds.

  --no-install   do not install packages
  --prompt TEXT  what the model continues [In the beginning]
  --serve        in the end serve the model on this machine, until Ctrl-C
  --port N       where [8080]
TEXT
}

install=yes prompt="In the beginning" serve=no port=8080
while [ $# -gt 0 ]; do
    case $1 in
    --no-install) install=no ;;
    --prompt)
        [ $# -gt 1 ] || { echo "quickstart.sh: --prompt needs a text" >&2; exit 1; }
        prompt=$2; shift ;;
    --serve) serve=yes ;;
    --port)
        [ $# -gt 1 ] || { echo "quickstart.sh: --port needs a number" >&2; exit 1; }
        port=$2; shift ;;
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
[ "$serve" = yes ] || exit 0

[ -x build/release/bin/rsr-serve ] || {
    echo "rsr-serve was not built: it needs libmicrohttpd-dev" >&2
    exit 1
}
cat <<TEXT

Serving it. In a browser: http://127.0.0.1:$port/. Ask it from another terminal:

    curl -N http://127.0.0.1:$port/v1/completions -H 'Content-Type: application/json' \\
        -d '{"model": "kjv", "prompt": "In the beginning", "max_tokens": 50, "stream": true}'

or in Python (pip install openai):

    from openai import OpenAI
    client = OpenAI(base_url="http://127.0.0.1:$port/v1", api_key="none")
    answer = client.completions.create(model="kjv", prompt="In the beginning", max_tokens=50, seed=8)
    print(answer.choices[0].text)

Ctrl-C ends it.
TEXT
exec build/release/bin/rsr-serve --port "$port" --model kjv=build/kjv.so
