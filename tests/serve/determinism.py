"""Usage: determinism.py MODEL.so. A request with a seed has one answer: alone, among 63 others, with the prefix cache
and without it, with 1 thread and 2, with few slots, plain and as a stream."""
import json
import sys
import threading

from server import Server

PROMPTS = ["In the beginning", "And God said unto the people", "The LORD is my shepherd; I shall not",
           "Now these are the names of the children of Israel, which came into Egypt"]
REQUEST = {"model": "kjv", "prompt": PROMPTS[2], "max_tokens": 60, "temperature": 0.9, "top_p": 0.95, "seed": 7, "n": 2,
           "logprobs": 3}
SETUPS = [["--threads", "1"], ["--threads", "2"], ["--threads", "2", "--no-prefix-cache"],
          ["--threads", "1", "--slots", "3", "--max-stall", "1"], ["--threads", "2", "--slots", "64"]]


def answer(server):
    """The bytes of everything that depends on the model."""
    status, whole = server.post("/v1/completions", REQUEST)
    assert status == 200, whole
    return json.dumps([whole["choices"], whole["usage"]["completion_tokens"], whole["system_fingerprint"]])


def streamed(server):
    texts = {0: "", 1: ""}
    for event in server.stream("/v1/completions", dict(REQUEST, stream=True)):
        for choice in event["choices"] if event != "[DONE]" else []:
            texts[choice["index"]] += choice["text"]
    return texts


def other(server, number, failures):
    request = {"model": "kjv", "prompt": PROMPTS[number % 4] * (1 + number % 5), "max_tokens": 20 + number % 40,
               "temperature": 1.2, "seed": number}
    status, whole = server.post("/v1/completions", request)
    if status != 200:
        failures.append(whole)


def among_others(server):
    failures = []
    threads = [threading.Thread(target=other, args=(server, i, failures)) for i in range(63)]
    for i, thread in enumerate(threads):
        thread.start()
        if i == 31:
            found = []
            asking = threading.Thread(target=lambda: found.append(answer(server)))
            asking.start()
    for thread in [*threads, asking]:
        thread.join()
    assert not failures, failures[0]
    return found[0]


expected = None
for setup in SETUPS:
    with Server("kjv=" + sys.argv[1], *setup) as server:
        answers = [answer(server), answer(server), among_others(server)]
        expected = expected or answers[0]
        for given in answers:
            assert given == expected, (setup, given, expected)
        texts = {choice["index"]: choice["text"] for choice in json.loads(expected)[0]}
        assert streamed(server) == texts, setup
        assert texts[0] != texts[1]
print(f"{len(SETUPS)} servers, {4 * len(SETUPS)} answers: one")
