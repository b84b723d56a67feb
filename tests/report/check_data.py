"""usage: check_data.py PAGE N: checks that the JSON in a page of rsr-bench compare has N results, and no keys that the
page does not use."""
import json
import re
import sys

text = open(sys.argv[1]).read()
found = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
assert len(found) == 1 and not re.search("[<>&\u2028\u2029]", found[0])
compared = json.loads(found[0])["compare"]
assert len(compared) == int(sys.argv[2]), len(compared)
assert {entry["kind"] for entry in compared} == {"kernel", "model", "attention", "report"}
assert '"map":' not in found[0] and '"alternatives"' not in found[0]
