"""usage: decode_report.py RESULTS [PEER]: Markdown tables of what decode.sh measured.

RESULTS has one JSON object a line: what, label, and what rsr-bench said. PEER is the JSON of llama-bench: one
array, of which the tests that generate tokens are shown.
"""
import json
import math
import sys


def kernels(rows):
    print("| kernel | shape | threads | bits a weight | hot, G weights/s | streamed, G weights/s | GB/s of "
          "| share of the read bandwidth | spread |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        r = row["result"]
        weights = math.prod(int(n) for n in row["shape"].split("x"))
        print(f"| {r['variant']}, {row['label']} | {row['shape']} | {r['threads']} "
              f"| {r['bits_per_weight']:.2f} | {weights / r['hot_us'] / 1e3:.1f} "
              f"| {r['weights_per_s_streamed'] / 1e9:.1f} | {r['read_gbps']:.1f} of {r['dram_gbps']:.1f} "
              f"| {r['roofline_ratio']:.2f} | {r['spread']:.2f} |")


def models(rows, peers):
    print("| model | threads | GB a token | GB/s of memory | floor, tokens/s | decode, tokens/s | share of the floor "
          "| spread | prefill, tokens/s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        r = row["result"]
        print(f"| {row['label']} | {r['threads']} | {r['bytes_per_token'] / 1e9:.3f} | {r['dram_gbps']:.1f} "
              f"| {r['floor_tps']:.1f} | {r['decode_tps']:.1f} | {r['roofline_ratio']:.2f} "
              f"| {r['decode_spread']:.2f} | {r['prefill_tps']:.0f} |")
    for r in peers:
        if r["n_gen"] > 0:
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
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        results = [json.loads(line) for line in file]
    peers = []
    if len(sys.argv) == 3:
        with open(sys.argv[2], encoding="utf-8") as file:
            peers = json.load(file)
    print()
    kernels([r for r in results if r["what"] == "kernel"])
    print()
    whole = [r for r in results if r["what"] == "model"]
    models(whole, peers)
    for row in whole:
        profile(row)


main()
