"""Checks of louver.test: a dump of queries, keys and values, and the statistics of a generation.

    louver.py FILE.qkv the header, the size, and rotated keys: in the first layer, all keys of a repeated token have one
    length louver.py --stats FILE.json relations between the counts
"""
import array
import json
import struct
import sys


def check_dump(path):
    with open(path, "rb") as file:
        header = file.read(64)
        floats = array.array("f", file.read())
    layers, heads, kv_heads, dim, tokens = struct.unpack_from("<5I", header, 8)
    assert header[:8] == b"RSRQKV1\0" and not any(header[28:]), header
    assert (layers, heads, kv_heads, dim) == (6, 4, 2, 64), (layers, heads, kv_heads, dim)
    assert tokens > 300, tokens
    per_layer = tokens * (heads + 2 * kv_heads) * dim
    assert len(floats) == layers * per_layer, len(floats)
    for layer in range(layers):
        begin = layer * per_layer
        k_at = begin + tokens * heads * dim
        v_at = k_at + tokens * kv_heads * dim
        for at in (begin, k_at, v_at):  # every row holds something finite
            row = floats[at + (tokens - 1) * dim : at + tokens * dim]
            assert any(row) and all(abs(x) < 1e6 for x in row), (layer, at)
    # Rotation keeps lengths: of two tokens with equal text in layer 0, keys are rotations of each
    # other.
    k_at = tokens * heads * dim
    norms = {}
    for t in range(tokens):
        key = floats[k_at + t * kv_heads * dim : k_at + t * kv_heads * dim + dim]
        value = floats[k_at + (tokens + t) * kv_heads * dim :][:dim]
        norms.setdefault(value.tobytes(), []).append(sum(x * x for x in key))
    repeated = [group for group in norms.values() if len(group) > 1]
    assert len(repeated) > 10
    for group in repeated:
        assert max(group) - min(group) <= 1e-4 * max(group), group


def check_stats(path):
    with open(path) as file:
        stats = json.load(file)["attention"]
    assert stats["name"] == "louver" and stats["min_keys"] == 200, stats
    assert stats["dense"] == 199 * 6 * 2, stats  # (token, layer, KV head) with fewer than 200 keys
    assert stats["indexed"] > 0 and stats["keys"] >= 200 * stats["indexed"], stats
    assert 0 < stats["scanned"] <= stats["keys"] and stats["plane2"] <= stats["scanned"], stats
    assert stats["exact"] <= stats["keys"] and stats["pages_skipped"] <= stats["pages"], stats
    assert 0 <= stats["max_mass"] <= 1e-3 and 0 <= stats["max_error"] < 1, stats


if sys.argv[1] == "--stats":
    check_stats(sys.argv[2])
else:
    check_dump(sys.argv[1])
