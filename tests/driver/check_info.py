"""Compares the output of rsrc --info=json, key by key, with the checkpoint, which this script reads
itself:

    check_info.py INFO.json FOLDER
    check_info.py INFO.json --module MODULE.so PER_CENT [RUN.json]

The first form counts the weights of every linear layer of a folder of safetensors, packed or float masters. The
second compares the estimated size with the module's size, and the bytes that a token reads with those of rsr-run
--info --json.
"""
import collections
import json
import math
import os
import pathlib
import struct
import sys

ROLES = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "o_proj": "o", "gate_proj": "gate", "up_proj": "up",
         "down_proj": "down"}


def check(condition, what):
    if not condition:
        sys.exit(f"{sys.argv[1]}: {what}")


def equal(got, expected, what):
    check(got == expected, f"{what} is {got!r}, not {expected!r}")


def near(got, expected, what, tolerance=1e-6):
    check(math.isclose(got, expected, rel_tol=tolerance, abs_tol=1e-12), f"{what} is {got!r}, not {expected!r}")


def read_tensors(folder):
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        n = struct.unpack("<Q", data[:8])[0]
        for name, entry in json.loads(data[8:8 + n]).items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                tensors[name] = (entry["dtype"], entry["shape"], data[8 + n + begin:8 + n + end])
    return tensors


def float32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def packed_zeros(data):
    """Codes 0, 1, 2 are weights -1, 0, 1, four in a byte."""
    return sum(data.count(byte) * sum((byte >> 2 * i & 3) == 1 for i in range(4)) for byte in range(256))


