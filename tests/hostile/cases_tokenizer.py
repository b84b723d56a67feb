"""Bad tokenizer.json, tokenizer_config.json and chat_template.jinja files of a model that is otherwise right."""
import json

from harness import Case
from model_folder import REMOVED, json_damage, replace_file, set_json

FILE, CONFIG, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
SPLIT = {"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Isolated", "invert": False}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
METASPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
REPLACE = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
ADDED = {"id": 509, "content": "<|begin_of_text|>", "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
LETTERS = {f"a{i}": i for i in range(1, 509)}  # the number of tokens before the added tokens
TYPES = [("text", "x"), ("a-number", 7), ("a-list", [1]), ("an-object", {"a": 1}), ("true", True), ("null", None)]


def field(name, slug, path, value):
    return Case(name, slug, set_json(FILE, path, value))


def types(path, slug, *accepted, start=None):
    """Values of every type except the allowed ones."""
    key = start or path.replace("/", "-")
    return [field(f"{key}-is-{name}", slug, path, value) for name, value in TYPES if name not in accepted]


def pretokenizer(name, *steps):
    value = steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": list(steps)}
    return field("pretokenizer-" + name, "tokenizer-pretokenizer", "pre_tokenizer", value)


def normalizer(name, *steps):
    value = steps[0] if len(steps) == 1 else {"type": "Sequence", "normalizers": list(steps)}
    return field("normalizer-" + name, "tokenizer-normalizer", "normalizer", value)


def template(name, single, specials=None):
    value = {"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": specials or {}}
    return field("template-" + name, "tokenizer-template", "post_processor", value)


def special(name):
    return {"SpecialToken": {"id": name, "type_id": 0}}


TEXT = {"Sequence": {"id": "A", "type_id": 0}}


def ids(*values):
    return {"s": {"id": "s", "ids": list(values), "tokens": ["s"] * len(values)}}


def sentencepiece(name, slug, **changes):
    """A whole small file of SentencePiece's kind with some of its parts replaced."""
    root = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": METASPACE,
            "post_processor": None,
            "decoder": METASPACE,
            "model": {"type": "BPE", "vocab": {"<unk>": 0, "\u2581": 1, "a": 2, "\u2581a": 3}, "unk_token": "<unk>",
                      "merges": [["\u2581", "a"]]}}
    root.update(changes)
    return Case("pieces-" + name, slug, replace_file(FILE, json.dumps(root)))


def config(name, slug, path, value, place="file"):
    return Case("texts-" + name, slug, set_json(CONFIG, path, value), place)


