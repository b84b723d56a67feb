"""Sends requests of all kinds, most of them wrong, to a running rsr-serve:

    fuzz_serve.py RSR_SERVE MODEL.so [SECONDS [SEED]]

RSR_SERVE should be built with sanitizers. Eight clients send heads and bodies with exchanged, cut,
doubled and invented parts; some clients leave early. Exit status 1 if the server died, a sanitizer
reported an error, an answer was not HTTP or had status 500, or if at the end a slot is still busy
or a request gets another answer than at the beginning. SEED (0) and the number of a client decide
its requests.
"""
import json
import pathlib
import random
import re
import socket
import string
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "serve"))
from server import Server

N_CLIENTS = 8
TOOL = {"type": "function", "function": {"name": "f", "description": "d",
                                         "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "strict": True, "schema": {
    "type": "object", "properties": {"a": {"type": "string", "maxLength": 4}, "b": {"enum": [1, "x", None]}},
    "required": ["a"], "additionalProperties": False}}}
BODIES = {
    "/v1/completions": [
        {"model": "m", "prompt": "In the beginning", "max_tokens": 8, "temperature": 0.7, "top_p": 0.9, "top_k": 5,
         "min_p": 0.1, "seed": 1, "n": 2, "stop": ["a", "bc"], "echo": True, "logprobs": 3, "presence_penalty": 0.5,
         "frequency_penalty": -0.5, "logit_bias": {"5": 1.5}, "stream": True,
         "stream_options": {"include_usage": True}, "user": "u"},
        {"model": "m", "prompt": [[1, 2, 3], [4]], "max_tokens": 4},
        {"model": "m", "prompt": ["a", "b"], "max_tokens": 0, "echo": True, "logprobs": 0}],
    "/v1/chat/completions": [
        {"model": "m", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"},
                                    {"role": "assistant", "content": "ho"},
                                    {"role": "user", "content": [{"type": "text", "text": "part"}]}],
         "max_completion_tokens": 8, "logprobs": True, "top_logprobs": 2, "stream": True},
        {"model": "m", "messages": [{"role": "user", "content": "hi"}], "response_format": SCHEMA, "max_tokens": 12},
        {"model": "m", "messages": [{"role": "user", "content": "hi"}], "response_format": {"type": "json_object"},
         "max_tokens": 8},
        {"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": [TOOL], "tool_choice": "auto",
         "max_tokens": 8}],
    "/v1/embeddings": [{"model": "m", "input": ["a", "bc"], "encoding_format": "base64"},
                       {"model": "m", "input": [1, 2, 3], "encoding_format": "float"}],
    "/tokenize": [{"model": "m", "prompt": "text", "add_special_tokens": True}],
    "/detokenize": [{"model": "m", "tokens": [1, 2, 3]}],
    "/apply-template": [{"model": "m", "messages": [{"role": "user", "content": "hi"}]}],
}
GETS = ["/", "/health", "/ready", "/metrics", "/slots", "/report.json", "/v1/models", "/v1/models/m", "/tokenizer_info",
        "/v1/files", "/none", "/v1/models/%00", "/%ff%fe", "/../../etc/passwd", "//", "/health?a=b", "*"]
VALUES = [None, True, False, 0, 1, -1, 2, 16, 17, 20, 21, 4096, 2**31, 2**32, 2**63, 2**64, -2**63, 1e308, -0.0, 1e-320, 0.5,
          "", "m", "auto", "none", "required", "text", "float", "\0", "\u00e9", "\U0001f600", "\ud800", "x" * 3000,
          "<|eot_id|>", [], {}, [[]], [None], [0], [2**32], ["", ""], {"a": 1}, {"": None}, [[1, 2], "a"]]
HEADERS = ["Host", "Content-Length", "Content-Type", "Transfer-Encoding", "Connection", "Authorization", "Origin", "Expect",
           "Cookie", "Accept-Encoding", "Access-Control-Request-Method", "X", "Range", "Upgrade"]
HEADER_VALUES = ["", "localhost", "evil", "[::1", "0", "-1", "5", "99999999999999999999", "chunked", "identity, chunked", "gzip",
                 "application/json", "application/json;", "close", "keep-alive", "Bearer ", "Bearer x", "100-continue",
                 "https://a.example", "POST", "x" * 5000, "\t \t", "bytes=0-"]


def changed(draw, value, depth=0):
    """The value with one part exchanged, removed, doubled or nested deeper."""
    if depth > 0 and draw.random() < 0.15:
        return draw.choice(VALUES)
    if isinstance(value, dict) and value:
        value = dict(value)
        key = draw.choice(list(value))
        what = draw.random()
        if what < 0.1:
            del value[key]
        elif what < 0.2:
            value[draw.choice(["n", "x", "", "stop", "tools", "logprobs", "stream", key + "\0"])] = draw.choice(VALUES)
        else:
            value[key] = changed(draw, value[key], depth + 1)
        return value
    if isinstance(value, list) and value:
        value = list(value)
        i = draw.randrange(len(value))
        if draw.random() < 0.2:
            return value * draw.choice([2, 50]) if draw.random() < 0.5 else value[:i]
        value[i] = changed(draw, value[i], depth + 1)
        return value
    if isinstance(value, str) and draw.random() < 0.5:
        return value + "".join(draw.choice(string.printable + "\u20ac\U0001f600\0") for _ in range(draw.randrange(40)))
    return draw.choice(VALUES)


