#!/usr/bin/env python3
"""Usage: container.py FOLDER. Carries out examples/container/Containerfile without a container engine: every stage is
a bare Debian 12 of debootstrap in FOLDER, and RUN runs in it. Then the server of the last stage answers. Needs root,
and a mirror: $MIRROR, or deb.debian.org. An instruction that this does not know fails."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILE = ROOT / "examples/container/Containerfile"
IMAGES = {"debian:bookworm", "debian:bookworm-slim"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Stage:
    def __init__(self, folder):
        self.root, self.folder, self.user, self.variables, self.entry = folder, "/", "root", {}, None
        subprocess.run(["debootstrap", "--variant=minbase", "bookworm", folder,
                        os.environ.get("MIRROR", "http://deb.debian.org/debian")], check=True, stdout=subprocess.DEVNULL)
        if os.path.exists("/etc/resolv.conf"):
            shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")

    def command(self, words):
        """A command line that runs words inside; its mounts and processes end with it."""
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c",
                'mount -t proc proc "$1/proc" && root=$1 folder=$2 user=$3 && shift 3 && '
                'exec chroot --userspec="$user" "$root" sh -c \'cd "$0" && exec "$@"\' "$folder" "$@"',
                "sh", self.root, self.folder, self.user, *words]

    def environment(self):
        return {"PATH": PATH, "HOME": "/", "LC_ALL": "C.UTF-8", **self.variables}

    def run(self, line):
        subprocess.run(self.command(["sh", "-c", line]), env=self.environment(), check=True)

    def path(self, name):
        return self.root / os.path.join(self.folder, name).lstrip("/")


def copy(stages, stage, line):
    source = re.fullmatch(r"(?:--from=(\w+) )?(\S+) (\S+)", line)
    to = stage.path(source[3])
    if source[1]:
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(stages[source[1]].path(source[2]), to)
    else:  # what is committed, or would be
        assert source[2] == "."
        to.mkdir(parents=True)
        files = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                               check=True, capture_output=True).stdout
        subprocess.run(["cpio", "-0", "-pdm", "--quiet", to], input=files, cwd=ROOT, check=True)


def carry_out(folder):
    stages, stage = {}, None
    text = re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.M).replace("\\\n", "")
    for instruction in filter(None, text.split("\n")):
        print("==", instruction, flush=True)
        name, line = instruction.split(maxsplit=1)
        if name == "FROM":
            image = re.fullmatch(r"(\S+)(?: AS (\w+))?", line)
            assert image[1] in IMAGES, image[1]
            stage = stages[image[2] or ""] = Stage(folder / f"stage-{len(stages)}")
        elif name == "RUN":
            stage.run(line)
        elif name == "COPY":
            copy(stages, stage, line)
        elif name == "WORKDIR":
            stage.folder = line
            stage.path("").mkdir(parents=True, exist_ok=True)
        elif name == "ARG":
            stage.variables |= [line.split("=", 1)]
        elif name == "USER":
            stage.user = line
        elif name == "ENTRYPOINT":
            stage.entry = json.loads(line)
        else:
            assert name == "EXPOSE", instruction
    return stage


def answers(stage):
    with subprocess.Popen(stage.command(stage.entry), env=stage.environment(), start_new_session=True) as server:
        try:
            for _ in range(200):
                time.sleep(0.1)
                try:
                    request = urllib.request.Request(
                        "http://127.0.0.1:8080/v1/completions", headers={"Content-Type": "application/json"},
                        data=json.dumps({"model": "model", "prompt": "In the beginning", "max_tokens": 8}).encode())
                    with urllib.request.urlopen(request, timeout=30) as answer:
                        return json.load(answer)["choices"][0]["text"]
                except ConnectionError:
                    continue
                except urllib.error.URLError as error:
                    assert isinstance(error.reason, ConnectionError), error
        finally:
            os.killpg(server.pid, signal.SIGKILL)
    raise AssertionError("no answer")


folder = pathlib.Path(sys.argv[1]).resolve()
shutil.rmtree(folder, ignore_errors=True)
folder.mkdir(parents=True)
last = carry_out(folder)
print("answers:", repr(answers(last)))
print("size:", subprocess.run(["du", "-sh", last.root], capture_output=True, text=True).stdout.split()[0])
shutil.rmtree(folder)
