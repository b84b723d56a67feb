"""Starts rsr-serve for a test, and sends requests over HTTP with only the standard library.

    with Server("kjv=kjv.so", "--slots", "4") as server:
        status, answer = server.post("/v1/completions", {"model": "kjv", "prompt": "In the"})
        for event in server.stream("/v1/completions", {..., "stream": True}):
            ...

It listens on any free port of 127.0.0.1, or with unix=PATH there.
"""
import contextlib
import http.client
import json
import signal
import socket
import ssl
import subprocess
import threading
import time


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Server:
    def __init__(self, *options, unix=None, program=("rsr-serve",), wait=True, timeout=120, **popen):
        where = ["--unix", unix] if unix else ["--port", "0"]
        self.unix, self.timeout, self.address, self.lines = unix, timeout, None, []
        self.changed = threading.Condition()
        popen = {"stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "text": True, "errors": "replace", **popen}
        self.process = subprocess.Popen([*program, *where, *options], **popen)
        self.reader = threading.Thread(target=self.read_lines, daemon=True)
        self.reader.start()
        if wait:
            self.wait_ready()

    def read_lines(self):
        for line in self.process.stderr or ():
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.lines.append(None)  # the end
            self.changed.notify_all()

    def find_line(self, text):
        return next((line for line in self.lines if line and text in line), None)

    def wait_line(self, text):
        """Waits for the first line on stderr that contains the text."""
        with self.changed:
            done = lambda: self.find_line(text) or None in self.lines
            assert self.changed.wait_for(done, self.timeout), f"no line with '{text}': {self.lines}"
            assert self.find_line(text), f"rsr-serve has ended: {self.lines}"
            return self.find_line(text)

    def wait_ready(self):
        self.address = self.wait_line("ready at ").split("ready at ")[1]
        if not self.unix:
            self.host, port = self.address.split("://")[1].rsplit(":", 1)
            self.host, self.port = self.host.strip("[]"), int(port)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop(signal.SIGKILL)
        if self.process.stderr:
            self.process.stderr.close()

    def stop(self, number=signal.SIGTERM):
        """Sends the signal, if it is not 0, and returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(self.timeout)
        self.reader.join(self.timeout)
        assert not self.find_line("Sanitizer"), "\n".join(line for line in self.lines if line)
        return status

    # ---- Requests --------------------------------------------------------------------------------

    def connect(self):
        """A connection of http.client."""
        if self.unix:
            return UnixConnection(self.unix, self.timeout)
        if self.address.startswith("https"):
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            return http.client.HTTPSConnection(self.host, self.port, timeout=self.timeout, context=context)
        return http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)

    def raw(self):
        """A socket that is connected; without TLS."""
        if self.unix:
            connection = self.connect()
            connection.connect()
            return connection.sock
        return socket.create_connection((self.host, self.port), timeout=self.timeout)

    @contextlib.contextmanager
    def response(self, method, path, body=None, headers=None):
        """Sends a request. Returns an http.client.HTTPResponse whose body is not read yet. body: bytes, or
        an object for JSON."""
        connection = self.connect()
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body=body, headers=headers)
            yield connection.getresponse()
        finally:
            connection.close()

    def ask(self, method, path, body=None, headers=None):
        """Status, headers, and the body: parsed, if it is JSON."""
        with self.response(method, path, body, headers) as response:
            data = response.read()
            is_json = response.headers.get("Content-Type", "").startswith("application/json")
            return response.status, response.headers, json.loads(data) if is_json and data else data

    def get(self, path, headers=None):
        status, _, answer = self.ask("GET", path, headers=headers)
        return status, answer

    def post(self, path, body, headers=None):
        status, _, answer = self.ask("POST", path, body, headers)
        return status, answer

    def stream(self, path, body, headers=None):
        """The parsed events of a stream; the last one, "[DONE]", is not parsed. A refusal
        raises."""
        with self.response("POST", path, body, headers) as response:
            assert response.status == 200, (response.status, response.read())
            for line in response:
                if line.startswith(b"data: "):
                    data = line[len(b"data: "):].rstrip(b"\r\n").decode()
                    yield data if data == "[DONE]" else json.loads(data)

    def metric(self, name):
        """The value of a counter or gauge of /metrics, without labels."""
        _, text = self.get("/metrics")
        lines = [line.split() for line in text.decode().splitlines()]
        return sum(float(words[1]) for words in lines if words and words[0].split("{")[0] == name)

    def wait_for(self, condition, seconds=10):
        """Whether a condition becomes true in time, and after how long."""
        begin = time.monotonic()
        while time.monotonic() - begin < seconds:
            if condition():
                return True, time.monotonic() - begin
            time.sleep(0.01)
        return False, time.monotonic() - begin
