"""Usage: client_examples.py README.md MODEL.so [PYTHON]. Checks the README's commands for clients: curl's and, if
PYTHON has it, openai-python's."""
import re
import subprocess
import sys

from server import Server


def run_examples(text, python=None):
    """Runs the commands that a text shows by indentation; PYTHON runs the examples in Python."""
    commands = [["sh", "-c", example] for example in find_examples(text, "curl ")]
    assert commands, text
    for example in find_examples(text, "from openai") if python else ():
        commands.append([python, "-c", example])
    for command in commands:
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
        if command[0] == "sh":
            events = re.findall(r'^data: \{.*"(?:text|content)":"', said, re.M)
            assert events and said.rstrip().endswith("data: [DONE]"), (command, said)
        assert said, command


def find_examples(text, begin):
    for example in re.findall(rf"^    {begin}.*(?:\n    .*)*", text, re.M):
        yield "\n".join(line.removeprefix("    ") for line in example.splitlines())


if __name__ == "__main__":
    readme, model, *python = sys.argv[1:]
    with Server("kjv=" + model) as server:
        with open(readme) as file:
            run_examples(file.read().replace("127.0.0.1:8080", f"127.0.0.1:{server.port}"), *python)
    print("all is as it should be")
