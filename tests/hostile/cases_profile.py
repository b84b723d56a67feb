"""Bad profiles: each a valid one with one thing changed."""
import json
import os
import subprocess

from harness import Case

_valid = {}


def valid(folder):
    """The profile of a small model, made once a run."""
    work = folder.parent / ".valid"
    if not _valid:
        work.mkdir(exist_ok=True)
        subprocess.run(["rsr-mkmodel", "--preset", "tiny", "-o", str(work / "m")], check=True)
        subprocess.run(["rsrc", "m", "--calibrate", "--emit=plan", "-o", "m.plan", "--profile-out=p.json"], cwd=work,
                       check=True)
        _valid["text"] = (work / "p.json").read_text()
    os.symlink(work / "m", folder / "m")
    return _valid["text"]


ARGUMENTS = ["m", "--profile-use=p.json", "--target=generic", "--to=plan", "--emit=plan", "-o", "made"]


def text(name, slug, change, place="file"):
    def make(folder):
        changed = change(valid(folder))
        (folder / "p.json").write_bytes(changed if isinstance(changed, bytes) else changed.encode())
        return ARGUMENTS
    return Case(name, slug, make, place)


def document(name, slug, change):
    """`change` changes the parsed profile in place."""
    def changed(content):
        profile = json.loads(content)
        change(profile)
        return json.dumps(profile)
    return text(name, slug, changed)


def member(name, key, value, slug="profile-field"):
    def change(profile):
        profile.pop(key, None)
        if value is not None:
            profile[key] = value
    return document(name, slug, change)


def layer(name, slug="profile-field", **values):
    def change(profile):
        for key, value in values.items():
            if value is None:
                del profile["layers"][1][key]
            else:
                profile["layers"][1][key] = value
    return document(name, slug, change)


def head(name, slug="profile-field", **values):
    """The profile of a small model has no head; this one has one that is valid but for the values (None: missing)."""
    def change(profile):
        members = {"rows": 512, "picks": 64, "open": [40.5, 2], **values}
        profile["head"] = {key: value for key, value in members.items() if value is not None}
    return document(name, slug, change)


def attention(name, change, slug="profile-field"):
    return document(name, slug, lambda profile: change(profile["attention"][1]))


def swap(profile):
    rows = profile["layers"]
    rows[0], rows[1] = rows[1], rows[0]


CASES = [
    text("empty", "profile-syntax", lambda content: ""),
    text("no-json", "profile-syntax", lambda content: "active: 1\n", "line"),
    text("cut", "profile-syntax", lambda content: content[:len(content) // 2], "line"),
    text("binary", "profile-syntax", lambda content: b"\x7fELF\0\0\0\0" * 64, "line"),
    text("two", "profile-syntax", lambda content: content + content, "line"),
    text("deep", "profile-depth", lambda content: "[" * 100 + "]" * 100, "line"),
    text("large", "profile-too-large", lambda content: "[" + "0," * 20000000 + "0]"),
    text("key-twice", "profile-duplicate", lambda content: content.replace('"tokens"', '"tokens": 1, "tokens"', 1), "line"),
    text("list", "profile-kind", lambda content: "[]"),
    text("other-json", "profile-kind", lambda content: '{"model": "m"}'),
    member("no-version", "rsrc_profile", None, "profile-kind"),
    member("version-text", "rsrc_profile", "1", "profile-kind"),
    member("version-0", "rsrc_profile", 0, "profile-version"),
    member("version-2", "rsrc_profile", 2, "profile-version"),
    member("version-huge", "rsrc_profile", 2**62, "profile-version"),
    member("no-hash", "checkpoint", None),
    member("short-hash", "checkpoint", "0123"),
    member("hash-of-other-digits", "checkpoint", "g" * 32),
    member("hash-number", "checkpoint", 7),
    member("other-checkpoint", "checkpoint", "0" * 32, "profile-model"),
    member("no-tokens", "tokens", None),
    member("tokens-0", "tokens", 0),
    member("tokens-negative", "tokens", -1),
    member("tokens-many", "tokens", 2**41),
    member("tokens-fraction", "tokens", 1.5),
    member("no-layers", "layers", None),
    member("layers-object", "layers", {}),
    member("layers-numbers", "layers", [1, 2]),
    member("layers-null", "layers", [None]),
    layer("block-negative", block=-1),
    layer("block-none", block=2**32 - 1),
    layer("block-text", block="0"),
    layer("block-missing", "profile-layer", block=0, role="down", channels=1, active=0, runs=0),
    layer("role-missing", role=None),
    layer("role-other", role="gate"),
    layer("role-number", role=1),
    layer("channels-0", channels=0),
    layer("channels-huge", channels=2**31),
    layer("channels-of-another", "profile-layer", channels=100000),
    layer("active-missing", active=None),
    layer("active-negative", active=-0.01),
    layer("active-more-than-channels", active=1e6),
    layer("active-text", active="1"),
    layer("runs-missing", runs=None),
    layer("runs-more-than-active", active=3, runs=4),
    layer("runs-negative", runs=-1),
    member("head-number", "head", 7),
    member("head-list", "head", []),
    head("head-without-rows", rows=None),
    head("head-rows-0", rows=0),
    head("head-rows-huge", rows=2**31),
    head("head-without-picks", picks=None),
    head("head-picks-0", picks=0),
    head("head-picks-many", picks=2**41),
    head("open-missing", open=None),
    head("open-number", open=1),
    head("open-of-one-plane", open=[1]),
    head("open-of-three-planes", open=[3, 2, 1]),
    head("open-negative", open=[1, -1]),
    head("open-text", open=["1", "1"]),
    head("open-more-than-rows", open=[513, 1]),
    head("open-growing", open=[3, 4]),
    head("head-of-another", "profile-head", rows=513),
    member("attention-number", "attention", 1),
    member("attention-rows", "attention", [1]),
    attention("attention-without-block", lambda row: row.pop("block")),
    attention("attention-block-none", lambda row: row.update(block=2**32 - 1)),
    attention("spreads-missing", lambda row: row.pop("spreads")),
    attention("spreads-empty", lambda row: row.update(spreads=[])),
    attention("spreads-many", lambda row: row.update(spreads=[1] * 4097)),
    attention("spread-negative", lambda row: row["spreads"].__setitem__(0, -1)),
    attention("spread-huge", lambda row: row["spreads"].__setitem__(0, 1e10)),
    attention("spread-text", lambda row: row["spreads"].__setitem__(1, "1")),
    attention("attention-of-other-heads", lambda row: row["spreads"].append(1), "profile-attention"),
    attention("attention-of-another", lambda row: row.update(block=7), "profile-attention"),
    attention("attention-twice", lambda row: row.update(block=0), "profile-order"),
    document("attention-of-a-part", "profile-attention", lambda profile: profile["attention"].pop()),
    document("order", "profile-order", swap),
    document("twice", "profile-order", lambda profile: profile["layers"].insert(1, profile["layers"][0])),
    document("unknown-block", "profile-layer", lambda profile: profile["layers"][-1].update(block=1000)),
]
