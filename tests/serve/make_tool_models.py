"""Usage: make_tool_models.py CHECKPOINT OUT. Makes copies of a checkpoint whose chat templates list tools:
OUT/hermes and OUT/llama3, in the forms of these models. OUT/llama3 has a special token that strips the white space
before it."""
import json
import os
import shutil
import sys

TELL = {"hermes": 'Call them by <tool_call>{"name": ..., "arguments": ...}</tool_call>',
        "llama3": 'Call them by {"name": function name, "parameters": dictionary of arguments}'}
TEMPLATE = """<|begin_of_text|>{% if tools %}{% for tool in tools %}{{ tool | tojson }} {% endfor %}TELL
{% endif %}{% for message in messages %}{{ message.role }}: {{ message.content }}{% for call in message.tool_calls or [] %}
[{{ call.function.name }} {{ call.function.arguments | tojson }}]{% endfor %}<|eot_id|>{% endfor %}
{%- if mood %}[{{ mood }}]{% endif %}{% if add_generation_prompt %}assistant: {% endif %}"""

def change(folder, name, how):
    path = os.path.join(folder, name)
    with open(path) as file:
        value = json.load(file)
    how(value)
    with open(path, "w") as file:
        json.dump(value, file)


def strip(tokens):
    next(token for token in tokens if token["content"] == "<|end_of_text|>")["lstrip"] = True


source, out = sys.argv[1:]
for name, tell in TELL.items():
    folder = os.path.join(out, name)
    shutil.copytree(source, folder, dirs_exist_ok=True)
    template = TEMPLATE.replace("TELL", tell)
    change(folder, "tokenizer_config.json", lambda config: config.update(chat_template=template))
    if name == "llama3":
        change(folder, "tokenizer.json", lambda tokenizer: strip(tokenizer["added_tokens"]))
        change(folder, "tokenizer_config.json", lambda config: strip(config["added_tokens_decoder"].values()))
