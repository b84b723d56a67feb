"""Usage: metrics_client.py MODEL.so. Reads /metrics with Prometheus's own parser, and checks that the numbers add
up."""
import sys

from prometheus_client.parser import text_string_to_metric_families

from server import Server

NO_END = {"2558": -100, "2559": -100}
LONG = {"prompt": ["In"] * 64, "n": 16, "max_tokens": 500, "logit_bias": NO_END}
LEAVES = ("rsr_requests_finished", "rsr_requests_cancelled", "rsr_requests_failed")


def read(server):
    """Families by name; samples by name and labels."""
    _, headers, text = server.ask("GET", "/metrics")
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


def value(families, name):
    return sum(sample.value for sample in families[name].samples)


def check_forms(families):
    for family in families.values():
        assert family.name.startswith("rsr_") and family.documentation and family.samples, family
        assert family.type in ("counter", "gauge", "histogram"), family
        if family.type != "histogram":
            continue
        buckets = [sample for sample in family.samples if sample.name.endswith("_bucket")]
        bounds = [float(sample.labels["le"]) for sample in buckets]
        counts = [sample.value for sample in buckets]
        ends = {sample.name: sample.value for sample in family.samples}
        assert bounds == sorted(set(bounds)) and bounds[-1] == float("inf") and counts == sorted(counts), family
        assert ends[family.name + "_count"] == counts[-1] and ends[family.name + "_sum"] >= 0, family


def check_never_falls(before, after):
    for name, family in before.items():
        if family.type == "counter":
            assert [a.value <= b.value for a, b in zip(family.samples, after[name].samples)].count(False) == 0, name


def is_idle(server):
    families = read(server)
    return value(families, "rsr_slots_busy") == value(families, "rsr_queue_requests") == 0


def leave(server, body):
    """Disconnects from a stream that has begun."""
    stream = server.stream("/v1/completions", body | {"stream": True})
    next(stream)
    stream.close()


with Server("a=" + sys.argv[1], 'b"\\=' + sys.argv[1], "--embeddings", "mean", "--slots", "4", "--queue",
            "2") as server:
    empty = read(server)
    check_forms(empty)
    prompt = cached = generated = 0
    asked = [("/v1/completions", {"model": "a", "prompt": ["In the beginning", "And"], "n": 3, "max_tokens": 9}),
             ("/v1/completions", {"model": "a", "prompt": "In the beginning", "max_tokens": 0, "echo": True}),
             ("/v1/completions", {"model": 'b"\\', "prompt": "In the beginning God created", "n": 16, "best_of": 16}),
             ("/v1/chat/completions", {"model": "a", "messages": [{"role": "user", "content": "Who?"}]}),
             ("/v1/embeddings", {"model": "a", "input": ["And God said", "Let there be light"]})] * 2
    for path, body in asked:
        status, answer = server.post(path, body)
        assert status == 200, answer
        prompt += answer["usage"]["prompt_tokens"]
        cached += answer["usage"].get("prompt_tokens_details", {}).get("cached_tokens", 0)
        generated += answer["usage"].get("completion_tokens", 0)
    assert server.wait_for(lambda: is_idle(server))[0]
    full = read(server)
    check_forms(full)
    assert value(full, "rsr_requests") == value(full, "rsr_requests_finished") == len(asked)
    counted = {name: value(full, name) for name in ("rsr_prompt_tokens", "rsr_cached_tokens", "rsr_generated_tokens")}
    assert list(counted.values()) == [prompt, cached, generated], (counted, prompt, cached, generated)
    assert cached > 0 and value(full, "rsr_steps") > 0
    for name in ("rsr_request_seconds", "rsr_queue_seconds"):
        assert [s.value for s in full[name].samples if s.name == name + "_count"] == [len(asked)], full[name]
    models = [sample.labels["model"] for sample in full["rsr_kv_tokens"].samples]
    assert models == ["a", 'b"\\'], models

    # Clients that disconnect, requests that are refused, and requests that find the queue full.
    for _ in range(3):
        leave(server, LONG | {"model": "a"})
    assert server.post("/v1/completions", {"model": "a", "bogus": 1})[0] == 400
    streams = [server.stream("/v1/completions", LONG | {"model": "a", "stream": True})]
    next(streams[0])
    with server.response("POST", "/v1/completions", LONG | {"model": "a", "stream": True}) as one, \
            server.response("POST", "/v1/completions", LONG | {"model": "a", "stream": True}) as two:
        assert one.status == two.status == 200
        assert server.post("/v1/completions", {"model": "a", "prompt": "In"})[0] == 429
        assert value(read(server), "rsr_queue_requests") == 2
    streams[0].close()
    assert server.wait_for(lambda: is_idle(server))[0]
    end = read(server)
    check_forms(end)
    check_never_falls(empty, full)
    check_never_falls(full, end)
    assert value(end, "rsr_requests_cancelled") == 6 and value(end, "rsr_requests_queue_full") == 1
    assert value(end, "rsr_requests_refused") == 2  # the full queue is a reason among others
    assert value(end, "rsr_requests") == sum(value(end, name) for name in LEAVES) == len(asked) + 6
    assert server.stop() == 0

with Server("a=" + sys.argv[1], "--timeout", "1") as server:  # requests that take too long have failed
    assert server.post("/v1/completions", LONG)[0] == 504
    families = read(server)
    assert [value(families, name) for name in LEAVES] == [0, 0, 1] and value(families, "rsr_requests") == 1
print("all is as it should be")
