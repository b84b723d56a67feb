"""usage: peers_report.py RESULTS: prints Markdown tables of the results of peers.sh.

RESULTS has one JSON object a line: engine, layers, prompt, batch, threads, repeat, and result. The result is the
output of rsr-bench or, for another engine, prefill_tps, decode_tps and file_bytes. A ratio compares two runs of one
repeat.
"""
import json
import statistics
import sys

from peers_gguf import kv_bytes

GEN_TOKENS = 32
LAYERS = 30


def spread(values, digits):
    """Least, median, most."""
    return " / ".join(f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))


def token_bytes(row):
    """Bytes that decoding reads: all weights once for each step, and the keys and values of each
    sequence."""
    result = row["result"]
    if row["engine"] == "ours":
        return result["bytes_per_token"]
    return result["file_bytes"] / row["batch"] + kv_bytes(row["layers"], row["prompt"] + GEN_TOKENS // 2)


def table(rows, key, title):
    ours = {(row["prompt"], row["batch"], row["threads"], row["repeat"]): row for row in rows if row["engine"] == "ours"}
    print(f"\n{title}: least / median / most of the turns\n")
    print("| prompt | sequences | threads | engine | tokens/s | ours to it | GB a token | GB/s of memory | runs |")
    print("|---|---|---|---|---|---|---|---|---|")
    cells = {}
    for row in rows:
        cells.setdefault((row["prompt"], row["batch"], row["threads"], row["engine"]), []).append(row)
    for (prompt, batch, threads, engine), runs in cells.items():
        speeds = [run["result"][key] for run in runs]
        pairs = [(ours.get((prompt, batch, threads, run["repeat"])), run) for run in runs]
        ratios = [mine["result"][key] / run["result"][key] for mine, run in pairs if mine is not None]
        against = spread(ratios, 2) if engine != "ours" and ratios else ""
        read = f"{statistics.median(map(token_bytes, runs)) / 1e9:.3f}" if key == "decode_tps" else ""
        memory = spread([run["result"]["dram_gbps"] for run in runs], 1) if engine == "ours" else ""
        print(f"| {prompt} | {batch} | {threads} | {engine} | {spread(speeds, 1)} | {against} | {read} | {memory} "
              f"| {len(runs)} |")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        results = [json.loads(line) for line in file]
    for layers in sorted({row["layers"] for row in results}):
        rows = [row for row in results if row["layers"] == layers]
        fewer = "" if layers == LAYERS else f", {layers} of {LAYERS} layers: a quick look, not the model"
        kv_types = ", ".join(sorted({row["result"]["kv_type"] for row in rows if row["engine"] == "ours"}))
        print(f"\nbitnet-2b-4t's shape{fewer}; keys and values of ours in {kv_types}, of others in f16")
        table([row for row in rows if row["batch"] == 1], "prefill_tps", "Prompts")
        table(rows, "decode_tps", "Decoding")


main()
