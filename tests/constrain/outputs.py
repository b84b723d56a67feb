"""outputs.py RSR_RUN MODEL.so N: checks that N texts that rsr-run generates with --json-schema, at temperature 1.5 and
from all tokens, are JSON that Python's jsonschema finds valid. Texts that do not end within 480 tokens, because a map
or tree continues, do not count."""
import json
import os
import subprocess
import sys
import tempfile

import jsonschema

program, model, n_texts = sys.argv[1], sys.argv[2], int(sys.argv[3])
PERSON = {"type": "object", "properties": {
    "name": {"type": "string", "minLength": 3, "maxLength": 20, "description": "of a person"},
    "age": {"type": "integer", "minimum": 0, "maximum": 969},
    "tribe": {"enum": ["Judah", "Levi", "Dan", None]},
    "sons": {"type": "array", "items": {"type": "string", "maxLength": 8}, "minItems": 1, "maxItems": 3},
    "alive": {"type": "boolean"}}, "required": ["name", "sons"], "additionalProperties": False}
SCHEMAS = [
    PERSON,
    {"type": "string", "minLength": 5, "maxLength": 40},
    {"type": "array", "items": {"type": "number", "minimum": -273.15, "exclusiveMaximum": 1000}, "maxItems": 6},
    {"type": "array", "items": {"type": ["number", "null"]}, "minItems": 2, "maxItems": 4},
    {"type": "array", "items": {"type": "integer", "exclusiveMinimum": -17, "maximum": 4021}, "minItems": 3, "maxItems": 9},
    {"anyOf": [{"const": {"verse": 3, "of": ["Jude", 1.5]}}, PERSON, {"type": "string", "maxLength": 3}]},
    {"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "properties": {
        "value": {"type": "integer", "minimum": 1, "maximum": 9},
        "below": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2}}, "required": ["value"]}}},
    {"type": "object", "additionalProperties": {"anyOf": [{"type": "boolean"}, {"type": "string", "maxLength": 9}]}},
    {"type": "object", "properties": {name: {"type": "object", "properties": {"at": {"type": "number", "exclusiveMinimum": 0}}}
                                      for name in ("north", "south", "east", "west", "\u00e4\"\\\n")}},
    {"type": "string", "maxLength": 0},
]


def generate(schema_file, seed):
    out = subprocess.run([program, model, "-p", "And it came to pass, that ", "--json-schema", schema_file, "--temp", "1.5", "--top-k",
                          "0", "--top-p", "1", "--repeat-penalty", "1", "-n", "480", "--seed", str(seed), "--json"],
                         check=True, capture_output=True, text=True).stdout
    return json.loads(out)


n_valid = n_cut = 0
with tempfile.TemporaryDirectory() as folder:
    while n_valid < n_texts:
        seed = n_valid + n_cut
        schema = SCHEMAS[seed % len(SCHEMAS)]
        path = os.path.join(folder, "schema.json")
        with open(path, "w") as file:
            json.dump(schema, file)
        result = generate(path, seed)
        if result["stop_reason"] == "length" and n_cut < 0.15 * n_texts:  # maps and trees may continue: such a text has no end
            n_cut += 1
            continue
        if result["stop_reason"] != "stop_token":
            sys.exit(f"text {seed} ended by {result['stop_reason']}: {result['text']!r}")
        try:
            jsonschema.validate(json.loads(result["text"]), schema)
        except (ValueError, jsonschema.ValidationError) as error:
            sys.exit(f"text {seed} {result['text']!r}: {error}")
        n_valid += 1
print(f"{n_valid} texts are valid; {n_cut} were cut by their length")
