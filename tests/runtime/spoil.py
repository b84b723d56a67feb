"""Spoils copies of a module and checks that rsr-run --verify names what has changed, in one sentence, with exit
status 1 and no signal: spoil.py MODULE WORK. It changes one bit of every section in turn, then bytes anywhere,
most of them in headers, tables and the note."""
import json
import pathlib
import random
import subprocess
import sys

module, work = pathlib.Path(sys.argv[1]).read_bytes(), pathlib.Path(sys.argv[2])
spoilt = work / "spoilt.so"
NOTE = b"rsrc-module\0"


def verify(content, *arguments):
    spoilt.write_bytes(content)
    ran = subprocess.run(["rsr-run", spoilt, "--verify", *arguments], capture_output=True, text=True)
    if ran.returncode not in (0, 1) or (ran.returncode == 1) != (ran.stderr.count("\n") == 1):
        sys.exit(f"exit status {ran.returncode}: {ran.stderr}")
    return ran


def flip(at, mask=1):
    return module[:at] + bytes([module[at] ^ mask]) + module[at + 1:]


whole = verify(module, "--json")
sections = json.loads(whole.stdout)["sections"]
assert whole.returncode == 0 and len(sections) > 20 and all(section["ok"] for section in sections)
covered = sum(section["bytes"] for section in sections)
note_bytes = len(module) - covered
at = module.index(NOTE) - 12
assert 0 < note_bytes < 5000 and all(not begin < at + note_bytes or not at < begin + n for begin, n in
                                     [(section["begin"], section["bytes"]) for section in sections])

for section in sections:
    for byte in (section["begin"], section["begin"] + section["bytes"] - 1):
        text = verify(flip(byte, 0x10)).stderr
        # A file that is not readable ELF is refused as such.
        if section["name"] != "headers" and f"section {section['name']} (" not in text:
            sys.exit(f"{section['name']}: {text}")
        assert section["name"] != "headers" or "m.so" in text or "spoilt.so" in text
        many = json.loads(verify(flip(byte, 0x10), "--json").stdout or '{"sections": []}')["sections"]
        assert section["name"] == "headers" or [s["name"] for s in many if not s["ok"]] == [section["name"]]
for byte in range(at, at + note_bytes, 7):
    assert verify(flip(byte)).returncode == 1, f"byte {byte} of the note"
for content, words in ((module + b"x", "has grown"), (module[:-1], "was cut off")):
    text = verify(content).stderr
    assert words in text, text

rng = random.Random(1)
names = [section["name"] for section in sections]
places = [0, 64, 512, at] + [section["begin"] for section in sections]
for _ in range(300):
    content = bytearray(module)
    for _ in range(rng.choice((1, 1, 3))):
        begin = rng.choice(places)
        content[min(begin + rng.randrange(256), len(content) - 1)] ^= rng.randrange(1, 256)
    if bytes(content) != module and verify(bytes(content), *rng.choice(([], ["-p", "x"]))).returncode != 1:
        sys.exit("a change is not found")
print(*names)
