"""usage: mock_server.py PAGE.html POLICY.txt [--key KEY]: answers the routes that rsr-serve's page uses from a table,
also in ways that are rare on a real server: a stream breaks off, an error comes in its middle, text is held back, a key
is required. Prints its port. The end of a prompt decides: "break", "error", "slow", "refuse"; otherwise the answer is
PIECES."""
import http.server
import json
import sys
import threading
import time

HOSTILE = '<script>alert(1)</script>'
MODELS = [("tiny", True), (HOSTILE, True), ("plain", False)]
# A character of two tokens, a leading space that the text drops, and a stop token without text.
PIECES = [b" one", b" two", b" thr\xc3", b"\xa9\xc3\xa9", b" <b>four</b>", b"\n", b" five"]
state = {"generated": 0, "prompt": 0, "cached": 0, "busy": 0, "begun": 0, "looks": 0, "bodies": []}


def report(name):
    kernels = [{"name": f"rsr_l{block}_{role}_avx2", "role": role, "block": block, "rows": 64, "cols": 64 + 16 * block,
                "variant": "lut" if decodes else "table", "reason": "reads <i>fewer</i> bytes", "weight_bytes": 900 + block,
                "decodes": decodes} for decodes in (True, False) for block in range(3) for role in ("q", "k", "down")]
    return {"id": name, "name": "m", "architecture": "llama", "target": "avx2", "token_bytes": 123456, "kv_bytes_token": 512,
            "token_bytes_by_role": {"q": 2703, "k": 2703, "down": 2703}, "stop_tokens": [1, 2],
            "sampling": {"temperature": 0.7, "top_k": 40}, "kernels": kernels}


def metrics():
    lines = ["# HELP rsr_generated_tokens_total Tokens that were generated", "# TYPE rsr_generated_tokens_total counter"]
    for name in ("generated", "prompt", "cached"):
        lines.append(f"rsr_{name}_tokens_total {state[name]}")
    lines += ["rsr_slots 4", f"rsr_slots_busy {state['busy']}", "rsr_queue_requests 2"]
    for model, _ in MODELS:
        lines += [f'rsr_kv_tokens{{model="{model}"}} 1000', f'rsr_kv_tokens_used{{model="{model}"}} 250']
    for i in range(8):
        lines.append(f'rsr_time_to_first_token_seconds_bucket{{le="{0.001 * 2 ** i:.9g}"}} {state["begun"] if i > 2 else 0}')
    lines.append(f'rsr_time_to_first_token_seconds_bucket{{le="+Inf"}} {state["begun"]}')
    return "\n".join(lines) + "\n"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body, kind="application/json", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status, message):
        self.reply(status, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}})

    def may(self):
        key = server.key
        if key and self.headers.get("Authorization") != f"Bearer {key}":
            self.refuse(401, "no key")
            return False
        return True

    def do_GET(self):
        if self.path == "/":
            return self.reply(200, server.page, "text/html; charset=utf-8", Content_Security_Policy=server.policy)
        if not self.may():
            return None
        slot = {"id": 0, "model": HOSTILE, "is_busy": True, "prompt_tokens": 100, "evaluated_tokens": 64, "generated_tokens": 3,
                "seconds": 1.5}
        routes = {"/v1/models": {"object": "list", "data": [{"id": name, "created": 1700000000, "has_chat_template": chats,
                                                             "max_model_len": 512} for name, chats in MODELS]},
                  "/report.json": {"models": [report(name) for name, _ in MODELS]},
                  "/slots": [slot, {**slot, "is_busy": False}],
                  }
        if self.path == "/metrics":
            state["looks"] += 1
            return self.reply(200, metrics().encode(), "text/plain; version=0.0.4")
        return self.reply(200, routes[self.path]) if self.path in routes else self.refuse(404, "no such route")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.may():
            return
        state["bodies"].append(body)
        chats = "messages" in body
        prompt = body["messages"][-1]["content"] if chats else body["prompt"]
        if prompt.endswith("refuse"):
            return self.refuse(400, "'top_k' is <b>wrong</b>")
        state["begun"] += 1
        state["busy"] += 1
        state["prompt"] += 10
        state["cached"] += 5
        try:
            self.stream(body, chats, prompt.rsplit(" ")[-1])
        except (BrokenPipeError, ConnectionResetError):
            state["bodies"].append("gone")
        finally:
            state["busy"] -= 1

    def stream(self, body, chats, how):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        held = b""
        pieces = PIECES * (200 if how == "slow" else 1)
        for i, piece in enumerate(pieces):
            held += piece.lstrip() if i == 0 else piece
            try:
                text, held = held.decode(), b""
            except UnicodeDecodeError:
                text = ""
            if i == 3 and how == "break":
                return
            if i == 3 and how == "error":
                self.send({"error": {"message": "the server is <b>stopping</b>", "code": "stopping"}})
                return
            self.send(self.chunk(chats, text, [piece] if body.get("logprobs") else None, None))
            state["generated"] += 1
            time.sleep(0.05)
        self.send(self.chunk(chats, "", [b"<|end|>"] if body.get("logprobs") else None, "stop"))
        self.send({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": len(pieces),
                                            "prompt_tokens_details": {"cached_tokens": 5}}})
        self.wfile.write(b": alive\r\ndata: [DONE]\n\n")

    def chunk(self, chats, text, tokens, finish):
        shown = [token.decode(errors="replace") for token in tokens or []]
        if chats:
            logprobs = tokens and {"content": [{"token": name, "bytes": list(token), "logprob": -0.1, "top_logprobs": [
                {"token": name, "logprob": -0.1}, {"token": " <i>other</i>", "logprob": -3}]} for name, token in zip(shown, tokens)]}
            return {"choices": [{"index": 0, "delta": {"content": text}, "logprobs": logprobs, "finish_reason": finish}]}
        names = [name if "\ufffd" not in name else "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)
                 for name, token in zip(shown, tokens or [])]
        logprobs = tokens and {"tokens": names, "token_logprobs": [-2.5] * len(names),
                               "top_logprobs": [{" other": -0.2, name: -2.5} for name in names], "text_offset": [0] * len(names)}
        return {"choices": [{"index": 0, "text": text, "logprobs": logprobs, "finish_reason": finish}]}

    def send(self, event):
        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        self.wfile.flush()


def start(page, policy, key=None, port=0):
    """Starts the server, which ends with the program. Returns its port."""
    global server
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    server.page, server.policy, server.key = open(page, "rb").read(), open(policy).read(), key
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


if __name__ == "__main__":
    print(start(*sys.argv[1:3], key=sys.argv[4] if "--key" in sys.argv else None), flush=True)
    threading.Event().wait()
