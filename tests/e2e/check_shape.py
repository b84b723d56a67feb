"""Checks calibrations of layers of bitnet-2b-4t's shape: check_shape.py MODEL..., each with MODEL.profile.json and the
reports MODEL.json and MODEL.whole.json. Prints the bytes that a token of 30 layers and 128,256 words reads."""
import json
import sys

LAYERS, VOCAB, CHANNELS = 30, 128256, 6912
SHARE = 0.2


def bytes_of(report, target, n_blocks, vocab):
    layers = sum(layer["decode"]["token_bytes"] for layer in target["layers"])
    return layers * LAYERS / n_blocks + report["head_sketch"]["token_bytes"] * VOCAB / vocab


for model in sys.argv[1:]:
    profile, report, whole = (json.load(open(model + end)) for end in (".profile.json", ".json", ".whole.json"))
    hyper = report["checkpoint"]["hyper"]
    up = [layer["active"] / CHANNELS for layer in profile["layers"] if layer["role"] == "up"]
    if len(up) != hyper["layers"] or any(abs(share - SHARE) > 0.01 for share in up):
        sys.exit(f"{model}: shares of active channels {up}")
    for target, before in zip(report["targets"], whole["targets"]):
        sizes = [bytes_of(r, t, hyper["layers"], hyper["vocab"]) / 1e9 for r, t in ((report, target), (whole, before))]
        print(f"{model.split('/')[-1]} {target['name']}: {100 * sum(up) / len(up):.2f} % active, {sizes[0]:.3f} GB a "
              f"token, {sizes[1]:.3f} without a profile")
        if sizes[0] > 0.5:
            sys.exit(f"{model}: {sizes[0]} GB")
