"""usage: louver_sweep.py RESULTS [--times] [--csv FILE]: a Markdown table for each threshold of what the KV index reads, by
the spread of a head's logits (sigma), the context and the KV type.

RESULTS has JSON objects of rsr-bench attention, one a line, or is a CSV file that this program wrote. Counts do not
depend on the machine. --times adds the index's time in dense attention's, in brackets where dense reads less than 80 %
of the bandwidth: bfloat16 and int8 may be bound by arithmetic.
"""
import argparse
import csv
import json

# Columns of the CSV file, and the keys of rsr-bench's JSON.
COLUMNS = {"threshold": "threshold", "data": "data", "context": "context", "kv_type": "kv_type",
           "keys_read": "exact_fraction", "oracle": "oracle_fraction", "second_plane": "plane2_fraction",
           "bytes": "bytes_read_ratio", "true_error": "max_output_error", "certified_error": "certified_error",
           "misses": "misses"}
SETTING = ("threshold", "data", "context", "kv_type")
TYPES = ("bf16", "f16", "f32", "int8")  # first the default of engines


def row_of(result):
    """A row of the table. Three digits are enough to see a change, and do not look exact."""
    row = {column: result[key] for column, key in COLUMNS.items()}
    row = {name: f"{value:.3g}" if isinstance(value, float) else str(value) for name, value in row.items()}
    time = f"{result['louver_us'] / result['dense_us']:.2f}"
    row["time"] = time if result["speedup_counts"] else f"({time})"
    return row


def sigma_of(data):
    """sigma:5,rope -> 5.0, "rope"; gaussian -> 0.0, "gaussian" """
    first, _, forms = data.partition(",")
    return (float(first.removeprefix("sigma:")), forms) if first.startswith("sigma:") else (0.0, data)


def order(row):
    sigma, forms = sigma_of(row["data"])
    return row["threshold"], forms, int(row["context"]), sigma, TYPES.index(row["kv_type"])


def load(path):
    """Rows in the order of the table; the last of each setting in the file counts."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file)) if str(path).endswith(".csv") else [row_of(json.loads(line)) for line in file]
    return sorted({tuple(row[name] for name in SETTING): row for row in rows}.values(), key=order)


def save(rows, path):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def percent(part):
    value = 100 * float(part)
    return f"{value:.0f} %" if value >= 9.95 or value == 0 else f"{value:.1g} %" if value < 1 else f"{value:.1f} %"


def error(text):
    """Errors of rounding to float32 are none."""
    return f"{float(text):.2g}" if float(text) > 1e-5 else "0"


def spoken(data):
    """sigma:5,rope,outliers=4,topics=16 -> sigma 5, RoPE, 4 outliers, 16 topics"""
    parts = []
    for part in data.replace("sigma:", "sigma ").split(","):
        name, equals, number = part.partition("=")
        parts.append(f"{number} {name}" if equals else "RoPE" if part == "rope" else part)
    return ", ".join(parts)


def print_table(rows, timed):
    types = [kv_type for kv_type in TYPES if any(row["kv_type"] == kv_type for row in rows)]
    heads = ["data", "keys", "keys read", "oracle"] + [f"bytes, {kv_type}" for kv_type in types]
    heads += [f"time, {kv_type}" for kv_type in types if timed] + ["true error", "certified"]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for data, context in dict.fromkeys((row["data"], row["context"]) for row in rows):
        of_type = {row["kv_type"]: row for row in rows if (row["data"], row["context"]) == (data, context)}
        first = next(of_type[kv_type] for kv_type in types if kv_type in of_type)
        cells = [spoken(data), f"{int(context):,}", percent(first["keys_read"]), percent(first["oracle"])]
        cells += [f"{float(of_type[kv_type]['bytes']):.2f}" if kv_type in of_type else "" for kv_type in types]
        cells += [of_type[kv_type].get("time", "") if kv_type in of_type else "" for kv_type in types if timed]
        cells += [error(first[name]) for name in ("true_error", "certified_error")]
        print("| " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[2])
    parser.add_argument("results")
    parser.add_argument("--times", action="store_true", help="RESULTS is of rsr-bench without --quick")
    parser.add_argument("--csv", help="writes the counts there")
    args = parser.parse_args()
    rows = load(args.results)
    if not rows:
        parser.error("nothing was measured")
    if any(row["misses"] != "0" for row in rows):
        parser.error("keys were missed: a bug")
    if args.csv:
        save(rows, args.csv)
    for threshold in dict.fromkeys(row["threshold"] for row in rows):
        print(f"\n{threshold}\n")
        print_table([row for row in rows if row["threshold"] == threshold], args.times)


if __name__ == "__main__":
    main()