def master_zeros(dtype, data):
    """Float masters: round(w / mean |w|) is zero up to a half. All in float32, as in
    model/ternary.c."""
    if dtype == "BF16":
        values = [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(0, len(data), 2)]
    else:
        values = struct.unpack({"F32": "<%df" % (len(data) // 4), "F16": "<%de" % (len(data) // 2)}[dtype], data)
    mean = float32(math.fsum(map(abs, values)) / len(values))
    scale = float32(1 / max(mean, float32(1e-5)))
    return sum(abs(float32(value * scale)) <= 0.5 for value in values)


def count_layers(folder):
    """role -> [layers, shape, weights, zeros, densities]"""
    roles = collections.OrderedDict()
    for name, (dtype, shape, data) in read_tensors(folder).items():
        parts = name.split(".")
        if parts[-1] != "weight" or parts[-2] not in ROLES:
            continue
        packed = dtype == "U8"
        rows, cols = shape[0] * (4 if packed else 1), shape[1]
        zeros = packed_zeros(data) if packed else master_zeros(dtype, data)
        role = roles.setdefault(ROLES[parts[-2]], [0, (rows, cols), 0, 0, []])
        role[0] += 1
        role[2] += rows * cols
        role[3] += zeros
        role[4].append(zeros / (rows * cols))
    return roles


def check_roles(info, folder):
    counted = count_layers(folder)
    equal(sorted(role["role"] for role in info["roles"]), sorted(counted), "the list of roles")
    for role in info["roles"]:
        layers, shape, weights, zeros, densities = counted[role["role"]]
        name = role["role"]
        equal(role["layers"], layers, f"{name}.layers")
        equal(role["refused"], 0, f"{name}.refused")
        equal((role["rows"], role["cols"]), shape, f"{name}'s shape")
        equal(role["weights"], weights, f"{name}.weights")
        equal(role["zeros"], zeros, f"{name}.zeros")
        near(role["zero_density"], zeros / weights, f"{name}.zero_density")
        near(role["least_zero_density"], min(densities), f"{name}.least_zero_density")
        near(role["most_zero_density"], max(densities), f"{name}.most_zero_density")
        equal(role["alphabet"], "ternary", f"{name}.alphabet")
        equal(role["input"], info["input"], f"{name}.input")
    equal(info["layers"], sum(role[0] for role in counted.values()), "layers")
    equal(info["weights"], sum(role[2] for role in counted.values()), "weights")
    equal(info["zeros"], sum(role[3] for role in counted.values()), "zeros")
    near(info["zero_density"], info["zeros"] / info["weights"], "zero_density")


def check_checkpoint(info, folder):
    config = json.loads((folder / "config.json").read_text())
    equal(info["name"], folder.resolve().name, "name")
    equal(info["model_type"], config["model_type"], "model_type")
    equal(info["architecture"], config["model_type"], "architecture")
    equal(info["input"], "i8", "input")
    check(info["input_reason"] and info["scale_reason"], "a reason is missing")
    hyper = info["hyper"]
    for key, of_config in (("hidden", "hidden_size"), ("layers", "num_hidden_layers"),
                           ("heads", "num_attention_heads"), ("kv_heads", "num_key_value_heads"),
                           ("ffn", "intermediate_size"), ("vocab", "vocab_size"),
                           ("context", "max_position_embeddings"), ("activation", "hidden_act")):
        equal(hyper[key], config[of_config], f"hyper.{key}")
    near(hyper["norm_eps"], config["rms_norm_eps"], "hyper.norm_eps")
    near(hyper["rope_theta"], config["rope_theta"], "hyper.rope_theta")
    equal(hyper["pooling"], None, "hyper.pooling")
    equal((hyper["delta_layers"], hyper["rotated_block"]), (0, 0), "hyper.delta_layers, rotated_block")
    read = [path for path in folder.iterdir() if path.suffix == ".safetensors" or path.name in (
        "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
        "model.safetensors.index.json")]
    equal(info["files"], len(read), "files")
    equal(info["file_bytes"], sum(path.stat().st_size for path in read), "file_bytes")
    n_shards = sum(path.suffix == ".safetensors" for path in read)
    equal(info["container"], "sharded safetensors" if n_shards > 1 else "safetensors", "container")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    equal(info["tokenizer"]["kind"], "byte-level BPE", "tokenizer.kind")
    equal(info["tokenizer"]["merges"], len(tokenizer["model"]["merges"]), "tokenizer.merges")
    ids = set(tokenizer["model"]["vocab"].values()) | {token["id"] for token in tokenizer["added_tokens"]}
    equal(info["tokenizer"]["tokens"], max(ids) + 1, "tokenizer.tokens")
    equal(info["chat_template"], "chat_template" in json.loads((folder / "tokenizer_config.json").read_text()),
          "chat_template")
    check(config["eos_token_id"] in info["stop_tokens"], "stop_tokens lacks the configuration's")
    tensors = read_tensors(folder)
    dtype, shape, data = tensors["model.embed_tokens.weight"]
    embedding = {"dtype": dtype.lower(), "rows": shape[0], "cols": shape[1], "bytes": len(data), "stored_bytes": len(data),
                 "stored_row_bytes": len(data) // shape[0],
                 "stored_reason": f"a cache may hold its {len(data) / 1e6:.1f} MB; it is packed from 8.4 MB on"}
    equal(info["embedding"], embedding, "embedding")
    equal(info["tied_head"], config["tie_word_embeddings"], "tied_head")
    if info["tied_head"]:
        equal(info["head"], embedding, "head")
    else:
        equal(info["head"]["bytes"], len(tensors["lm_head.weight"][2]), "head.bytes")
    equal(info["dense_layers"], 0, "dense_layers")
    equal(info["ternary_head"], False, "ternary_head")


def check_target(info, target):
    name = target["name"]
    equal([role["role"] for role in target["roles"]], [role["role"] for role in info["roles"]], f"{name}'s roles")
    for role, counted in zip(target["roles"], info["roles"]):
        for regime in ("decode", "prefill"):
            equal(sum(role[regime].values()), counted["layers"], f"{name}'s variants of {role['role']}")
        check(role["token_bytes"] > 0 and role["predicted_decode_us"] > 0, f"{name}: {role['role']} costs nothing")
    equal(target["layer_bytes"], sum(role["token_bytes"] for role in target["roles"]), f"{name}.layer_bytes")
    equal(target["full_head_bytes"], info["head"]["stored_bytes"], f"{name}.full_head_bytes")
    if info["head_sketch_planes"] == 0:
        equal(target["head_bytes"], info["head"]["stored_bytes"], f"{name}.head_bytes")
    check(target["head_bytes"] <= target["usual_head_bytes"], f"{name}.usual_head_bytes")
    equal(target["embedding_row_bytes"], info["embedding"]["stored_row_bytes"],
          f"{name}.embedding_row_bytes")
    equal(target["dense_bytes"], 0, f"{name}.dense_bytes")
    equal(target["token_bytes"], target["layer_bytes"] + target["head_bytes"] + target["embedding_row_bytes"],
          f"{name}.token_bytes")
    bytes_per_us = target["read_gbps"] * 1e3
    near(target["floor_us"], target["token_bytes"] / bytes_per_us, f"{name}.floor_us")
    near(target["floor_all_cores_us"], target["floor_us"] / target["cores"], f"{name}.floor_all_cores_us")
    near(target["predicted_decode_us"], target["usual_head_bytes"] / bytes_per_us +
         sum(role["predicted_decode_us"] for role in target["roles"]), f"{name}.predicted_decode_us")
    near(target["predicted_prefill_us"], sum(role["predicted_prefill_us"] for role in target["roles"]),
         f"{name}.predicted_prefill_us")


def check_size(info, module, per_cent):
    size = os.stat(module).st_size
    estimated = info["module"]["estimated_bytes"]
    check(abs(estimated - size) <= size * per_cent / 100, f"{estimated} bytes were estimated, and there are {size}")


def check_run(info, run):
    targets = [target for target in info["targets"] if target["name"] == run["target"]]
    check(targets, "the module runs no target that was described")
    target = targets[0]
    equal(target["token_bytes"], run["token_bytes"], "token_bytes")
    equal(target["full_head_bytes"] - target["head_bytes"], run["logits_bytes"], "logits_bytes")
    others = run["token_bytes_by_role"].pop("others")
    equal(run["token_bytes_by_role"], {role["role"]: role["token_bytes"] for role in target["roles"]},
          "token_bytes_by_role")
    equal(others, target["token_bytes"] - target["layer_bytes"], "bytes of all but the layers")


with open(sys.argv[1]) as file:
    facts = json.load(file)
if sys.argv[2] == "--module":
    check_size(facts, sys.argv[3], float(sys.argv[4]))
    if len(sys.argv) > 5:
        with open(sys.argv[5]) as file:
            check_run(facts, json.load(file))
else:
    check_checkpoint(facts, pathlib.Path(sys.argv[2]))
    check_roles(facts, pathlib.Path(sys.argv[2]))
    equal(facts["compiles"], True, "compiles")
    equal(facts["errors"], 0, "errors")
    check(facts["targets"], "no target is described")
    for described in facts["targets"]:
        check_target(facts, described)
