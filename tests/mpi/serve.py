"""usage: serve.py KJV.so [--parts PART.%r.so] MPIRUN...

rsr-serve --mpi answers as rsr-serve does, bit for bit; SIGUSR1 drains it; a rank that dies or hangs ends all within 5
seconds; nothing is left running. With --parts two ranks have a part each, and that is all that is tried."""
import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "serve"))
from server import Server

module, mpirun = sys.argv[1], sys.argv[2:]
parts = None
if mpirun[0] == "--parts":
    parts, mpirun = mpirun[1], mpirun[2:]
mpirun = mpirun[2 * (mpirun[0] == "timeout"):]  # it would pass on a signal twice
OPTIONS = ["m=" + module, "--threads", "1", "--embeddings", "mean", "--slots", "4"]
BEGIN = "And it came to pass in those days, that there went out a decree from "
TEXTS = [("/v1/completions", {"model": "m", "prompt": BEGIN, "max_tokens": 40, "seed": 3, "n": 3, "logprobs": 3}),
         ("/v1/completions", {"model": "m", "prompt": BEGIN * 3 + "the", "max_tokens": 24, "temperature": 0}),
         ("/v1/completions", {"model": "m", "prompt": [BEGIN, BEGIN + "Caesar"], "max_tokens": 16, "seed": 1,
                              "top_p": 0.8, "frequency_penalty": 0.5, "logit_bias": {"17": 4}}),
         ("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": BEGIN}], "max_tokens": 60,
                                   "seed": 5, "response_format": {"type": "json_object"}}),
         ("/v1/completions", {"model": "m", "prompt": BEGIN * 2, "max_tokens": 4, "seed": 5, "echo": True,
                              "logprobs": 2}),
         ("/v1/embeddings", {"model": "m", "input": [BEGIN, "the LORD", BEGIN * 2]})]


def ask(server, request):
    status, answer = server.post(*request)
    assert status == 200, answer
    return json.dumps(answer.get("choices") or answer["data"])


def ask_all(server):
    """All requests alone, and again, now from the prefix cache and together."""
    alone = [ask(server, request) for request in TEXTS]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for again in pool.map(lambda i: ask(server, TEXTS[i % len(TEXTS)]) == alone[i % len(TEXTS)], range(18)):
            assert again, "an answer depends on other requests"
    return alone


def ranks_of(server):
    """The processes of the ranks, by their numbers."""
    pids = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as line, open(f"/proc/{pid}/environ", "rb") as values:
                arguments, environment = line.read().split(b"\0"), values.read().split(b"\0")
        except OSError:
            continue
        if arguments[0].endswith(b"rsr-serve") and b"RANKS_OF=%d" % os.getpid() in environment:
            rank = next(v for v in environment if v.startswith((b"OMPI_COMM_WORLD_RANK=", b"PMI_RANK=")))
            pids[int(rank.split(b"=")[1])] = int(pid)
    return pids


def start(n, options=OPTIONS):
    environment = os.environ | {"RANKS_OF": str(os.getpid())}
    return Server(*options, "--mpi", program=(*mpirun, "-n", str(n), "rsr-serve"), env=environment)


def check_gone(server):
    for _ in range(50):
        if not ranks_of(server):
            return
        time.sleep(0.1)
    sys.exit(f"left running: {ranks_of(server)}")


with Server(*OPTIONS) as server:
    expected = ask_all(server)
if parts:
    with start(2, ["m=" + parts, *OPTIONS[1:]]) as server:
        assert ask_all(server) == expected, "parts give other answers"
    print(f"parts: {len(expected)} answers, the bits of one process")
    sys.exit()
for n in 1, 2, 3:
    with start(n) as server:
        assert len(ranks_of(server)) == n
        assert ask_all(server) == expected, f"{n} ranks give other answers"
        print(f"{n} ranks: {len(expected)} answers, the bits of one process")
        status = server.stop(signal.SIGUSR1)
        assert status == 0 and server.find_line("end; 0 requests were cut off"), (status, server.lines)
        check_gone(server)
print("drained")

for number, rank, busy in (signal.SIGKILL, 1, True), (signal.SIGSTOP, 1, True), (signal.SIGSTOP, 0, False):
    with start(2) as server, concurrent.futures.ThreadPoolExecutor(4) as pool:
        pids = ranks_of(server)
        for i in range(4 * busy):
            pool.submit(server.post, "/v1/completions", {"model": "m", "prompt": BEGIN * i, "max_tokens": 400, "n": 4})
        time.sleep(0.5)
        begin = time.monotonic()
        os.kill(pids[rank], number)
        status = server.stop(0)
        seconds = time.monotonic() - begin
        name = f"rsr-serve: rank {rank} (pid {pids[rank]} on"
        if number == signal.SIGKILL:  # mpirun's own sentence; MPICH's has no rank, and goes to stdout
            name = f"process rank {rank} with PID" if "--oversubscribe" in mpirun else ""
        assert status != 0 and seconds < 5 and server.find_line(name), (status, seconds, server.lines)
        check_gone(server)
        print(f"{signal.Signals(number).name} of rank {rank}: all have ended in time")
