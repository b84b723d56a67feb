"""usage: spoil_names.py MODEL: gives the model a chat template with text that could end a script
and begin another."""
import json
import pathlib
import sys

path = pathlib.Path(sys.argv[1]) / "tokenizer_config.json"
config = json.loads(path.read_text()) if path.exists() else {}
config["chat_template"] = "{{ '</script/ ><!--<script ><script>window.owned = 1</script><img src=x onerror=window.owned=1>&lt;\u2028\u2029' }}"
path.write_text(json.dumps(config, ensure_ascii=False))
