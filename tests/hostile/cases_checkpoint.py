"""Bad folders, indexes of shards and kinds of files, which are checked before any file is read."""
import json
import os
import shutil
import socket

from formats import safetensors, tensor
from harness import Case
from model_folder import ARGUMENTS, json_damage, link_model, original, replace_file, set_json, set_weights

INDEX = "model.safetensors.index.json"
SHARDED = ("--shard-bytes", "40000")
NORM = "model.layers.0.input_layernorm.weight"


# ---- the index -----------------------------------------------------------------------------------

def index(name, slug, path, value, place="file"):
    return Case("index-" + name, slug, set_json(INDEX, path, value, *SHARDED), place)


def shard_name(name, text):
    return index("shard-" + name, "checkpoint-shard-name", f"weight_map/{NORM}", text, "tensor")


def replace_shard(name, slug, spoil, place="file"):
    """spoil(path) makes the second shard; the path does not exist before."""
    def make(folder):
        shards = sorted(name for name in original(folder, *SHARDED) if name.endswith(".safetensors"))
        model = link_model(folder, *SHARDED, leave_out=shards[1:2])
        spoil(model / shards[1], model / shards[0])
        return ARGUMENTS
    return Case("shard-" + name, slug, make, place)


def swap_shards(folder):
    shards = sorted(name for name in original(folder, *SHARDED) if name.endswith(".safetensors"))
    model = link_model(folder, *SHARDED, leave_out=shards[:2])
    for name, other in zip(shards[:2], shards[1::-1]):
        os.symlink(original(folder, *SHARDED)[other], model / name)
    return ARGUMENTS


def one_shard_alone(folder):
    model = link_model(folder, *SHARDED)
    shard = sorted(path.name for path in model.iterdir() if path.suffix == ".safetensors")[0]
    return [f"model/{shard}", *ARGUMENTS[1:]]


# ---- other things where a file should be
# -------------------------------------------------------------

def link_to_itself(path):
    os.symlink(path.name, path)


def dangling_link(path):
    os.symlink("nothing", path)


def unix_socket(path):
    os.chdir(path.parent)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir("/")


NO_FILES = [("fifo", os.mkfifo), ("folder", os.mkdir), ("device", lambda path: os.symlink("/dev/zero", path)),
            ("socket", unix_socket)]


def in_place_of(name, kind, spoil):
    def make(folder):
        spoil(link_model(folder, leave_out=[name]) / name)
        return ARGUMENTS
    return Case(f"{name}-is-a-{kind}", "file-unreadable", make)


def input_is(name, slug, spoil, path="input.safetensors", place="file"):
    """spoil(path) puts something where the input is expected."""
    def make(folder):
        spoil(folder / path)
        return [path, *ARGUMENTS[1:]]
    return Case("input-" + name, slug, make, place)


def folder_with(*names):
    def spoil(path):
        path.mkdir()
        for name in names:
            (path / name).write_bytes(safetensors({"w": tensor(0, 1, [1, 1])}, b"\1"))
    return spoil


def behind_a_file(folder):
    (folder / "file").write_bytes(b"")
    return ["file/m.safetensors", *ARGUMENTS[1:]]


def nothing(_path):
    pass


def line_end_in_a_name(folder):
    (folder / "a\nb.safetensors").write_bytes(safetensors({"w": tensor(0, 1, [1, 1])}, b"\1"))
    return ["a\nb.safetensors", *ARGUMENTS[1:], "-MD"]


# ---- tensors of a model --------------------------------------------------------------------------

def weights(name, slug, change, place="tensor"):
    return Case("weights-" + name, slug, set_weights(change), place)


def rename(old, new):
    def change(header, data):
        return {new if name == old else name: value for name, value in header.items()}, data
    return change


def patch(name, content):
    def change(header, data):
        begin = header[name]["data_offsets"][0]
        return header, data[:begin] + content + data[begin + len(content):]
    return change


def set_entry(name, **members):
    def change(header, data):
        header[name].update(members)
        return header, data
    return change


def add(name, shape, dtype="F32"):
    def change(header, data):
        n = 4
        for dimension in shape:
            n *= dimension
        header[name] = tensor(len(data), len(data) + n, shape, dtype)
        return header, data + bytes(n)
    return change


def nothing_of_the_model(_header, _data):
    return {"w": tensor(0, 1, [1, 1])}, b"\1"


UP = "model.layers.1.mlp.up_proj.weight"
SCALE = UP + "_scale"

