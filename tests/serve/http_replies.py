"""Usage: http_replies.py HTTP_REPLIES [ROUNDS]. Sends requests to the server of http_replies.c from many threads;
some disconnect early."""
import concurrent.futures
import contextlib
import random
import signal
import sys
import time

from server import Server

program, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1


def counts(server):
    return server.get("/counts")[1]


def ask(server, draw):
    """Receives the whole reply in order, or disconnects early."""
    n = draw.randrange(1, 60)
    kind = draw.choice(["plain", "stream", "stream", "leave", "leave before"])
    if kind == "plain":
        assert server.post("/plain", n) == (200, str(n).encode())
    elif kind == "stream":
        assert list(server.stream("/stream", n)) == list(range(1, n + 1))
    elif kind == "leave":
        with contextlib.closing(server.stream("/never" if n % 2 else "/stream", 100000)) as events:
            next(events)
    else:
        with server.raw() as raw:
            body = str(n + 100000).encode()
            raw.sendall(b"POST /plain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                        b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            time.sleep(draw.random() / 20)
    return kind.startswith("leave")


def keep(server):
    """Several requests on one connection."""
    connection = server.connect()
    for n in range(1, 20):
        connection.request("POST", "/plain" if n % 2 else "/stream", str(n).encode(),
                           {"Content-Type": "application/json"})
        response = connection.getresponse()
        data = response.read()
        assert data == str(n).encode() if n % 2 else data.count(b"data: ") == n, (n, data)
    connection.close()


def comments(server):
    """A silent stream gets comments, and nothing that a client takes for an event."""
    with server.response("POST", "/never", 1) as response:
        begin = time.monotonic()
        assert [response.readline() for _ in range(2)] == [b"data: 1\n", b"\n"]
        assert response.headers["X-Accel-Buffering"] == "no" and response.headers["Cache-Control"] == "no-store"
        assert [response.readline() for _ in range(2)] == [b": keep-alive\n", b"\n"]
        assert 14 < time.monotonic() - begin < 25


with Server("x.so", program=[program]) as server, concurrent.futures.ThreadPoolExecutor(2) as pool:
    silent = pool.submit(comments, server)
    server.wait_for(lambda: counts(server)["begun"] == 1)
    before, left = counts(server), 0
    for seed in range(rounds):
        draw = random.Random(seed)
        with concurrent.futures.ThreadPoolExecutor(32) as crowd:
            draws = [random.Random(draw.random()) for _ in range(300)]
            left += sum(crowd.map(lambda d: ask(server, d), draws))
            list(crowd.map(keep, [server] * 8))
    # The stream that gets comments continues; all other lost clients are noticed soon.
    is_over, seconds = server.wait_for(lambda: (c := counts(server))["begun"] == c["ended"] + (not silent.done()), 5)
    assert is_over and seconds < 1, counts(server)
    assert counts(server)["abandoned"] == left + silent.done(), (counts(server), left)
    print("everything came,", left, "clients left and were noticed")
    silent.result()
    print("comments came")

    # The server ends at once, even while clients wait.
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(contextlib.closing(server.stream("/never", 1))) for _ in range(100)]
        for stream in streams:
            next(stream)
        begin = time.monotonic()
        assert server.stop(signal.SIGTERM) == 0 and time.monotonic() - begin < 5
    print("the end")

# The answers of rsr-serve while it loads: every route except those of its state is refused.
with Server("loading=x.so", program=[program]) as server:
    assert server.get("/health")[1]["status"] == "loading" and server.get("/ready")[0] == 503
    for method, route in (("GET", "/v1/models"), ("GET", "/metrics"), ("GET", "/slots"), ("GET", "/report.json"),
                          ("POST", "/v1/completions"), ("POST", "/tokenize"), ("GET", "/tokenizer_info")):
        status, headers, answer = server.ask(method, route, {} if method == "POST" else None)
        assert (status, answer["error"]["code"]) == (503, "loading") and headers["Retry-After"], route
    assert server.stop() == 0
print("loading")
