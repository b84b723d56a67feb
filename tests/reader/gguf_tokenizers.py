"""Writes tokenizers of tests/tokenizer as GGUF files, with the gguf library:

    gguf_tokenizers.py NAME.tokenizer.json OUT [--model MODEL] [--pre PRE] [--space-prefix] [--add-eos]

OUT.gguf is a model without layers that has the tokenizer. OUT.tokenizer.json is the tokenizer without features that
GGUF cannot express: added tokens that strip spaces, match only whole words, or are matched in normalised text. With
--model llama the file has scores and no merges, and OUT.tokenizer.json has the merges that transformers derives from
the scores.
"""
import argparse
import json

import gguf
import numpy as np

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6


def is_byte(piece):
    return len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")


def simplify(doc):
    """Keeps the added tokens that a GGUF type describes completely, with ids after the
    vocabulary's."""
    vocab = doc["model"]["vocab"]
    kept = []
    for token in doc["added_tokens"]:
        if token["special"]:
            token["normalized"] = False
        if any(token[key] for key in ("single_word", "lstrip", "rstrip", "normalized")):
            continue
        if token["content"] in vocab and not token["special"]:
            continue
        token["id"] = vocab.get(token["content"], len(vocab) + sum(t["content"] not in vocab for t in kept))
        kept.append(token)
    doc["added_tokens"] = kept
    ids = {token["content"]: token["id"] for token in kept}
    processor = doc["post_processor"] or {}
    for part in processor.get("processors", [processor]):
        for name, special in part.get("special_tokens", {}).items():
            special["ids"] = [ids[name]]
    return doc


def sentencepiece_merges(scores):
    """All pairs that make a piece, best score first, as in transformers' SentencePieceExtractor."""
    merges = []
    for piece, score in scores.items():
        for cut in range(1, len(piece)):
            if piece[:cut] in scores and piece[cut:] in scores:
                merges.append((piece[:cut], piece[cut:], score))
    merges.sort(key=lambda merge: (merge[2], len(merge[0]), len(merge[1])), reverse=True)
    return [list(merge[:2]) for merge in merges]


def add_tokenizer(writer, doc, model, pre=None):
    """Writes the keys of a simplified tokenizer. Returns the number of tokens."""
    vocab = doc["model"]["vocab"]
    tokens = dict(sorted((i, piece) for piece, i in vocab.items()))
    types = {i: BYTE if model == "llama" and is_byte(piece) else NORMAL for i, piece in tokens.items()}
    for token in doc["added_tokens"]:
        tokens[token["id"]] = token["content"]
        types[token["id"]] = CONTROL if token["special"] else USER_DEFINED
    if doc["model"]["unk_token"]:
        types[vocab[doc["model"]["unk_token"]]] = UNKNOWN
    assert sorted(tokens) == list(range(len(tokens)))
    writer.add_tokenizer_model(model)
    writer.add_token_list([tokens[i] for i in range(len(tokens))])
    writer.add_token_types([types[i] for i in range(len(tokens))])
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    if model == "llama":
        writer.add_token_scores([-float(i) if types[i] == NORMAL else 0.0 for i in range(len(tokens))])
        doc["model"]["merges"] = sentencepiece_merges({tokens[i]: -float(i) for i in tokens if types[i] == NORMAL})
    else:
        writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in doc["model"]["merges"]])
    return len(tokens)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("out")
    parser.add_argument("--model", choices=["gpt2", "llama"], default="gpt2")
    parser.add_argument("--pre")
    parser.add_argument("--space-prefix", action="store_true")
    parser.add_argument("--add-eos", action="store_true")
    args = parser.parse_args()
    with open(args.source, encoding="utf-8") as file:
        doc = simplify(json.load(file))
    writer = gguf.GGUFWriter(args.out + ".gguf", "bitnet")
    for key, value in (("embedding_length", 4), ("block_count", 1), ("attention.head_count", 2),
                       ("feed_forward_length", 8), ("context_length", 64)):
        writer.add_uint32("bitnet." + key, value)
    writer.add_layer_norm_rms_eps(1e-5)
    n_tokens = add_tokenizer(writer, doc, args.model, args.pre)
    ids = {token["content"]: token["id"] for token in doc["added_tokens"]}
    for bos in ("<|begin_of_text|>", "<s>"):
        if bos in ids:
            writer.add_bos_token_id(ids[bos])
    for eos in ("<|end_of_text|>", "<|endoftext|>", "</s>"):
        if eos in ids:
            writer.add_eos_token_id(ids[eos])
    if args.space_prefix:
        writer.add_add_space_prefix(True)
    if args.add_eos:
        writer.add_add_bos_token(True)
        writer.add_add_eos_token(True)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    writer.add_tensor("token_embd.weight", np.zeros((n_tokens + 3, 4), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with open(args.out + ".tokenizer.json", "w", encoding="utf-8") as file:
        json.dump(doc, file)


if __name__ == "__main__":
    main()
