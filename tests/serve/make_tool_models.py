"""Usage: make_tool_models.py CHECKPOINT OUT. Copies of a checkpoint whose chat templates tell tools: OUT/hermes and
OUT/llama3, each in the form of the models of that name."""
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

source, out = sys.argv[1:]
for name, tell in TELL.items():
    folder = os.path.join(out, name)
    shutil.copytree(source, folder, dirs_exist_ok=True)
    path = os.path.join(folder, "tokenizer_config.json")
    with open(path) as file:
        config = json.load(file)
    config["chat_template"] = TEMPLATE.replace("TELL", tell)
    with open(path, "w") as file:
        json.dump(config, file)
