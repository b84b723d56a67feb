"""Usage: state.py MODEL.so. Tests routes about the server, and requests that are refused before a model sees them."""
import json
import socket
import subprocess
import sys
import time

from server import Server

OTHERS = ["audio/speech", "images/generations", "files", "fine_tuning/jobs", "batches", "assistants", "threads",
          "vector_stores", "moderations", "responses"]


def busy_slots(server):
    status, slots = server.get("/slots")
    assert status == 200 and [slot["id"] for slot in slots] == list(range(16)), slots
    return [slot for slot in slots if slot["is_busy"]]


def error(answer):
    assert set(answer) == {"error"} and set(answer["error"]) == {"message", "type", "param", "code"}, answer
    return answer["error"]["code"]


with Server("kjv=" + sys.argv[1], "--max-body", "4K") as server:
    assert server.get("/health")[1]["status"] == "ok" and server.get("/ready") == (200, {"status": "ok"})
    status, models = server.get("/v1/models")
    assert status == 200 and [model["id"] for model in models["data"]] == ["kjv"], models
    assert models["data"][0]["generates"] and not models["data"][0]["has_embeddings"], models
    assert server.get("/v1/models/kjv") == (200, models["data"][0])
    status, answer = server.get("/v1/models/KJV")
    assert (status, error(answer)) == (404, "model_not_found")

    for path in OTHERS:
        status, answer = server.post("/v1/" + path, {})
        assert (status, error(answer)) == (404, "not_supported"), (path, answer)
    assert error(server.get("/v1/models2")[1]) == error(server.get("/v2")[1]) == "not_found"

    status, headers, answer = server.ask("GET", "/v1/completions")
    assert (status, headers["Allow"], error(answer)) == (405, "POST", "method_not_allowed")
    status, headers, answer = server.ask("POST", "/health", {})
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    status, headers, answer = server.ask("HEAD", "/health")
    assert (status, answer) == (200, b"")

    for kind in ("text/plain", "application/jsonx", "application/x-www-form-urlencoded"):
        status, answer = server.post("/v1/completions", {}, {"Content-Type": kind})
        assert (status, error(answer)) == (415, "unsupported_media_type"), kind
    status, answer = server.post("/v1/completions", {}, {"Content-Type": "application/json; charset=utf-8"})
    assert status != 415

    # A slot is busy while a text is generated, and free when the text has ended. On a busy machine
    # the text may be complete before this script is asked again.
    for attempt in range(20):
        events = server.stream("/v1/completions", {"model": "kjv", "prompt": "In the", "max_tokens": 500, "stream": True})
        next(events)
        slots = busy_slots(server)
        if slots:
            break
        assert [*events][-1] == "[DONE]"
    slot, = slots
    assert slot["model"] == "kjv" and slot["prompt_tokens"] > 1 and slot["generated_tokens"] > 0 and slot["seconds"] > 0, slot
    assert [*events][-1] == "[DONE]"
    end = time.time() + 20
    while busy_slots(server):
        assert time.time() < end, "a slot stays busy"

    # Longer than --max-body: with and without a length, and exactly as long.
    status, answer = server.post("/v1/completions", b" " * 4097)
    assert (status, error(answer)) == (413, "request_too_large")
    for _ in range(5):  # a client that sends the whole body before it reads gets an answer
        assert server.post("/v1/completions", b" " * 5000000)[0] == 413
    connection = server.connect()
    connection.request("POST", "/v1/completions", iter([b" " * 4000, b" " * 97]), {"Content-Type": "application/json"},
                       encode_chunked=True)
    assert connection.getresponse().status == 413
    assert server.post("/v1/completions", b" " * 4096)[0] not in (413, 200)
    with server.raw() as raw:  # the server does not read it to its end
        raw.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    b"Content-Length: 1000000000000\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 413")
    with server.raw() as raw:  # nor a body that never ends
        raw.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(1000):
                raw.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n")
            assert False, "4 MB were read"
        except (BrokenPipeError, ConnectionResetError):
            pass
    with server.raw() as raw:
        raw.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40000 + b"\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 431")

    # A host name of somebody else that points to this server.
    for host in ("localhost", "127.0.0.1:1", "[::1]:80", "192.168.1.7", "LOCALHOST:8080"):
        assert server.get("/health", {"Host": host})[0] == 200, host
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[evil]", "", ":80"):
        status, answer = server.get("/health", {"Host": host})
        assert (status, error(answer)) == (403, "unknown_host"), host
    assert server.stop() == 0

# Memory for keys and values: enough for all slots, or the requested amount, which then limits the length of
# a text.
ROOM = [([], 16 * 512, 512), (["--slots", "2"], 2 * 512, 512), (["--slots", "3", "--context", "100"], 3 * 128, 100),
        (["--kv-tokens", "128"], 128, 128), (["--kv-tokens", "700"], 704, 512)]
for options, tokens, context in ROOM:
    with Server("kjv=" + sys.argv[1], "--target", "generic", "--threads", "1", *options) as server:
        assert server.find_line(f" slots share keys and values of {tokens} tokens (bf16): "), server.lines
        assert server.find_line(f"a text has at most {context} tokens, "), server.lines
        assert server.find_line("committed" if "--kv-tokens" in options else "as they are used"), server.lines
        assert server.find_line("target generic, 1 threads, "), server.lines
        assert server.get("/v1/models")[1]["data"][0]["max_model_len"] == context
        assert server.metric("rsr_kv_tokens") == tokens
# Embeddings get at most half of the pages; /v1/models tells how many tokens a text can have.
for pages, most in ((1, 64), (3, 128), (11, 384)):
    with Server("kjv=" + sys.argv[1], "--embeddings", "mean", "--kv-tokens", str(64 * pages)) as server:
        assert server.get("/v1/models")[1]["data"][0]["max_model_len"] == most
        for n, want in ((most - 1, 200), (most, 400)):
            assert server.post("/v1/completions", {"prompt": [40] * n, "max_tokens": 1})[0] == want, (pages, n)
for options, text in ((["--kv-tokens", "2000000000"], "kjv: "), (["--target", "avx9"], "avx9"),
                      (["--attention", "sparse"], "sparse")):
    server = Server("kjv=" + sys.argv[1], *options, wait=False)
    assert server.stop(0) == 1 and server.find_line(text), server.lines

# The report equals rsr-run's.
with Server("a=" + sys.argv[1], "b=" + sys.argv[1]) as server:
    report = json.loads(subprocess.run(["rsr-run", sys.argv[1], "--info", "--json"], check=True, capture_output=True).stdout)
    models = server.get("/report.json")[1]["models"]
    assert [model.pop("id") for model in models] == ["a", "b"] and models[0] == models[1]
    assert json.dumps(models[0])[:300] == json.dumps(report)[:300] and models[0]["kernels"] == report["kernels"]


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        return True
    except OSError:
        return False


host = "::1" if has_ipv6() else "127.0.0.1"
with Server("kjv=" + sys.argv[1], "--host", host, "--allow-host", "a.example,b.example") as server:
    assert server.host == host
    assert [server.get("/health", {"Host": host + ".example"})[0] for host in "abc"] == [200, 200, 403]
print("all is as it should be")
