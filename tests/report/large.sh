#!/bin/sh
# Checks that the report of a model of 8 billion weights has at most 3 MB, and is usable within
# a second.
set -eu

case ${1:-} in
'' | --help | -h)
    echo "usage: tests/report/large.sh DIR"
    echo
    echo "Writes a synthetic checkpoint of the shape of llama3-8b (4 GB) in DIR, its report, and opens that in Chromium."
    exit 0 ;;
esac
cd "$(dirname "$0")/../.."
dir=$1
mkdir -p "$dir"
if ! command -v chromedriver >/dev/null || ! command -v chromium >/dev/null; then
    echo "SKIPPED: the report of a large model; there is no chromium with its chromedriver"
    exit 0
fi
rsr-mkmodel --preset llama3-8b -o "$dir/llama3-8b"
rsrc "$dir/llama3-8b" --target=avx512 --emit=plan -o "$dir/plan" --report=html:"$dir/report.html"
rm -r "$dir/llama3-8b"
python3 tests/report/check_page.py --within=3000000,1000 "$dir/report.html=llama3-8b"
