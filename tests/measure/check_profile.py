"""usage: check_profile.py FILE: the rows of the profile add up to the step and to its floor."""
import json
import sys

told = json.load(open(sys.argv[1]))
rows = {row["op"]: row for row in told["profile"]}
step = rows.pop("(all)")


def total(key):
    return sum(row[key] for row in rows.values())


def close(a, b):
    return abs(a - b) <= 1e-6 * abs(b)


assert rows.keys() >= {"q", "k", "v", "o", "gate", "up", "down", "embed", "norm", "rope_append", "attention", "head",
                       "(between)"}, rows.keys()
assert close(total("us"), step["us"]) and close(total("share"), 1)
assert close(total("wait_us"), step["wait_us"]) and 0 < step["wait_us"] < step["us"]
assert close(total("mbytes"), step["mbytes"]) and close(step["mbytes"] * 1e6, told["floor_bytes"])
assert close(told["bytes_per_token"] * told["batch"], told["floor_bytes"])
assert close(told["floor_tps"] * told["bytes_per_token"] / 1e9, told["dram_gbps"])
assert close(told["decode_tps"] / told["floor_tps"], told["roofline_ratio"])
for name in ("add", "quant", "rope_table"):
    assert rows[name]["mbytes"] == 0, name
for name in ("q", "attention", "head", "embed"):
    assert close(rows[name]["floor_share"], rows[name]["gbps"] / told["dram_gbps"]), name
    assert rows[name]["mbytes"] > 0, name
