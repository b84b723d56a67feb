"""Compares what a run counted with what a calibration measured: check_counted.py REPORT PROFILE. The report has the
counts of rsr-bench (--measured); it decoded other tokens than the calibration."""
import json
import sys

report, profile = (json.load(open(path)) for path in sys.argv[1:])
counted = {row["op"]: 1e6 * row["mbytes"] for row in report["measured"]["profile"]}
for role in ("up", "down"):
    plans = [layer["decode"] for layer in report["targets"][0]["layers"] if layer["role"] == role]
    shares = [row["active"] / row["channels"] for row in profile["layers"] if row["role"] == role]
    listed = sum(plan["weight_bytes"] * share for plan, share in zip(plans, shares))
    predicted = sum(plan["token_bytes"] for plan in plans)
    if abs(counted[role] / listed - 1) > 0.1 or not listed < predicted < 2 * listed:
        sys.exit(f"{role}: counted {counted[role]:.0f} bytes, by the profile {listed:.0f}, predicted {predicted:.0f}")
