"""usage: check_schema.py SCHEMA REPORT...: checks the reports against the schema. Every key of the schema must have a
description, and occur in some report; --not-seen=KEY,... lists keys that need not occur, with everything in them."""
import json
import sys

TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int,
         "number": (int, float)}
# The keywords of JSON Schema that this script knows; the schema may use no others.
WORDS = {"$schema", "$defs", "$ref", "title", "description", "type", "properties", "required", "additionalProperties",
         "items", "enum", "minimum"}


class Check:
    def __init__(self, schema):
        self.schema, self.errors, self.seen, self.used = schema, [], set(), set()

    def is_of(self, value, name):
        return isinstance(value, TYPES[name]) and (not isinstance(value, bool) or name == "boolean")

    def check_value(self, value, schema, place):
        if "$ref" in schema:
            name = schema["$ref"].removeprefix("#/$defs/")
            self.used.add(name)
            schema = self.schema["$defs"][name]
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(self.is_of(value, name) for name in names):
            self.errors.append(f"{place}: not {' or '.join(names)}")
        elif "enum" in schema and value not in schema["enum"]:
            self.errors.append(f"{place}: {value!r} is none of {schema['enum']}")
        elif "minimum" in schema and value is not None and value < schema["minimum"]:
            self.errors.append(f"{place}: {value} is below {schema['minimum']}")
        elif isinstance(value, dict):
            self.check_object(value, schema, place)
        elif isinstance(value, list):
            for i, item in enumerate(value):
                self.check_value(item, schema["items"], f"{place}[{i}]")

    def check_object(self, value, schema, place):
        self.errors += [f"{place}: {key} is missing" for key in schema["required"] if key not in value]
        for key in value:
            if key not in schema["properties"]:
                self.errors.append(f"{place}: {key} is not described")
            else:
                self.seen.add((id(schema["properties"]), key))
                self.check_value(value[key], schema["properties"][key], f"{place}.{key}")

    def check_schema(self, schema, place, not_seen):
        """Checks the schema itself."""
        self.errors += [f"{place}: {word} is not read" for word in schema.keys() - WORDS]
        if "$ref" not in schema and not schema.get("description"):
            self.errors.append(f"{place}: no description")
        for key, value in schema.get("properties", {}).items():
            is_seen = (id(schema["properties"]), key) in self.seen
            if not is_seen and key not in not_seen:
                self.errors.append(f"{place}.{key}: no report has it")
            elif is_seen:
                self.check_schema(value, f"{place}.{key}", not_seen)
        for key, value in schema.get("$defs", {}).items():
            if key in self.used:
                self.check_schema(value, f"{place}.$defs.{key}", not_seen)
        if "items" in schema:
            self.check_schema(schema["items"], f"{place}[]", not_seen)


not_seen = {key for word in sys.argv if word.startswith("--not-seen=") for key in word[11:].split(",")}
files = [word for word in sys.argv[1:] if not word.startswith("--")]
check = Check(json.load(open(files[0])))
for path in files[1:]:
    check.check_value(json.load(open(path)), check.schema, path)
check.check_schema(check.schema, "schema", not_seen)
sys.exit("\n".join(check.errors[:20]) if check.errors or len(files) < 2 else 0)
