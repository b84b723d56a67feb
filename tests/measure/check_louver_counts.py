"""usage: check_louver_counts.py SOURCE: the figures of tests/bench/louver_counts.csv are what rsr-bench counts, RESULTS.md has
them as a table, README.md the short form, and its picture is drawn from them.

Rows of 4,096 keys are counted again. If the index changes, tests/bench/RESULTS.md says how to count anew.
"""
import json
import pathlib
import subprocess
import sys

source = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(source / "tests/bench"))
import louver_picture  # noqa: E402
import louver_sweep  # noqa: E402

COUNTED_AGAIN = (("mass:0.1", "sigma:3.5", "4096", "bf16"), ("mass:0.1", "sigma:5", "4096", "int8"))
SHORT = ("1", "2.25", "3", "3.5", "5")  # README's sigmas

counts = source / "tests/bench/louver_counts.csv"
rows = louver_sweep.load(counts)
by_setting = {tuple(row[name] for name in louver_sweep.SETTING): row for row in rows}
errors = []

for setting in COUNTED_AGAIN:
    threshold, data, context, kv_type = setting
    run = subprocess.run(["rsr-bench", "attention", "--threshold", threshold, "--data", data, "--context", context, "--kv-type",
                          kv_type, "--heads", "8", "--kv-heads", "2", "--quick", "--runs", "8", "--json"], check=True,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    now = louver_sweep.row_of(json.loads(run.stdout))
    if {name: now[name] for name in louver_sweep.COLUMNS} != by_setting[setting]:
        errors.append(f"louver_counts.csv: {by_setting[setting]}; rsr-bench counts {now}")

printed = subprocess.run([sys.executable, source / "tests/bench/louver_sweep.py", counts], check=True, capture_output=True,
                         text=True).stdout
results = (source / "tests/bench/RESULTS.md").read_text()
errors += [f"RESULTS.md: no line '{line}'" for line in printed.splitlines() if line.startswith("|") and line not in results]

readme = (source / "README.md").read_text()
for sigma in SHORT:
    rules = [by_setting[rule, f"sigma:{sigma}", "16384", "bf16"] for rule in ("mass:1e-2", "mass:0.1", "error:0.1")]
    cells = [louver_sweep.percent(row["keys_read"]) for row in rules]
    cells += [louver_sweep.percent(rules[1]["oracle"]), f"{float(rules[1]['bytes']):.2f}"]
    line = f"| {sigma} | " + " | ".join(cells) + " |"
    if line not in readme:
        errors.append(f"README.md: no line that begins '{line}'")

if (source / "examples/louver.svg").read_text() != louver_picture.draw(rows):
    errors.append("examples/louver.svg: is not what louver_picture.py draws")
sys.exit("\n".join(errors) if errors else 0)