CASES = [
    *[Case(f"index-{name}", f"checkpoint-index-{slug}", replace_file(INDEX, text, *SHARDED),
           "line" if slug != "too-large" else "file") for name, slug, text in json_damage('{"weight_map": {}}')],
    *[Case(f"index-is-{name}", "checkpoint-index", replace_file(INDEX, text, *SHARDED))
      for name, text in [("a-list", "[]"), ("an-empty-object", "{}")]],
    *[index(f"weight-map-is-{name}", "checkpoint-index", "weight_map", value)
      for name, value in [("null", None), ("a-list", []), ("text", "model.safetensors"), ("a-number", 1),
                          ("empty", {})]],
    *[shard_name(f"name-is-{name}", value)
      for name, value in [("null", None), ("a-number", 1), ("a-list", []), ("an-object", {}), ("true", True),
                          ("empty", ""), ("the-parent", ".."), ("a-suffix", ".safetensors"),
                          ("absolute", "/etc/passwd"), ("absolute-shard", "/tmp/x.safetensors"),
                          ("in-the-parent", "../x.safetensors"), ("in-a-folder", "a/x.safetensors"),
                          ("beside-itself", "./x.safetensors"), ("hidden", ".x.safetensors"),
                          ("of-another-kind", "model.bin"), ("hostile", "\x1b[2J\n%n/../x.safetensors"),
                          ("long", "x/" * 100000 + ".safetensors")]],
    index("shard-missing", "file-unreadable", f"weight_map/{NORM}", "a.safetensors"),
    index("shard-with-a-long-name", "file-unreadable", f"weight_map/{NORM}", "a" * 5000 + ".safetensors"),
    index("lists-no-tensor", "checkpoint-index", "weight_map/model.absent.weight", "model-00001-of-00002.safetensors",
          "tensor"),
    Case("index-lists-other-shards", "checkpoint-index", swap_shards, "tensor"),
    index("lists-many-shards", "checkpoint-index", "weight_map", {str(i): f"{i}.safetensors" for i in range(4097)}),
    Case("shard-alone", "checkpoint-shard", one_shard_alone),
    replace_shard("is-absent", "file-unreadable", lambda path, other: None),
    replace_shard("is-empty", "safetensors-truncated", lambda path, other: path.write_bytes(b"")),
    replace_shard("is-a-folder", "file-unreadable", lambda path, other: path.mkdir()),
    replace_shard("is-a-fifo", "file-unreadable", lambda path, other: os.mkfifo(path)),
    replace_shard("links-to-itself", "file-unreadable", lambda path, other: link_to_itself(path)),
    replace_shard("is-another", "checkpoint-index", lambda path, other: shutil.copy(other, path), "tensor"),

    *[in_place_of(name, kind, spoil) for name in ("config.json", "tokenizer.json") for kind, spoil in NO_FILES],
    *[in_place_of(name, "fifo", os.mkfifo)
      for name in ("model.safetensors", "generation_config.json", "tokenizer_config.json", "chat_template.jinja")],
    *[in_place_of(name, kind, spoil)
      for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
                   "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "modules.json",
                   "model.safetensors", INDEX)
      for kind, spoil in [("link-to-nothing", dangling_link), ("link-to-itself", link_to_itself)]],
    *[input_is(f"{kind}-{suffix}", "file-unreadable", spoil, f"input.{suffix}")
      for suffix in ("safetensors", "npy", "gguf", "index.json") for kind, spoil in NO_FILES if kind != "folder"],
    input_is("absent", "file-unreadable", nothing),
    input_is("absent-folder", "file-unreadable", nothing, "a/b/c"),
    input_is("links-to-itself", "file-unreadable", link_to_itself),
    input_is("links-to-nothing", "file-unreadable", dangling_link),
    Case("input-behind-a-file", "file-unreadable", behind_a_file),
    Case("input-with-a-line-end-and-MD", "dependency-name", line_end_in_a_name),
    input_is("with-a-long-name", "file-unreadable", nothing, "x" * 5000 + ".safetensors"),
    *[input_is(f"named-{name}", "checkpoint-kind", lambda path: path.write_bytes(b"\0" * 64), "input" + suffix)
      for name, suffix in [("bin", ".bin"), ("nothing", ""), ("json", ".json"), ("capitals", ".GGUF"), ("pt", ".pt")]],
    input_is("empty-folder", "checkpoint-no-weights", folder_with(), "folder"),
    input_is("folder-of-two", "checkpoint-no-weights", folder_with("a.safetensors", "b.safetensors"), "folder"),
    input_is("folder-of-hidden", "checkpoint-no-weights", folder_with(".a.safetensors"), "folder"),
    input_is("folder-without-config", "checkpoint-no-config", folder_with("a.safetensors"), "folder"),

    weights("of-something-else", "graph-layers", nothing_of_the_model, "file"),
    weights("renamed", "graph-missing-tensor", rename(UP, UP + "x"), "file"),
    weights("hostile-name", "graph-unexpected-tensor", add("\x1b]0;x\x07\n" + "y" * 100000, [1])),
    weights("far-layer", "graph-unexpected-tensor", add("model.layers.4294967296.mlp.up_proj.weight", [1, 1])),
    weights("negative-layer", "graph-unexpected-tensor", add("model.layers.-1.mlp.up_proj.weight", [1, 1])),
    weights("transposed", "graph-shape", set_entry(UP, shape=[64, 44])),
    weights("norm-as-int16", "graph-dtype", set_entry(NORM, dtype="I8", shape=[128])),
    *[weights("scale-" + name, "scale-value", patch(SCALE, content))
      for name, content in [("nan", b"\xc0\x7f"), ("inf", b"\x80\x7f"), ("minus-inf", b"\x80\xff"), ("0", b"\0\0"),
                            ("minus-0", b"\0\x80"), ("negative", b"\x80\xbf")]],
    weights("code-3", "ternary-code", patch(UP, b"\xff" * 64)),
    weights("norm-inf", "tensor-not-finite", patch(NORM, b"\x80\x7f")),
    weights("embedding-nan", "tensor-not-finite", patch("model.embed_tokens.weight", b"\xff\xff")),
]