def damaged(draw, data):
    """Bytes with some of them exchanged, cut or doubled."""
    data = bytearray(data)
    for _ in range(draw.randrange(1, 4)):
        i, j = sorted(draw.randrange(len(data) + 1) for _ in range(2))
        what = draw.randrange(5)
        if what == 0 and data:
            data[min(i, len(data) - 1)] = draw.randrange(256)
        elif what == 1:
            del data[i:j]
        elif what == 2:
            data[j:j] = data[i:j][:2000]
        elif what == 3:
            data[i:i] = draw.randbytes(draw.randrange(20))
        else:
            data[i:i] = draw.choice([b"[" * 3000, b"{\"a\":" * 500, b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\0", b"\r\n\r\n",
                                     b"9" * 400, b"1e999", b"\"model\":\"m\",", b"//", b"NaN", b"\xef\xbb\xbf"])
    return bytes(data)


def make_body(draw, path):
    value = draw.choice(BODIES[path])
    for _ in range(draw.choice([0, 1, 1, 1, 2, 4])):
        value = changed(draw, value)
    data = json.dumps(value, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")
    return damaged(draw, data) if draw.random() < 0.3 else data


def make_request(draw):
    """The bytes of a request. Some requests are right."""
    path = draw.choice(list(BODIES)) if draw.random() < 0.8 else draw.choice(GETS)
    body = make_body(draw, path) if path in BODIES else b""
    method = "POST" if path in BODIES else "GET"
    headers = [("Host", "localhost")]
    if draw.random() < 0.9:  # otherwise a client waits for bytes that never come
        headers.append(("Connection", "close"))
    if body:
        headers += [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    if draw.random() < 0.15 and body:  # in chunks
        headers[-1] = ("Transfer-Encoding", "chunked")
        at = draw.randrange(len(body))
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:at], body[at:], b"")) if at else b"0\r\n\r\n"
    if draw.random() < 0.2:
        method = draw.choice(["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "", "G\0T", "x" * 300])
    for _ in range(draw.choice([0, 0, 0, 1, 2])):
        headers.insert(draw.randrange(len(headers) + 1), (draw.choice(HEADERS), draw.choice(HEADER_VALUES)))
    version = draw.choice(["HTTP/1.1"] * 12 + ["HTTP/1.0", "HTTP/2.0", "HTTP/9", ""])
    head = f"{method} {path} {version}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers) + "\r\n"
    head = head.encode("latin-1", "replace")
    return (damaged(draw, head) if draw.random() < 0.15 else head) + body


class Client(threading.Thread):
    def __init__(self, server, seed, until):
        super().__init__(daemon=True)
        self.server, self.draw, self.until = server, random.Random(seed), until
        self.statuses, self.findings = {}, []

    def run(self):
        while time.monotonic() < self.until and not self.findings:
            data = make_request(self.draw)
            try:
                self.exchange(data)
            except OSError:
                if self.server.process.poll() is not None:
                    return  # main() says so

    def exchange(self, data):
        draw = self.draw
        with self.server.raw() as raw:
            for _ in range(draw.choice([1, 1, 1, 2])):  # sometimes two requests at once
                raw.sendall(data[:draw.randrange(len(data) + 1)] if draw.random() < 0.1 else data)
            what = draw.random()
            if what < 0.1:
                return  # leaves
            raw.settimeout(0.05 if what < 0.3 else 0.5)
            if what > 0.9:
                raw.shutdown(socket.SHUT_WR)
            answer = b""
            try:
                while len(answer) < 1 << 20 and (part := raw.recv(65536)):
                    answer += part
            except TimeoutError:
                pass
            self.judge(data, answer)

    def judge(self, data, answer):
        if not answer:
            return
        line = re.match(rb"HTTP/1\.[01] (\d{3}) [ -~]*\r\n", answer)
        status = int(line[1]) if line else 0
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status == 0 or status == 500 or status == 501 or b"Sanitizer" in answer:
            self.findings.append(f"{answer[:500]!r} to {data[:3000]!r}")


def ask(server):
    """The answer to a right request, which must never change."""
    request = {"model": "m", "prompt": "In the beginning", "max_tokens": 20, "temperature": 1, "seed": 3, "logprobs": 2}
    status, answer = server.post("/v1/completions", request)
    assert status == 200, (status, answer)
    return answer["choices"]


def main():
    program, model, seconds, seed = (sys.argv[1:] + ["60", "0"][len(sys.argv) - 3:])[:4]
    options = ["--slots", "4", "--queue", "8", "--max-body", "64K", "--timeout", "5", "--cors", "https://a.example",
               "--embeddings", "mean"]
    with Server("m=" + model, *options, program=[program]) as server:
        before, until = ask(server), time.monotonic() + float(seconds)
        clients = [Client(server, f"{seed} {i}", until) for i in range(N_CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        findings = [finding for client in clients for finding in client.findings]
        if server.process.poll() is None and not findings:
            idle = lambda: server.metric("rsr_slots_busy") + server.metric("rsr_queue_requests") + \
                server.metric("rsr_embedding_requests") + server.metric("rsr_kv_tokens_used") == 0
            if not server.wait_for(idle, 20)[0]:
                findings.append(f"still busy: {server.get('/metrics')[1].decode()}")
            if ask(server) != before:
                findings.append(f"another answer than in the beginning: {ask(server)}")
        if server.process.poll() is not None or server.stop() != 0:
            server.reader.join()
            findings.append(f"the server has ended with status {server.process.returncode}:")
            findings += [line for line in server.lines[-60:] if line]
    statuses = {}
    for client in clients:
        for status, n in client.statuses.items():
            statuses[status] = statuses.get(status, 0) + n
    print("answers by status:", ", ".join(f"{status}: {n}" for status, n in sorted(statuses.items())))
    if not findings and not {200, 400, 404, 405, 415} <= set(statuses):
        findings.append("too few kinds of answers: what is sent is no good")
    print("\n".join(findings) if findings else "nothing was found")
    return 1 if findings else 0


sys.exit(main())
