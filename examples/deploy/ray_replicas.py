"""Replicas of rsr-serve on Ray Serve (pip install 'ray[serve]' httpx), which starts more of them under load.

    MODULE=/models/kjv.so serve run ray_replicas:app        # http://127.0.0.1:8000

Every replica is an actor with an rsr-serve of its own on a free port. Ray restarts replicas whose check_health fails;
what was in flight there is lost, and nothing else.
"""
import os
import subprocess
import tempfile

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from ray import serve

MODULE = os.environ.get("MODULE", "kjv.so")
THREADS = int(os.environ.get("THREADS", "1"))
api = FastAPI()


@serve.deployment(
    ray_actor_options={"num_cpus": THREADS},
    max_ongoing_requests=64,  # rsr-serve evaluates 16 of them together, and the others wait there
    autoscaling_config={"min_replicas": int(os.environ.get("REPLICAS", "1")),
                        "max_replicas": int(os.environ.get("MOST_REPLICAS", "8")),
                        "target_ongoing_requests": 16},
    health_check_period_s=1, health_check_timeout_s=2, graceful_shutdown_timeout_s=40)
@serve.ingress(api)
class Replica:
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        path = os.path.join(self.folder.name, "socket")
        self.server = subprocess.Popen(["rsr-serve", MODULE, "--unix", path, "--threads", str(THREADS)])
        transport = httpx.AsyncHTTPTransport(uds=path, retries=20)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=600)

    async def check_health(self):
        if self.server.poll() is not None:
            raise RuntimeError(f"rsr-serve has ended with {self.server.returncode}")

    @api.api_route("/{path:path}", methods=["GET", "POST"])
    async def forward(self, path: str, request: Request):
        asked = self.client.build_request(request.method, "/" + path, content=await request.body(),
                                          headers={"Content-Type": "application/json"})
        answer = await self.client.send(asked, stream=True)
        return StreamingResponse(answer.aiter_raw(), answer.status_code, {"X-Replica": str(os.getpid())},
                                 answer.headers.get("Content-Type"), background=None)

    def __del__(self):
        self.server.terminate()  # it finishes what it has accepted
        self.server.wait()


app = Replica.bind()
