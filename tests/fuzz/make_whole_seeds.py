"""Writes the seeds of the fuzz targets whole_folder and whole_file: make_whole_seeds.py BIN.

BIN has rsr-mkmodel. Folders are small models of every convention that rsr-mkmodel knows, one of them in
two files, and the configurations of the golden fixtures, whose families rsr-mkmodel does not write.
Weights are only headers (see fuzz_whole_folder.c). Files are bare matrices and the small GGUF files of
the reader's own corpus. The first byte of a seed chooses the options of the compilation (see
fuzz_pipeline.h).
"""
import json
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
GOLDEN = HERE.parent / "golden"
CONVENTIONS = ["bitnet-packed", "bitnet-online", "llama-packed", "1bitllm-latent", "trilm-f16"]
FAMILIES = ["bonsai", "bonsai_tied", "embed_gemma3", "embed_qwen3", "falcon_e"]
SMALL = "--preset tiny --layers 1 --hidden 32 --ffn 32 --heads 2 --kv-heads 1 --head-dim 16 --vocab 260".split()
EMIT_C, REPORT, TEXTS, INFO = range(4)
BOTH_INPUTS, VERIFY = 16, 64
INT8 = 8


def header_of(path):
    content = path.read_bytes()
    return content[8:8 + int.from_bytes(content[:8], "little")].strip()


def archive(folder, leave_out=()):
    """The parts of a folder; JSON without indentation."""
    parts = b""
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or name in leave_out or name == "golden.safetensors":
            continue
        if path.suffix == ".safetensors":
            content = header_of(path)
        else:
            content = json.dumps(json.loads(path.read_text()), separators=(",", ":")).encode()
        parts += b"\n@@" + name.encode() + b"\n" + content
    return parts


def make_models(mkmodel, work):
    tokenizer = ("tokenizer.json", "tokenizer_config.json")
    for i, convention in enumerate(CONVENTIONS):
        subprocess.run([mkmodel, *SMALL, "--convention", convention, "-o", work / convention], check=True)
        way = [EMIT_C | VERIFY, INFO, EMIT_C, TEXTS | VERIFY, REPORT][i]
        yield convention, way, archive(work / convention, tokenizer if i != 0 else ())
    subprocess.run([mkmodel, *SMALL, "--shard-bytes", "18000", "-o", work / "shards"], check=True)
    yield "shards", EMIT_C, archive(work / "shards", tokenizer)
    for family in FAMILIES:
        yield family, EMIT_C, archive(GOLDEN / family)


def make_files(mkmodel, work):
    for kind in ("ternary", "sign", "bit"):
        path = work / f"{kind}.safetensors"
        subprocess.run([mkmodel, "--matrix", f"12x20:{kind}", "--matrix", f"7x33:{kind}", "-o", path], check=True)
        yield kind, EMIT_C | BOTH_INPUTS | VERIFY, path.read_bytes()
    for name in ("int8", "float32", "v2"):
        yield name, EMIT_C | BOTH_INPUTS, (HERE / "corpus" / "npy" / name).read_bytes()
    for name in ("bitnet_bn", "llama_i2_s"):
        yield name, EMIT_C | INT8, (HERE / "corpus" / "gguf" / f"{name}.gguf").read_bytes()


def main():
    mkmodel = pathlib.Path(sys.argv[1]) / "rsr-mkmodel"
    with tempfile.TemporaryDirectory() as work:
        for target, make in (("whole_folder", make_models), ("whole_file", make_files)):
            corpus = HERE / "corpus" / target
            corpus.mkdir(exist_ok=True)
            for name, way, content in make(mkmodel, pathlib.Path(work)):
                (corpus / name).write_bytes(bytes([way]) + content)


main()
