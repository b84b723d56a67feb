"""Variants of the golden checkpoint bonsai2 (Qwen3.5's text model): python3 qwen3_5.py KIND FROM TO

    whole     the text model inside a whole one, with a vision tower and a head for several tokens
    one       its first block alone, which has a gated delta rule: no block has attention
    NAME=...  rename a tensor (NAME=NEW), reshape it (NAME=1x2), retype it (NAME=I32), or put a NaN
              at its beginning (NAME=nan)
"""
import json
import struct
import sys
from pathlib import Path


def read(path):
    data = path.read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    header.pop("__metadata__", None)
    return {name: (entry["dtype"], entry["shape"],
                   data[8 + n + entry["data_offsets"][0]:8 + n + entry["data_offsets"][1]])
            for name, entry in header.items()}


def write(path, tensors):
    header, body = {}, b""
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def whole(tensors, config):
    text = {key: config.pop(key) for key in list(config)
            if key not in ("architectures", "bos_token_id", "tie_word_embeddings")}
    config.update(model_type="qwen3_5", architectures=["Qwen3_5ForConditionalGeneration"],
                  text_config=text, vision_config={"depth": 1, "hidden_size": 8})
    inner = {name.replace("model.", "model.language_model.", 1) if name.startswith("model.") else
             name: tensor for name, tensor in tensors.items()}
    return {**inner, "model.visual.patch_embed.proj.weight": ("F32", [2, 2], bytes(16)),
            "model.visual.pos_embed.weight": ("F32", [2], bytes(8)),
            "mtp.fc.weight": ("F32", [2, 3], bytes(24))}


def one(tensors, config):
    config.update(num_hidden_layers=1, layer_types=["linear_attention"])
    return {name: tensor for name, tensor in tensors.items()
            if not name.startswith(("model.layers.1.", "model.layers.2."))}


def changed(tensors, name, change):
    dtype, shape, data = tensors[name]
    if change == "nan":
        tensors[name] = (dtype, shape, {"F16": b"\0\x7e", "F32": b"\0\0\xc0\x7f"}[dtype]
                         + data[{"F16": 2, "F32": 4}[dtype]:])
    elif change in ("I32", "U8"):
        tensors[name] = (change, [len(data) // 4] if change == "I32" else [len(data)], data)
    elif change[0].isdigit():
        tensors[name] = (dtype, [int(n) for n in change.split("x")], data)
    else:
        tensors[change] = tensors.pop(name)
    return tensors


def main(kind, source, target):
    source, target = Path(source), Path(target)
    tensors = read(source / "model.safetensors")
    config = json.loads((source / "config.json").read_text())
    if "=" in kind:
        tensors = changed(tensors, *kind.split("="))
    else:
        tensors = {"whole": whole, "one": one}[kind](tensors, config)
    target.mkdir(exist_ok=True)
    write(target / "model.safetensors", tensors)
    (target / "config.json").write_text(json.dumps(config))


main(*sys.argv[1:])
