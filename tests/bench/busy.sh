#!/bin/sh
# Prints a table of a model's speed beside programs that keep CPUs busy.
set -eu

usage() {
    cat <<'TEXT'
usage: tests/bench/busy.sh [--build DIR] [--runs N] [--threads "T ..."] [--busy "K ..."] MODEL.so

Decodes and reads a prompt beside K busy loops, with T threads, and prints a Markdown table: tokens a
second, and their ratio to those beside none. Where K loops have as many of N cores, (N - K) / N of the
quiet speed is what threads can get that never wait for each other. Wants a machine that does nothing else.

  --build DIR    where rsr-bench is built [build/release]
  --runs N       measurements of each, medians are shown [7]
  --threads L    ["1 N", N: CPUs]
  --busy L       ["0 1 N"]; the first is what ratios are to
TEXT
}

build=build/release runs=7 cpus=$(nproc) threads="1 $(nproc)" busy="0 1 $(nproc)"
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) usage; exit 0 ;;
    --build) build=$2; shift ;;
    --runs) runs=$2; shift ;;
    --threads) threads=$2; shift ;;
    --busy) busy=$2; shift ;;
    -*) usage >&2; exit 2 ;;
    *) break ;;
    esac
    shift
done
[ $# = 1 ] || { usage >&2; exit 2; }

loops=
end_loops() {
    # shellcheck disable=SC2086
    [ -z "$loops" ] || kill $loops
    loops=
}
trap end_loops EXIT
trap 'exit 1' INT TERM

echo "$cpus CPUs"
echo "| threads | taken | busy loops | decode, tokens/s | ratio | prompt, tokens/s | ratio |"
echo "|---|---|---|---|---|---|---|"
for t in $threads; do
    quiet=
    for k in $busy; do
        for _ in $(seq "$k"); do
            while :; do :; done &
            loops="$loops $!"
        done
        said=$("$build/bin/rsr-bench" model "$1" --threads "$t" --runs "$runs" --json |
            jq -r '"\(.decode_tps) \(.prefill_tps) \(.step_threads)"')
        end_loops
        quiet=${quiet:-$said}
        echo "$t $k $said $quiet" |
            awk '{ printf "| %d | %d | %d | %.1f | %.2f | %.1f | %.2f |\n", $1, $5, $2, $3, $3 / $6, $4, $4 / $7 }'
    done
done
