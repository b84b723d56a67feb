"""Usage: access.py MODEL.so FOLDER. Tests who may send requests; files are made in FOLDER."""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

from server import Server

model, folder = "kjv=" + sys.argv[1], pathlib.Path(sys.argv[2])


def memory(server):
    """The server's memory now, in bytes."""
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024


def keys():
    path = folder / "keys"
    path.write_text("# two keys\nfirst-key\n\n  second key  \n")
    asks = [("GET", "/v1/models"), ("GET", "/metrics"), ("GET", "/slots"), ("GET", "/report.json"),
            ("POST", "/v1/completions"), ("POST", "/v1/chat/completions"), ("POST", "/v1/embeddings"),
            ("POST", "/tokenize"), ("POST", "/detokenize"), ("POST", "/apply-template"), ("GET", "/tokenizer_info")]
    wrong = ["Bearer first-ke", "Bearer first-keyy", "Bearer ", "Bearer", "Basic first-key", "first-key",
             "Bearer # two keys", "Bearer first-key first-key", ""]
    with Server(model, "--api-key-file", str(path)) as server:
        for method, route in asks:
            status, headers, answer = server.ask(method, route, {} if method == "POST" else None)
            assert status == 401 and answer["error"]["code"] == "invalid_api_key", (route, status, answer)
            assert headers["WWW-Authenticate"] == "Bearer"
        for header in wrong:
            assert server.get("/v1/models", {"Authorization": header})[0] == 401, header
        for header in ("Bearer first-key", "Bearer second key", "bearer first-key"):
            assert server.get("/v1/models", {"Authorization": header})[0] == 200, header
        for route in ("/health", "/ready", "/"):
            assert server.get(route)[0] not in (401, 503), route
        # Long bodies without a key are not kept.
        assert server.post("/v1/completions", b"x" * 4000000)[0] == 401
        before = memory(server)
        with contextlib.ExitStack() as stack:
            for raw in [stack.enter_context(server.raw()) for _ in range(40)]:
                raw.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                            b"Content-Length: 4000000\r\n\r\n" + b"x" * 3900000)
            assert not server.wait_for(lambda: memory(server) - before > 50e6, 2)[0]
        # The server never prints a key.
        server.stop()
        assert not any("first-key" in line or "second key" in line for line in server.lines if line), server.lines
    print("keys")


def origins():
    ours = {"Origin": "https://page.example"}
    preflight = {"Access-Control-Request-Method": "POST"}
    with Server(model) as server:
        _, headers, _ = server.ask("GET", "/health", headers=ours)
        assert not any(name.lower().startswith("access-control") for name in headers)
        assert server.ask("OPTIONS", "/v1/completions", headers={**ours, **preflight})[0] == 405
    with Server(model, "--cors", ours["Origin"], "--api-key-file", str(folder / "keys")) as server:
        status, headers, body = server.ask("OPTIONS", "/v1/completions", headers={**ours, **preflight})
        assert (status, body, headers["Access-Control-Allow-Origin"]) == (204, b"", ours["Origin"])
        assert "POST" in headers["Access-Control-Allow-Methods"]
        assert "Authorization" in headers["Access-Control-Allow-Headers"]
        asked = "authorization,content-type,x-stainless-lang,x-stainless-retry-count"  # openai-node's
        _, headers, _ = server.ask("OPTIONS", "/v1/completions",
                                   headers={**ours, **preflight, "Access-Control-Request-Headers": asked})
        assert headers["Access-Control-Allow-Headers"] == asked
        for path in ("/health", "/v1/models", "/none"):  # a page can read refusals, too
            _, headers, _ = server.ask("GET", path, headers=ours)
            assert headers["Access-Control-Allow-Origin"] == ours["Origin"] and headers["Vary"] == "Origin"
        for other in ("https://page.example.evil", "http://page.example", "null"):
            status, headers, _ = server.ask("OPTIONS", "/v1/completions", headers={"Origin": other, **preflight})
            assert status != 204 and "Access-Control-Allow-Origin" not in headers, other
        # After any number of refused requests, later requests are answered.
        connection = server.connect()
        for _ in range(100):
            connection.request("OPTIONS", "/tokenize", headers={**ours, **preflight})
            connection.getresponse().read()
        connection.close()
        status, answer = server.post("/tokenize", {"prompt": "a"}, {**ours, "Authorization": "Bearer first-key"})
        assert status == 200, answer
    print("origins")


def unix():
    path = str(folder / "socket")
    with Server(model, unix=path) as server:
        assert server.get("/health")[0] == 200 and server.address == "unix:" + path
        assert server.get("/health", {"Host": "anything"})[0] == 200
        second = Server(model, unix=path, wait=False)
        assert second.stop(0) == 1 and second.find_line("Address already in use")
        assert server.get("/health")[0] == 200
        server.stop(signal.SIGKILL)
    assert os.path.exists(path)  # a socket left over is no obstacle
    with Server(model, unix=path) as server:
        assert server.get("/health")[0] == 200
        assert server.stop() == 0 and not os.path.exists(path)
    print("unix")


def tls():
    certificate, key = folder / "cert.pem", folder / "key.pem"
    if shutil.which("openssl"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
                        "-days", "2", "-subj", "/CN=localhost"], check=True, capture_output=True)
        with Server(model, "--tls-cert", str(certificate), "--tls-key", str(key)) as server:
            assert server.address.startswith("https://")
            assert server.get("/v1/models")[0] == 200
            with server.raw() as raw:  # a client without TLS gets no answer, and others are served
                raw.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert not raw.recv(100).startswith(b"HTTP")
            assert server.get("/health")[0] == 200 and server.stop() == 0
    print("tls")


keys()
origins()
unix()
tls()
