"""check_errors.py RESULTS: checks output of rsr-bench attention, one JSON object a line: no key is missed,
errors are within the certified ones (up to float32 rounding), and some keys were left out, because otherwise
the test shows nothing."""
import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    results = [json.loads(line) for line in file]
for r in results:
    assert r["misses"] == 0 and r["checked_queries"] >= 64, r
    assert r["max_output_error"] <= r["certified_error"] + 1e-5, r
assert len(results) == 4 and any(r["certified_error"] > 0 for r in results), results
