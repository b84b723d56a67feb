"""Usage: leave.py MODEL.so [SECONDS]. Tests clients that disconnect: their slots and memory must be free within SECONDS
(4, because the machine also does other work). Also tests a server that ends during requests. The model has a context of
4,096 tokens, which takes it seconds."""
import contextlib
import http.client
import json
import signal
import sys
import time

from server import Server

model, limit = "m=" + sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 4
# Texts that do not end before max_tokens.
NO_STOP = {"logit_bias": {"2046": -100, "2047": -100, "509": -100, "510": -100, "511": -100}}
SHORT, LONG = [7] * 5, [7 + i % 100 for i in range(3500)]


def body(prompt, max_tokens=4000, stream=False, **more):
    return {"model": "m", "prompt": prompt, "max_tokens": min(max_tokens, 4096 - len(prompt)), "stream": stream,
            **NO_STOP, **more}


def send(server, request):
    """A connection with an unfinished request."""
    connection = server.connect()
    connection.request("POST", "/v1/completions", json.dumps(request), {"Content-Type": "application/json"})
    return connection


def busy(server):
    return [slot for slot in server.get("/slots")[1] if slot["is_busy"]]


def is_free(server):
    return not busy(server) and server.metric("rsr_queue_requests") == 0 and \
        server.metric("rsr_kv_tokens_used") == 0


def leave_20(server, what, prompt, arrive):
    """20 clients disconnect, one after the other, with plain requests and streams. Their slots and
    memory are free in time."""
    n = 0
    for i in range(20):
        connection = send(server, body(prompt, stream=i % 2 == 0, seed=i))
        assert server.wait_for(arrive, 20)[0], "it has not come so far"
        time.sleep(0.02)
        connection.close()
        is_over, seconds = server.wait_for(lambda: is_free(server), 20)
        n += is_over and seconds < limit
    print(f"{what}: {n} of 20")


def leave():
    with Server(model, "--slots", "2", "--no-prefix-cache", "--timeout", "0") as server:
        leave_20(server, "decode", SHORT, lambda: any(slot["generated_tokens"] > 2 for slot in busy(server)))
        leave_20(server, "prefill", LONG,
                 lambda: any(0 < slot["evaluated_tokens"] < 3000 for slot in busy(server)))
        # Waiting clients disconnect; running ones continue.
        first = [send(server, body(SHORT, stream=True, seed=i)) for i in range(2)]
        answers = [connection.getresponse() for connection in first]
        n = 0
        for i in range(20):
            connection = send(server, body(SHORT, stream=i % 2 == 0))
            assert server.wait_for(lambda: server.metric("rsr_queue_requests") == 1)[0]
            connection.close()
            is_over, seconds = server.wait_for(lambda: server.metric("rsr_queue_requests") == 0)
            n += is_over and seconds < limit and len(busy(server)) == 2
        print(f"queue: {n} of 20")
        for answer in answers:
            assert answer.readline().startswith(b"data: ")
        for connection, answer in zip(first, answers):
            answer.close()
            connection.close()
        assert server.wait_for(lambda: is_free(server))[0]
        assert server.metric("rsr_requests_cancelled_total") == 62
        assert server.stop() == 0


def full():
    """The queue has a limit. A client that finds it full is told at once."""
    with Server(model, "--slots", "1", "--queue", "2") as server, contextlib.ExitStack() as stack:
        for n in range(3):
            stack.enter_context(contextlib.closing(send(server, body(SHORT))))
            assert server.wait_for(lambda: len(busy(server)) == 1 and server.metric("rsr_queue_requests") == n)[0]
        status, headers, answer = server.ask("POST", "/v1/completions", body(SHORT))
        assert status == 429 and int(headers["Retry-After"]) >= 1 and answer["error"]["type"], answer
    print("full")


def late():
    with Server(model, "--timeout", "1") as server:
        begin = time.monotonic()
        status, answer = server.post("/v1/completions", body(LONG[:2000], 2000))
        assert status >= 500 and set(answer) == {"error"} and time.monotonic() - begin < 10, (status, answer)
        last = list(server.stream("/v1/completions", body(SHORT, 4000, True)))[-1]
        assert set(last) == {"error"}, last
    print("late")


def drain():
    """Accepted requests are answered; no more are accepted."""
    with Server(model) as server:
        kept = server.connect()
        kept.request("GET", "/health")
        kept.getresponse().read()
        stream = server.stream("/v1/completions", body(SHORT, 400, True))
        next(stream)
        server.process.send_signal(signal.SIGTERM)
        server.wait_line("draining")
        assert server.wait_for(lambda: server.find_line("draining"))[0]
        try:
            kept.request("POST", "/v1/completions", json.dumps(body(SHORT)), {"Content-Type": "application/json"})
            answer = kept.getresponse()
            assert answer.status == 503 and json.loads(answer.read())["error"]["code"] == "draining"
        except (ConnectionError, http.client.BadStatusLine):
            assert False, "a connection that was kept was closed"
        with contextlib.suppress(ConnectionRefusedError):
            server.raw()
            assert False, "a connection was taken"
        rest = list(stream)
        assert rest[-1] == "[DONE]" and len(rest) > 100, rest[-2:]
        assert server.stop(0) == 0 and server.find_line("0 requests were cut off")
    print("drained")


def cut_off():
    for status, options, signals in ((0, ["--drain", "1"], 1), (128 + signal.SIGTERM, [], 2)):
        with Server(model, *options) as server:
            stream = server.stream("/v1/completions", body(SHORT, 4000, True))
            next(stream)
            begin = time.monotonic()
            for _ in range(signals):
                server.process.send_signal(signal.SIGTERM)
                server.wait_line("draining")
            assert server.stop(0) == status and time.monotonic() - begin < 10
            with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
                assert "[DONE]" not in list(stream)
        print("cut off" if signals == 1 else "ended twice")


leave()
full()
late()
drain()
cut_off()
