#!/bin/sh
# usage: shards.sh BUILD FOLDER N CHECKPOINT OPTIONS...
# A module and its N parts: their ranks must have the bits of one process. They stay in the folder.
set -eu
build=$1 folder=$2 n=$3 checkpoint=$4
shift 4
rm -f "$folder"/part-*.so
rsrc "$checkpoint" "$@" -o "$folder/whole.so"
i=0
while [ "$i" -lt "$n" ]; do
    rsrc "$checkpoint" "$@" --shard="$i/$n" -o "$folder/part-$i.so"
    i=$((i + 1))
done
"$build/tests/e2e/rank_bits" "$folder/whole.so" "$n" "$folder/part"
