"""Runs the loop three times. Every text must equal rsr-run's text for its prompt alone; the text of the
cancelled request must be a beginning of that."""
import pathlib
import re
import subprocess
import sys

loop, module, source = sys.argv[1:]
table = re.search(r"prompts\[N_REQUESTS\] = \{(.*?)\};", pathlib.Path(source).read_text(), re.S).group(1)
PROMPTS = re.findall(r'"([^"]*)"', table)
assert len(PROMPTS) == 6, PROMPTS


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


alone = [prompt + run("rsr-run", module, "-p", prompt, "-n", "48", "--temp", "0") for prompt in PROMPTS]
for _ in range(3):
    lines = run(loop, module, "48")
    for text in alone:
        text = text.removesuffix("\n")
        whole = f"[length] {text}\n"
        if whole in lines:
            lines = lines.replace(whole, "", 1)
            continue
        end, rest = re.match(r"\[(\w+)\] (.*?)\n(?=\[|\Z)", lines, re.S).groups()
        assert end == "cancelled" and text.startswith(rest), (end, rest, text)
        lines = lines.replace(f"[{end}] {rest}\n", "", 1)
    assert lines == "", lines
