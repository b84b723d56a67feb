#!/bin/sh
# Acts as rsr-bench model and as llama-batched-bench, but measures nothing. Each call with one model, prompt and batch
# reports 10 tokens/s more for prompts and 1 more for decoding than the call before it. $FAKE_STATE keeps the counts,
# and the process of a model named slow, which never ends.
set -eu
model=$2 prompt='' batch='' first_prompt=100 first_decode=20
echo "$*" >> "$FAKE_STATE/calls"
[ "$1" != model ] || first_prompt=200 first_decode=60
shift 2
while [ $# -gt 0 ]; do
    case $1 in
    -npp | --prompt-tokens) prompt=$2 ;;
    -npl | --batch) batch=$2 ;;
    esac
    shift
done
case $model in
*i2_s*) echo "cannot load $model" >&2; exit 1 ;;
*slow*) echo $$ > "$FAKE_STATE/pid"; exec sleep 600 ;;
esac
count=$FAKE_STATE/$(basename "$model")-$prompt-$batch
turn=$(cat "$count" 2> /dev/null || echo 0)
echo $((turn + 1)) > "$count"
prefill=$((first_prompt + 10 * turn)) decode=$((first_decode + turn))
if [ "$first_prompt" = 200 ]; then
    echo '{"prefill_tps": '$prefill', "decode_tps": '$decode', "bytes_per_token": 6e8,' \
        '"dram_gbps": '$((30 + turn))', "kv_type": "bf16"}'
else
    echo "|    PP |     TG |    B |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |      T s |    S t/s |"
    echo "|-------|--------|------|--------|----------|----------|----------|----------|----------|----------|"
    echo "| $prompt | 32 | $batch | 160 | 1.000 | $prefill.00 | 1.000 | $decode.00 | 2.000 | 80.00 |"
fi
