"""usage: ray_load.py EXAMPLES/deploy MODULE.so     (a Python with ray[serve] and httpx)

Runs examples/deploy/ray_replicas.py with two replicas, and kills one under load: only what was in flight there is lost,
and Ray starts another one."""
import os
import signal
import sys
import threading
import time

os.environ.update(MODULE=os.path.abspath(sys.argv[2]), REPLICAS="2", MOST_REPLICAS="2", RAY_USAGE_STATS_ENABLED="0",
                  RAY_DEDUP_LOGS="0", PYTHONPATH=sys.argv[1])
sys.path.insert(0, sys.argv[1])
import httpx
import ray
from ray import serve

import ray_replicas

ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": sys.argv[1]}})
serve.start(http_options={"host": "127.0.0.1", "port": 8123})
serve.run(ray_replicas.app)
URL = "http://127.0.0.1:8123/v1/completions"
WORKERS = 6
name = os.path.basename(sys.argv[2]).removesuffix(".so")


def ask(i):
    """Returns the replica's process and the text; an empty replica: the request failed."""
    try:
        answer = httpx.post(URL, timeout=60, json={"model": name, "prompt": f"And {i} men", "max_tokens": 60, "seed": i})
        if answer.status_code == 200:
            return answer.headers["X-Replica"], answer.json()["choices"][0]["text"]
        print("status", answer.status_code, file=sys.stderr)
    except httpx.HTTPError as error:
        print(repr(error), file=sys.stderr)
    return "", None


results, ends = [], threading.Event()


def work(worker):
    i = 0
    while not ends.is_set():
        results.append((i % 10, *ask(i % 10)))
        i += 1


for _ in range(100):
    if ask(0)[0]:
        break
    time.sleep(0.3)
threads = [threading.Thread(target=work, args=(w,)) for w in range(WORKERS)]
for thread in threads:
    thread.start()
time.sleep(3)
before = {replica for _, replica, _ in results}
victim = next(iter(before))
os.kill(int(victim), signal.SIGKILL)
time.sleep(12)
ends.set()
for thread in threads:
    thread.join()
failed = sum(not replica for _, replica, _ in results)
after = {replica for _, replica, _ in results if replica}
texts = {(i, text) for i, replica, text in results if replica}
print(f"{len(results)} requests, {failed} lost, {len(after)} replicas")
serve.shutdown()
ray.shutdown()
assert len(before) == 2, "two replicas share the load"
assert failed <= WORKERS, "more than what was in flight was lost"
assert len(after) >= 3, "another replica took the place of the killed one"
assert len(texts) == 10, "equal requests have equal answers"
print("ray: all as expected")