CASES = [
    *[Case(f"tokenizer-{name}", f"tokenizer-{slug}", replace_file(FILE, text),
           "line" if slug != "too-large" else "file")
      for name, slug, text in json_damage('{"model": {"type": "BPE"}}') if name != "nul-in-a-string"],
    *[Case(f"tokenizer-nul-{name}", "tokenizer-nul", replace_file(FILE, text))
      for name, text in [("in-a-string", r'{"a": "\u0000"}'), ("in-a-key", r'{"\u0000": {"model": 1}}'),
                         ("in-a-type", r'{"model": {"type": "BPE\u0000"}}'),
                         ("in-an-added-token", r'{"model": {}, "added_tokens": [{"id": 0, "content": "a\u0000"}]}'),
                         ("beside-every-noncharacter",
                          r'{"\u0000": "' + "".join(map(chr, range(0xfdd0, 0xfdf0))) + '"}'),
                         ("beside-their-escapes",
                          r'{"\u0000": "' + "".join("\\uFD%02x" % c for c in range(0xd0, 0xf0)) + '"}')]],
    *[Case(f"tokenizer-nul-{name}", "tokenizer-syntax", replace_file(FILE, text), "line")
      for name, text in [("outside", r'{\u0000}'), ("bare", b'{"a": "\0"}'), ("cut", r'{"a": "\u000')]],
    *[Case(f"tokenizer-is-{name}", "tokenizer-model", replace_file(FILE, text))
      for name, text in [("a-list", "[]"), ("an-empty-object", "{}"),
                         ("bert", '{"model": {"type": "WordPiece"}, "pre_tokenizer": {"type": "BertPreTokenizer"}}'),
                         ("t5", '{"model": {"type": "Unigram"}, "pre_tokenizer": {"type": "WhitespaceSplit"}}')]],

    # the model
    field("no-model", "tokenizer-model", "model", REMOVED),
    *types("model", "tokenizer-model"),
    field("no-model-type", "tokenizer-model", "model/type", REMOVED),
    *types("model/type", "tokenizer-model"),
    *types("model/dropout", "tokenizer-model", "null", "an-object", "a-list"),
    *types("model/end_of_word_suffix", "tokenizer-model", "null", "an-object", "a-list"),
    *types("model/ignore_merges", "tokenizer-field", "true", "null"),
    field("no-vocab", "tokenizer-field", "model/vocab", REMOVED),
    *types("model/vocab", "tokenizer-field", "an-object"),
    field("no-merges", "tokenizer-field", "model/merges", REMOVED),
    *types("model/merges", "tokenizer-field", "a-list"),
    field("vocab-empty", "tokenizer-added-token", "model/vocab", {}),
    *[field(f"id-is-{name}", "tokenizer-id", "model/vocab/a", value)
      for name, value in [("text", "1"), ("a-fraction", 1.0), ("null", None), ("a-list", [1]), ("true", True),
                          ("negative", -1), ("2-to-the-22", 1 << 22), ("2-to-the-32", 1 << 32),
                          ("largest", (1 << 63) - 1), ("most-negative", -(1 << 63)), ("far", (1 << 22) - 1),
                          ("that-of-another", 0)]],
    field("token-of-no-alphabet", "tokenizer-alphabet", "model/vocab", {"\u4e2d": 0, **LETTERS}),
    field("token-of-controls", "tokenizer-alphabet", "model/vocab", {"\x1b[31m": 0, **LETTERS}),
    field("token-empty-with-a-wrong-id", "tokenizer-id", "model/vocab/", -5),
    *[field(f"merge-is-{name}", "tokenizer-merge", "model/merges", [value])
      for name, value in [("null", None), ("a-number", 1), ("an-object", {}), ("empty", ""), ("one-word", "ab"),
                          ("three-words", "a b c"), ("an-empty-list", []), ("a-list-of-one", ["a"]),
                          ("a-list-of-three", ["a", "b", "c"]), ("a-list-of-numbers", [1, 2]), ("two-blanks", "  "),
                          ("unknown", "a zzzz"), ("long", "a" * 100000 + " b")]],

    # added tokens
    *types("added_tokens", "tokenizer-field", "a-list", "null"),
    *[field(f"added-is-{name}", "tokenizer-added-token", "added_tokens", [value])
      for name, value in [("null", None), ("a-number", 1), ("text", "x"), ("a-list", []), ("empty", {}),
                          ("without-content", {"id": 509}), ("of-empty-content", {**ADDED, "content": ""}),
                          ("of-no-content", {**ADDED, "content": 5})]],
    *[field(f"added-id-is-{name}", slug, "added_tokens", [{**ADDED, "id": value}])
      for name, slug, value in [("null", "tokenizer-id", None), ("text", "tokenizer-id", "509"),
                                ("negative", "tokenizer-id", -1), ("2-to-the-63", "tokenizer-id", (1 << 63) - 1),
                                ("beyond", "tokenizer-added-token", 511), ("in-front", "tokenizer-added-token", 3)]],
    field("added-twice", "tokenizer-added-token", "added_tokens", [ADDED, ADDED]),
    field("added-in-another-place", "tokenizer-added-token", "added_tokens", [{**ADDED, "content": "a"}]),
    *[field(f"added-{flag}-is-text", "tokenizer-field", "added_tokens", [{**ADDED, flag: "no"}])
      for flag in ("special", "lstrip", "rstrip", "single_word", "normalized")],
    Case("more-tokens-than-the-model", "tokenizer-vocab", set_json(
        FILE, "added_tokens", [{**ADDED, "id": 509 + i, "content": f"<{i}>"} for i in range(4)])),

    # pre-tokenizers
    *types("pre_tokenizer", "tokenizer-pretokenizer", "null", start="pretokenizer"),
    pretokenizer("of-no-type", {}),
    pretokenizer("of-another-type", {"type": "\x1b[31m" + "x" * 10000}),
    pretokenizer("sequence-without-list", {"type": "Sequence"}),
    pretokenizer("sequence-in-sequence", {"type": "Sequence",
                                          "pretokenizers": [{"type": "Sequence", "pretokenizers": []}]}),
    pretokenizer("of-null", None, None),
    pretokenizer("17", *[SPLIT] * 17),
    *[pretokenizer("split-" + name, {**SPLIT, **change})
      for name, change in [("without-pattern", {"pattern": None}),
                           ("of-two-patterns", {"pattern": {"Regex": "a", "String": "b"}}),
                           ("pattern-is-text", {"pattern": "a"}), ("pattern-is-a-number", {"pattern": {"Regex": 1}}),
                           ("pattern-empty", {"pattern": {"Regex": ""}}),
                           ("pattern-long", {"pattern": {"Regex": "a" * 65536}}),
                           ("literal-long", {"pattern": {"String": "." * 40000}}),
                           ("without-behavior", {"behavior": None}),
                           ("of-no-behavior", {"behavior": "Sideways"})]],
    field("pretokenizer-split-invert-is-text", "tokenizer-field", "pre_tokenizer", {**SPLIT, "invert": "no"}),
    field("pretokenizer-split-behavior-is-a-number", "tokenizer-field", "pre_tokenizer", {**SPLIT, "behavior": 1}),
    pretokenizer("byte-level-without-prefix", {"type": "ByteLevel"}),
    field("pretokenizer-use-regex-is-text", "tokenizer-field", "pre_tokenizer", {**BYTE_LEVEL, "use_regex": "yes"}),

    # normalizers
    *types("normalizer", "tokenizer-normalizer", "null"),
    normalizer("sequence-without-list", {"type": "Sequence"}),
    normalizer("nine", *[{"type": "NFC"}] * 9),
    normalizer("prepend-nothing", {"type": "Prepend"}),
    normalizer("prepend-long", {"type": "Prepend", "prepend": "x" * 17}),
    normalizer("replace-nothing", {"type": "Replace", "pattern": {"String": ""}, "content": "x"}),
    normalizer("replace-by-a-regex", {"type": "Replace", "pattern": {"Regex": "a*"}, "content": "x"}),
    normalizer("replace-without-content", {"type": "Replace", "pattern": {"String": "a"}}),
    normalizer("grows-without-end", *[{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 16}] * 8),

    # post-processors and their templates
    *types("post_processor", "tokenizer-post-processor", "null", start="post"),
    field("post-sequence-without-list", "tokenizer-post-processor", "post_processor", {"type": "Sequence"}),
    field("post-two-templates", "tokenizer-post-processor", "post_processor", {"type": "Sequence", "processors": [
        {"type": "TemplateProcessing", "single": [TEXT]}, {"type": "TemplateProcessing", "single": [TEXT]}]}),
    template("empty", []),
    template("is-text", "A"),
    template("without-text", [special("s")], ids(1)),
    template("of-two-texts", [TEXT, TEXT]),
    template("of-another-text", [{"Sequence": {"id": "B"}}]),
    template("of-nothing-known", [{"Picture": {}}, TEXT]),
    template("of-null", [None, TEXT]),
    template("of-an-absent-special", [special("s"), TEXT]),
    template("special-without-ids", [special("s"), TEXT], ids()),
    template("special-without-a-name", [{"SpecialToken": {}}, TEXT], ids(1)),
    *[template(f"id-{name}", [special("s"), TEXT], ids(value))
      for name, value in [("negative", -1), ("beyond", 512), ("largest", (1 << 63) - 1), ("text", "1"),
                          ("null", None)]],
    template("too-long", [special("s")] * 17 + [TEXT], ids(1)),
    template("too-many-ids", [special("s"), TEXT], ids(*[1] * 100000)),

    # decoders
    *types("decoder", "tokenizer-decoder", "null"),
    field("decoder-of-another-alphabet", "tokenizer-decoder", "decoder", METASPACE),

    # SentencePiece's kind
    sentencepiece("no-decoder", "tokenizer-decoder", decoder=None),
    sentencepiece("decoder-sequence-without-list", "tokenizer-decoder", decoder={"type": "Sequence"}),
    sentencepiece("decoder-out-of-order", "tokenizer-decoder",
                  decoder={"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "ByteFallback"}]}),
    sentencepiece("decoder-twice", "tokenizer-decoder", decoder={"type": "Sequence", "decoders": [REPLACE, REPLACE]}),
    sentencepiece("decoder-strips-much", "tokenizer-field", decoder={"type": "Sequence", "decoders": [
        REPLACE, {"type": "Strip", "content": " ", "start": (1 << 63) - 1, "stop": 0}]}),
    sentencepiece("mark-missing", "tokenizer-pretokenizer", pre_tokenizer={"type": "Metaspace"}),
    sentencepiece("mark-empty", "tokenizer-pretokenizer", pre_tokenizer={**METASPACE, "replacement": ""}),
    sentencepiece("mark-of-two", "tokenizer-pretokenizer", pre_tokenizer={**METASPACE, "replacement": "__"}),
    sentencepiece("mark-is-a-number", "tokenizer-field", pre_tokenizer={**METASPACE, "replacement": 1}),
    sentencepiece("scheme-unknown", "tokenizer-pretokenizer", pre_tokenizer={**METASPACE, "prepend_scheme": "often"}),
    sentencepiece("scheme-against-prefix", "tokenizer-pretokenizer",
                  pre_tokenizer={**METASPACE, "add_prefix_space": False}),
    sentencepiece("unknown-token-unknown", "tokenizer-model",
                  model={"type": "BPE", "vocab": {"a": 0}, "unk_token": "b", "merges": []}),
    sentencepiece("unknown-token-is-a-number", "tokenizer-field",
                  model={"type": "BPE", "vocab": {"a": 0}, "unk_token": 0, "merges": []}),
    sentencepiece("vocab-empty", "tokenizer-field", model={"type": "BPE", "vocab": {}, "merges": []}),

    # texts and the chat template
    *[Case(f"texts-{name}", f"tokenizer-config-{slug}", replace_file(CONFIG, text),
           "line" if slug != "too-large" else "file")
      for name, slug, text in json_damage('{"eos_token": "x"}')],
    *[config(f"{key}-is-{name}", "tokenizer-config-field", key, value)
      for key in ("bos_token", "eos_token") for name, value in TYPES if name not in ("text", "null")],
    *[config(f"template-is-{name}", "tokenizer-config-field", "chat_template", value)
      for name, value in [("a-number", 7), ("an-object", {"default": "x"}), ("true", True),
                          ("a-list-with-a-number", [{"name": "default", "template": 7}])]],
    config("template-too-long", "tokenizer-chat-template", "chat_template", "x" * ((1 << 20) + 1)),
    Case("jinja-too-long", "tokenizer-chat-template", replace_file(TEMPLATE, "x" * ((1 << 20) + 1))),
    Case("jinja-with-nul", "tokenizer-chat-template", replace_file(TEMPLATE, b"{{ a }}\0")),
    Case("jinja-of-zeros", "tokenizer-chat-template", replace_file(TEMPLATE, bytes(4096))),
]
