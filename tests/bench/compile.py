#!/usr/bin/env python3
"""Measures a compilation and what it made: time, memory, size, loading, and decoding by part.

Prints a Markdown table; each row has its bound or floor. Memory is anonymous memory (weights are
mapped files), of the compiler and its children together, read 20 times a second. Decoding is
measured with one thread: the bytes of the ternary layers, and of the head, over their times, as
shares of the read bandwidth of the same run.
"""
import argparse
import json
import os
import re
import resource
import subprocess
import time


def anonymous_bytes(root):
    """RssAnon of a process and all its descendants, in bytes."""
    parents, anonymous = {}, {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/status", encoding="ascii", errors="replace") as status:
                text = status.read()
        except OSError:
            continue  # ended meanwhile
        parents[int(name)] = int(re.search(r"^PPid:\s*(\d+)", text, re.M).group(1))
        found = re.search(r"^RssAnon:\s*(\d+)", text, re.M)
        anonymous[int(name)] = int(found.group(1)) * 1024 if found else 0
    total = 0
    for pid in parents:
        ancestor = pid
        while ancestor not in (root, 0, 1):
            ancestor = parents.get(ancestor, 0)
        total += anonymous[pid] if ancestor == root else 0
    return total


def compile_model(command):
    """Runs rsrc: wall seconds, CPU seconds, peak anonymous bytes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start, peak = time.monotonic(), 0
    process = subprocess.Popen(command)
    while process.poll() is None:
        peak = max(peak, anonymous_bytes(process.pid))
        time.sleep(0.05)
    wall = time.monotonic() - start
    if process.returncode != 0:
        raise SystemExit(process.returncode)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, peak


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", default="build/release", help="where rsrc is built [build/release]")
    parser.add_argument("--work", default="build/bench", help="for the model and the module [build/bench]")
    parser.add_argument("--preset", default="bitnet-2b-4t", help="shape of the model [bitnet-2b-4t]")
    parser.add_argument("--target", default="native", help="what is compiled for and, where this machine can, run [native]")
    parser.add_argument("--runs", default="5", help="measurements of decoding, the median is shown [5]")
    options = parser.parse_args()
    tool = lambda name: os.path.join(options.build, "bin", name)
    os.makedirs(options.work, exist_ok=True)
    model = os.path.join(options.work, options.preset)
    module = os.path.join(options.work, f"{options.preset}-{options.target}.so")
    report = module + ".json"
    if not os.path.exists(model):
        subprocess.run([tool("rsr-mkmodel"), "--preset", options.preset, "--head-margin", "6", "-o", model],
                       check=True)

    wall, cpu, peak = compile_model([tool("rsrc"), model, "--target", options.target, "-o", module,
                                     "--report=json:" + report])
    with open(report, encoding="utf-8") as file:
        told = json.load(file)
    weights = sum(layer["rows"] * layer["cols"] for layer in told["targets"][0]["layers"])
    checkpoint = told["checkpoint"]
    bound = weights * 1.6 / 8 + checkpoint["embedding"]["bytes"]
    if not checkpoint["tied_head"] and checkpoint["head"] is not None:
        bound += checkpoint["head"]["bytes"]
    size = os.path.getsize(module)
    sketch = told.get("head_sketch", {}).get("size_bytes", 0)
    print(f"{options.preset} for {options.target}: {weights / 1e6:.0f} M ternary weights, "
          f"{os.cpu_count()} CPUs\n")
    print("| what | measured | beside |\n|---|---|---|")
    print(f"| compilation | {wall:.1f} s | {cpu:.1f} s of CPU |")
    print(f"| peak anonymous memory | {peak / 2**30:.2f} GiB | children included |")
    print(f"| size of the module | {size / 1e9:.3f} GB | {size / bound:.3f} of 1.6 bits a ternary weight "
          f"and the embedding, {(size - sketch) / bound:.3f} without the head's sketch of {sketch / 1e9:.3f} GB |")

    bench = subprocess.run([tool("rsr-bench"), "model", module, "--threads", "1", "--prompt-tokens", "1",
                            "--gen-tokens", "16", "--runs", options.runs, "--profile", "--json"],
                           stdout=subprocess.PIPE, check=False)
    if bench.returncode != 0:
        print("| loading and decoding | not measured | this machine cannot run it |")
        return
    told = json.loads(bench.stdout)
    print(f"| loading, pages cached | {told['load_ms']:.0f} ms | |")
    layers = ("q", "k", "v", "o", "gate", "up", "down")
    for name, roles in (("ternary layers", layers), ("head", ("head",))):
        rows = [row for row in told["profile"] if row["op"] in roles]
        spent = sum(row["us"] for row in rows)
        rate = sum(row["gbps"] * row["us"] for row in rows) / spent
        print(f"| decoding, {name} | {rate:.1f} GB/s | {rate / told['dram_gbps']:.2f} of "
              f"{told['dram_gbps']:.1f} GB/s read |")
    print(f"| decoding, all | {told['decode_tps']:.1f} tokens/s, spread {told['decode_spread']:.2f} | "
          f"{told['roofline_ratio']:.2f} |")


main()
