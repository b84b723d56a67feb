"""Generates with stop strings cut from the text without stop strings, and with some that never occur. The text
must end before the stop string that is complete first, and must be whole if none occurs."""
import json
import random
import subprocess
import sys

module, reference = sys.argv[1:]
text = open(reference, encoding="utf-8").read()[:-1]
assert len(text) > 60, text
rng = random.Random(7)


def generate(stops):
    arguments = [argument for stop in stops for argument in ("--stop", stop)]
    command = ["rsr-run", module, "-p", "In the beginning", "-n", "48", "--temp", "0", "--json", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


for i in range(24):
    stops = []
    for _ in range(rng.randint(1, 3)):
        begin = rng.randrange(len(text) - 12)
        stop = text[begin:begin + rng.randint(1, 12)]
        # The middle stop strings begin like the text and continue differently: text held back for them
        # must be printed in the end.
        stops.append(stop if rng.random() < 0.6 else stop + "\x01")
    found = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    result = generate(stops)
    expected = text[:min(found)[1]] if found else text
    assert result["text"] == expected, (stops, result["text"], expected)
    assert result["stop_reason"] == ("stop_string" if found else "length"), (stops, result)
