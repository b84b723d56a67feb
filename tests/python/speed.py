"""Usage: speed.py MODEL.so [times]. `Model.generate` has at least 0.97 of the tokens per second of rsr-run, for the
same text: the best of so many turns of each, which alternate. It needs a quiet machine. A stream is shown beside them:
it hands every piece from one thread to another."""
import json
import subprocess
import sys
import time

import rsrc

PATH, TIMES = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20
TEXT, N, THREADS = "In the beginning", 400, 1
best = {"rsr-run": 0.0, "generate": 0.0, "stream": 0.0}


def by_rsr_run():
    told = json.loads(subprocess.check_output(
        ["rsr-run", PATH, "-p", TEXT, "-n", str(N), "--temp", "0", "-t", str(THREADS), "--json"],
        stderr=subprocess.DEVNULL))
    assert told["tokens"] == N
    seconds = told["prompt_tokens"] / told["prefill_tps"] + N / told["decode_tps"]
    return told["text"], N / seconds


def timed(function):
    begun = time.perf_counter()
    text = function()
    return text, N / (time.perf_counter() - begun)


with rsrc.Model(PATH, threads=THREADS) as model:
    ways = {"rsr-run": by_rsr_run, "generate": lambda: timed(lambda: model.generate(TEXT, N)),
            "stream": lambda: timed(lambda: "".join(model.generate(TEXT, N, stream=True)))}
    for _ in range(TIMES):
        found = {name: way() for name, way in ways.items()}
        assert len({text for text, _ in found.values()}) == 1
        best = {name: max(best[name], rate) for name, (_, rate) in found.items()}
for name, rate in best.items():
    print(f"{name}: {rate:.0f} tokens/s, {rate / best['rsr-run']:.3f} of rsr-run")
assert best["generate"] >= 0.97 * best["rsr-run"]
