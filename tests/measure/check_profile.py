"""usage: check_profile.py FILE: checks that the rows of profiles add up to a step and its floor, and to the
reading of a prompt, which ends before the first token."""
import json
import sys

OPERATIONS = {"q", "k", "v", "o", "gate", "up", "down", "embed", "norm", "rope_append", "attention", "head", "(between)"}
told = json.load(open(sys.argv[1]))


def close(a, b):
    return abs(a - b) <= 1e-6 * abs(b)


def check_sums(key):
    rows = {row["op"]: row for row in told[key]}
    whole = rows.pop("(all)")
    assert rows.keys() >= OPERATIONS, rows.keys()
    for name in ("us", "wait_us", "mbytes"):
        assert close(sum(row[name] for row in rows.values()), whole[name]), (key, name)
    assert close(sum(row["share"] for row in rows.values()), 1), key
    assert 0 < whole["wait_us"] < whole["us"], key
    return rows, whole


rows, step = check_sums("profile")
assert close(step["mbytes"] * 1e6, told["floor_bytes"])
assert close(told["bytes_per_token"] * told["batch"], told["floor_bytes"])
assert close(told["floor_tps"] * told["bytes_per_token"] / 1e9, told["dram_gbps"])
assert close(told["decode_tps"] / told["floor_tps"], told["roofline_ratio"])
for name in ("add", "quant", "rope_table"):
    assert rows[name]["mbytes"] == 0, name
for name in ("q", "attention", "head", "embed"):
    assert close(rows[name]["floor_share"], rows[name]["gbps"] / told["dram_gbps"]), name
    assert rows[name]["mbytes"] > 0, name
prompt_rows, prompt = check_sums("prefill_profile")
assert prompt["mbytes"] > step["mbytes"] / told["batch"]
assert close(told["ttft_ms"] * told["prefill_tps"], told["prompt_tokens"] * 1e3)
assert told["cold_ttft_ms"] > told["load_ms"]
