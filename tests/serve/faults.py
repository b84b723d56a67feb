"""Usage: faults.py MODEL.so. Tests misbehaving clients, and a machine without resources."""
import contextlib
import resource
import signal
import sys
import time

from server import Server

model = "kjv=" + sys.argv[1]
HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def limit_files(n):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (n, n))


def open_files():
    """Raises the limit of sockets that this test may open."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))


def slow():
    """A thousand connections that send a little and then nothing, or a byte now and then, block no other
    client."""
    with Server(model) as server, contextlib.ExitStack() as stack:
        beginnings = [b"", b"P", HEAD, HEAD + b"Content-Length: 100\r\n\r\n{"]
        raws = [stack.enter_context(server.raw()) for _ in range(1000)]
        for i, raw in enumerate(raws):
            raw.sendall(beginnings[i % len(beginnings)])
        for _ in range(20):
            for raw in raws[3::40]:
                raw.sendall(b" ")
            begin = time.monotonic()
            assert server.get("/health")[0] == 200
            assert time.monotonic() - begin < 5
        assert server.stop() == 0
    print("slow")


def many():
    """If there are too many connections, the slowest one is closed, and requests are answered."""
    with Server(model, preexec_fn=limit_files(64 + 64 + 100)) as server, contextlib.ExitStack() as stack:
        raws = [stack.enter_context(server.raw()) for _ in range(300)]
        for raw in raws[-50:]:
            raw.sendall(HEAD)
        for _ in range(5):
            assert server.get("/health")[0] == 200
        raws[0].settimeout(10)
        assert raws[0].recv(100) == b""  # the first one
        raws[-1].settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            assert raws[-1].recv(100) != b"", "the last one was dropped"
    # Long requests on all connections at once must be refused, too.
    with Server(model, "--max-body", "64K") as server:
        long = HEAD + b"Content-Length: 60000\r\n\r\n" + b" " * 59999
        with contextlib.ExitStack() as stack:
            for raw in [stack.enter_context(server.raw()) for _ in range(80)]:
                raw.sendall(long)
            assert server.wait_for(lambda: server.post("/v1/completions", b" " * 60000)[0] == 503)[0]
            status, headers, answer = server.ask("POST", "/v1/completions", b" " * 60000)
            assert answer["error"]["code"] == "overloaded" and headers["Retry-After"], answer
        assert server.wait_for(lambda: server.post("/v1/completions", b" " * 60000)[0] == 400)[0]
    print("many")


def killed():
    """After the server ends, the port is free at once."""
    with Server(model) as server:
        with server.raw() as raw:
            raw.sendall(HEAD)
            port = server.port
            server.stop(signal.SIGKILL)
    with Server(model, "--port", str(port)) as server:  # the last --port counts
        assert server.port == port and server.get("/health")[0] == 200
        second = Server(model, "--port", str(port), wait=False)
        assert second.stop(0) == 1 and second.find_line("Address already in use")
    print("killed")


def full_disk():
    """If messages cannot be printed, only they are lost."""
    with Server(model) as free:
        port = free.port
    with open("/dev/full", "w") as full:
        server = Server(model, "--port", str(port), wait=False, stderr=full)
    with server:
        server.host, server.port, server.address = "127.0.0.1", port, "http://"

        def is_ready():
            try:
                return server.get("/ready")[0] == 200
            except OSError:
                return False

        assert server.wait_for(is_ready, 60)[0]
        assert server.get("/v1/models")[0] == 200 and server.stop() == 0
    print("full disk")


def signals():
    for number in (signal.SIGTERM, signal.SIGINT):
        with Server(model) as server:
            server.process.send_signal(signal.SIGPIPE)
            server.process.send_signal(signal.SIGXFSZ)
            assert server.get("/health")[0] == 200
            assert server.stop(number) == 0 and server.find_line("draining"), server.lines
    print("signals")


open_files()
slow()
many()
killed()
full_disk()
signals()
