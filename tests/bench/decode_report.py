"""usage: decode_report.py RESULTS [PEER ...]: prints Markdown tables of the results of decode.sh.

RESULTS has one JSON object a line: what, label, and the output of rsr-bench. A PEER is a JSON array
of results of other engines: kernels as decode.sh --help describes them, and tests of llama-bench.
Of the latter, tests that generate tokens are shown.
"""
import json
import math
import sys


def weights_of(shape):
    return math.prod(int(n) for n in shape.split("x")[:2])  # a third one counts siblings


def kernels(rows, peers):
    print("| kernel | shape | threads | bits a weight | hot, G weights/s | streamed, G weights/s | GB/s of "
          "| share of the read bandwidth | spread |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        r = row["result"]
        print(f"| {r['variant']}, {row['label']} | {row['shape']} | {r['threads']} "
              f"| {r['bits_per_weight']:.2f} | {weights_of(row['shape']) / r['hot_us'] / 1e3:.1f} "
              f"| {r['weights_per_s_streamed'] / 1e9:.1f} | {r['read_gbps']:.1f} of {r['dram_gbps']:.1f} "
              f"| {r['roofline_ratio']:.2f} | {r['spread']:.2f} |")
    for r in peers:
        weights = weights_of(r["shape"])
        print(f"| {r['kernel']} | {r['shape']} | {r['threads']} | {r['bits_per_weight']:.2f} "
              f"| {weights / r['hot_us'] / 1e3:.1f} | {weights / r['streamed_us'] / 1e3:.1f} "
              f"| {weights * r['bits_per_weight'] / 8e3 / r['streamed_us']:.1f} | | |")


def models(rows, peers):
    print("| model | threads | GB a token | GB/s of memory | floor, tokens/s | decode, tokens/s | share of the floor "
          "| spread | prefill, tokens/s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        r = row["result"]
        # Weights that fit the caches are not read from memory, so they have no floor.
        cached = row["label"].startswith("kjv,")
        floor = "| in the caches | " if cached else f"| {r['dram_gbps']:.1f} | {r['floor_tps']:.1f} "
        share = "" if cached else f"{r['roofline_ratio']:.2f}"
        print(f"| {row['label']} | {r['threads']} | {r['bytes_per_token'] / 1e9:.3f} {floor}"
              f"| {r['decode_tps']:.1f} | {share} | {r['decode_spread']:.2f} | {r['prefill_tps']:.0f} |")
    for r in peers:
        print(f"| {r['model_type']}, {r['model_size'] / 1e9:.3f} GB of weights | {r['n_threads']} | | | "
              f"| {r['avg_ts']:.1f} | | {2 * r['stddev_ts'] / r['avg_ts']:.2f} | |")


def profile(row):
    r = row["result"]
    print(f"\n{row['label']}, {r['threads']} threads: a token\n")
    print("| operation | us | share | waiting, us | MB | GB/s | floor's share of the time |")
    print("|---|---|---|---|---|---|---|")
    for p in r["profile"]:
        print(f"| {p['op']} | {p['us']:.0f} | {p['share']:.3f} | {p['wait_us']:.0f} | {p['mbytes']:.2f} "
              f"| {p['gbps']:.1f} | {p['floor_share']:.2f} |")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        results = [json.loads(line) for line in file]
    peers = []
    for path in sys.argv[2:]:
        with open(path, encoding="utf-8") as file:
            peers += json.load(file)
    single = [r for r in results if r["what"] == "kernel"]
    whole = [r for r in results if r["what"] == "model"]
    if single:
        print()
        kernels(single, [r for r in peers if "kernel" in r])
    if whole:
        print()
        models(whole, [r for r in peers if r.get("n_gen", 0) > 0])
    for row in whole:
        profile(row)


main()
