"""usage: haproxy.py CONFIG MODULE.so FOLDER

Runs examples/deploy/haproxy.cfg on free ports with two replicas: equal beginnings stay on one, others are shared out,
both give the same bytes, and when one is killed the other answers."""
import concurrent.futures
import http.client
import json
import socket
import subprocess
import sys
import time

config, module, folder = sys.argv[1:4]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


ports = {old: free_port() for old in ("8080", "8081", "8082")}
text = open(config).read()
for old, new in ports.items():
    assert f"127.0.0.1:{old}" in text
    text = text.replace(f"127.0.0.1:{old}", f"127.0.0.1:{new}")
open(f"{folder}/haproxy.cfg", "w").write(text)
subprocess.run(["haproxy", "-c", "-q", "-f", f"{folder}/haproxy.cfg"], check=True)
log = open(f"{folder}/log", "w")
servers = {name: subprocess.Popen(["rsr-serve", f"kjv={module}", "--port", str(ports[old]), "--threads", "1"], stderr=log)
           for name, old in (("r1", "8081"), ("r2", "8082"))}
proxy = subprocess.Popen(["haproxy", "-f", f"{folder}/haproxy.cfg"], stderr=log)


def ask(prompt):
    """Returns the replica and the text."""
    connection = http.client.HTTPConnection("127.0.0.1", ports["8080"], timeout=60)
    body = {"model": "kjv", "prompt": prompt, "max_tokens": 12, "seed": 8}
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        return None, answer.status
    return answer.headers["X-Replica"], json.loads(content)["choices"][0]["text"]


def wait_until(ready, seconds=30):
    for _ in range(seconds * 10):
        try:
            if ready():
                return
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit("it did not become ready")


try:
    prompts = [f"In the year {i} " + "of the king " * 40 for i in range(8)]
    wait_until(lambda: ask(prompts[0])[0])
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        first = list(pool.map(ask, prompts))
        again = list(pool.map(ask, prompts))
    assert first == again, "equal beginnings stay on one replica, and give equal texts"
    assert {replica for replica, _ in first} == {"r1", "r2"}, "new ones are shared out"
    servers["r1"].kill()
    servers["r1"].wait()
    later = [ask(prompt) for prompt in prompts]
    failed = sum(replica is None for replica, _ in later)
    assert failed <= 3, f"{failed} requests failed before the check of a second"
    wait_until(lambda: all(ask(prompt)[0] == "r2" for prompt in prompts))
    assert [text for _, text in map(ask, prompts)] == [text for _, text in first], "the same bytes from the other one"
    print("haproxy: all as expected")
finally:
    proxy.terminate()
    for server in servers.values():
        server.kill()
