#!/bin/sh
# check_info_breaks.sh WORK_DIR - describes every broken checkpoint that rsr-mkmodel knows.
#
# Each must end with exit status 1, the diagnostic that the table promises, and one JSON object that
# says that it would not compile.
set -u
work=$1
rm -rf "$work"
mkdir -p "$work"
rsr-mkmodel --list-breaks > "$work/list" || exit 1
failed=0
while read -r kind slug; do
    rsr-mkmodel --preset tiny --break "$kind" -o "$work/$kind" || exit 1
    rsrc --info=json --target generic "$work/$kind" > "$work/out" 2> "$work/err"
    status=$?
    problem=
    [ "$status" -eq 1 ] || problem="exit status $status"
    grep -q "error: .*\[$slug\]\$" "$work/err" || problem="$problem, no [$slug]"
    errors=$(grep -c 'error: ' "$work/err")
    jq -e --slurp --argjson errors "$errors" \
        'length == 1 and .[0].compiles == false and .[0].errors == $errors and .[0].targets == []' "$work/out" \
        > /dev/null || problem="$problem, not what JSON says"
    if [ -n "$problem" ]; then
        echo "$kind: $problem"
        cat "$work/err"
        failed=1
    fi
done < "$work/list"
echo "$(grep -c . "$work/list") kinds"
exit $failed
