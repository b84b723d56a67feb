"""usage: spoil_measured.py BENCH RUN DIR: files that rsr-bench and rsr-run would not write, each wrong in one way."""
import json
import pathlib
import sys

bench, run = (json.load(open(path)) for path in sys.argv[1:3])
folder = pathlib.Path(sys.argv[3])
folder.mkdir()


def write(name, value):
    (folder / f"{name}.json").write_text(value if isinstance(value, str) else json.dumps(value))


write("bench-batch", {**bench, "batch": 2})
write("bench-deep", "[" * 65 + "]" * 65)
write("bench-field", {**bench, "profile": [{**bench["profile"][0], "us": -1}]})
write("bench-kind", {key: value for key, value in bench.items() if key != "profile"})
write("bench-large", "[" + "[]," * 200000 + "[]]")
write("bench-many", {**bench, "profile": bench["profile"] * 20})
write("bench-model", {**bench, "model_hash": "0" * 32})
write("bench-syntax", json.dumps(bench)[:-1])
write("bench-text", {**bench, "kv_type": 3})
write("bench-twice", '{"model_hash": "0", "model_hash": "0"}')
write("run-kind", {"text": "In the beginning"})
write("run-field", {**run, "attention": {**run["attention"], "keys": "many"}})
