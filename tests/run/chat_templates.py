"""Runs rsr-run --chat with the chat templates of published forms, each in a copy of a model.

usage: chat_templates.py MODEL FIXTURES FOLDER NAME...    FIXTURES is tests/tokenizer/make_chat_fixtures.py

Prints a line for each: its name, and how many prompts were answered or the sentence that refused one.
"""
import ast
import os
import subprocess
import sys

model, fixtures, folder, *names = sys.argv[1:]
# The templates are literals there; the file itself needs transformers.
for statement in ast.parse(open(fixtures, encoding="utf-8").read()).body:
    if isinstance(statement, ast.Assign) and statement.targets[0].id == "MODELS":
        templates = ast.literal_eval(statement.value)
for name in names:
    copy = os.path.join(folder, name)
    os.makedirs(copy, exist_ok=True)
    for file in os.listdir(model):
        link = os.path.join(copy, file)
        if not os.path.lexists(link):
            os.symlink(os.path.join(model, file), link)
    with open(os.path.join(copy, "chat_template.jinja"), "w", encoding="utf-8", newline="") as out:
        out.write(templates[name])
    module = os.path.join(folder, name + ".so")
    subprocess.run(["rsrc", copy, "--target", "native", "-o", module], check=True)
    for system in ([], ["--system", "Be short"]):
        run = subprocess.run(["rsr-run", module, "--chat", "-n", "4", *system], text=True,
                             input='Who art thou?\nSay "{{ x }}" {% again %}\n', capture_output=True)
        refusals = [line for line in run.stderr.splitlines() if "chat template" in line]
        answers = sum(line.startswith("prompt ") for line in run.stderr.splitlines())
        kind = "with a system message" if system else "without one"
        print(f"{name} {kind}: exit {run.returncode}, {answers} answers" +
              "".join(f", {line}" for line in refusals))
