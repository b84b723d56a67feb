"""Usage: quickstart.py [PYTHON]. `examples/quickstart.sh --serve` starts a server, which answers the requests that the
script suggests: with curl, and with openai-python if PYTHON has it. A signal stops the server."""
import pathlib
import signal
import socket
import sys
import tempfile

from client_examples import run_examples
from server import Server

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "examples" / "quickstart.sh"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


port = str(free_port())
with tempfile.TemporaryFile("w+") as out:
    with Server("--port", port, program=(SCRIPT, "--no-install", "--serve"), stdout=out, timeout=1200) as server:
        assert server.port == int(port) and server.get("/health")[0] == 200
        out.seek(0)
        said = out.read()
        run_examples(said, *sys.argv[1:])
        assert server.stop(signal.SIGINT) == 0
        assert "In the beginning is before me" in said and "Ctrl-C" in said
print("started, answered, stopped")
