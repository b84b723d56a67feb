"""Usage: embeddings.py LANGUAGE.so EMBEDDER.so WIDE.so. Tests the answers of /v1/embeddings."""
import base64
import json
import struct
import sys

from server import Server

LANGUAGE, EMBEDDER, WIDE = sys.argv[1:]
TEXTS = ["In the beginning", "And God said", "Jesus wept."]


def vectors(server, **body):
    status, answer = server.post("/v1/embeddings", body)
    assert status == 200 and answer["object"] == "list" and answer["model"] == body["model"], answer
    assert [entry["index"] for entry in answer["data"]] == list(range(len(answer["data"])))
    assert all(entry["object"] == "embedding" for entry in answer["data"])
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 0
    return [entry["embedding"] for entry in answer["data"]]


def floats(text):
    data = base64.b64decode(text, validate=True)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


with Server("--model", "kjv=" + LANGUAGE, "--model", "small=" + EMBEDDER, "--model", "wide=" + WIDE, "--embeddings",
            "mean") as server:
    all_of_them = vectors(server, model="kjv", input=TEXTS)
    assert all(abs(sum(x * x for x in vector) - 1) < 1e-5 for vector in all_of_them)
    for text, vector in zip(TEXTS, all_of_them):
        assert vectors(server, model="kjv", input=text, encoding_format="float", user="me") == [vector]
        ids = server.post("/tokenize", {"model": "kjv", "prompt": text})[1]["tokens"]
        assert vectors(server, model="kjv", input=ids) == vectors(server, model="kjv", input=[ids]) == [vector]
    coded = vectors(server, model="kjv", input=TEXTS, encoding_format="base64")
    assert [floats(text) for text in coded] == all_of_them

    # The embedder has no tokenizer.
    one, two = vectors(server, model="small", input=[[1, 2, 3], [5]])
    assert one != two and len(one) == len(two)
    assert [floats(text) for text in vectors(server, model="small", input=[[1, 2, 3]], encoding_format="base64")] == [one]

    assert len(vectors(server, model="wide", input=[[1]] * 1025, encoding_format="base64")) == 1025

    for body, status, param, part in [
        ({"model": "kjv", "input": "a", "dimensions": 8}, 400, "dimensions", "does not support 'dimensions'"),
        ({"model": "kjv", "input": "a", "encoding_format": "hex"}, 400, "encoding_format", "must be float or base64"),
        ({"model": "kjv"}, 400, "input", "'input' is missing"),
        ({"model": "kjv", "input": ["a"] * 2049}, 400, "input", "from 1 to 2048 parts, not 2049"),
        ({"model": "kjv", "input": "a b " * 300}, 400, "input", "'input' has 602"),
        ({"model": "wide", "input": [[1]] * 1025}, 400, "input", "1025 texts; of 1024 numbers each, 1024 are answered"),
        ({"model": "small", "input": "a"}, 400, "model", "has no tokenizer: send token ids"),
    ]:
        got, answer = server.post("/v1/embeddings", body)
        assert got == status and answer["error"]["param"] == param and part in answer["error"]["message"], answer
    chat = {"messages": [{"role": "user", "content": "?"}]}
    for path, body in (("/v1/completions", {"prompt": [1]}), ("/v1/chat/completions", chat)):
        got, answer = server.post(path, body | {"model": "small"})
        assert got == 400 and "gives embeddings, at /v1/embeddings" in answer["error"]["message"], answer
    # A client that disconnects cancels its request, which does not count as failed.
    body = json.dumps({"model": "kjv", "input": [[40 + i % 60] * 500 for i in range(1500)]}).encode()
    with server.raw() as raw:
        raw.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert server.wait_for(lambda: server.metric("rsr_embedding_requests") == 1)[0]
    assert server.wait_for(lambda: server.metric("rsr_requests_cancelled_total") == 1)[0]
    assert server.metric("rsr_requests_failed_total") == 0
    assert server.stop() == 0
print("all is as it should be")
