#!/usr/bin/env python3
"""Regenerates the tokenizer fixtures of this folder from the `tokenizers` library.

    pip install tokenizers
    python make_fixtures.py

Writes small BPE tokenizers, byte-level and SentencePiece's, in the forms that published models have
(NAME.tokenizer.json), a corpus of nasty texts (corpus.json), and what the library makes of them
(NAME.expected.json). test_tokenizer.c compares the runtime with all of it. The output is the same on
every run of one library version, which expected.json names.
"""
import collections
import json
import random
import re
import unicodedata
from pathlib import Path

import tokenizers
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                        pre_tokenizers, processors, trainers)

HERE = Path(__file__).resolve().parent
BOOK = HERE.parent.parent / "examples/model/heldout.txt"  # public domain, in the repository

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN_3_5 = QWEN.replace(r"\p{L}+", r"[\p{L}\p{M}]+").replace(r"[^\s\p{L}", r"[^\s\p{L}\p{M}")

# As OpenAI's library has them: in Ruby's syntax \p{N}{1,3}+ is a repetition, and $ the end of a line.
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$"
          r"|\s*[\r\n]|\s+(?!\S)|\s")
LETTERS = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
O200K = (r"[^\r\n\p{L}\p{N}]?%s*%s+(?i:'s|'t|'re|'ve|'m|'ll|'d)?" % LETTERS +
         r"|[^\r\n\p{L}\p{N}]?%s+%s*(?i:'s|'t|'re|'ve|'m|'ll|'d)?" % LETTERS +
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK_LLM = ["[\r\n]", "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af"
                "\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5"
                "\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u1e00-\u1f15\ua640-\ua66d\uff21-\uff3a"
                "\uff41-\uff5a\U00010400-\U0001044f\U0001e900-\U0001e943]+",
                "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", "\\s+$",
                "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"]
DEEPSEEK_CODER = ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}"]
DEEPSEEK_3 = [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
              "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
              "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"]
# Every interval that Ruby's syntax reads differently, both ends of a line, and patterns that PCRE2
# makes possessive by mistake.
LINES = r"^[ \t]+|[er]+(?:xy)?+r|a{2}?b|\p{N}{2,3}+|[ab]{1,2}{2}|(?:th){1,2}++|\r?$|e{2}*d"

# Text in many scripts, so that the small vocabularies hold merges across them.
SCRIPTS = """
Zażółć gęślą jaźń. Příliš žluťoučký kůň úpěl ďábelské ódy. Falsches Üben von Xylophonmusik quält
jeden größeren Zwerg. Voix ambiguë d'un cœur qui, au zéphyr, préfère les jattes de kiwis.
Съешь же ещё этих мягких французских булок да выпей чаю. Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.
עטלף אבק נס דרך מזגן שהתפוצץ כי חם. صِف خَلقَ خَودِ كَمِثلِ الشَمسِ إِذ بَزَغَت.
ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश करने वाले विष्णुवतार भगवान श्रीराम।
いろはにほへと ちりぬるを わかよたれそ つねならむ。天地玄黃 宇宙洪荒 日月盈昃 辰宿列張。
키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다. เป็นมนุษย์สุดประเสริฐเลิศคุณค่า
Tiếng Việt có dấu. 😀😃😄 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇯🇵 👍🏽 ✨ → ∀x∈ℝ: ⌈x⌉ = −⌊−x⌋ ½ ² ①
""" * 6


def training_text():
    return [BOOK.read_text(encoding="utf-8")[:40000], SCRIPTS,
            "I'm we're THEY'LL don't 1234567 3.14 x=1;\n\tif (a && b) { return 0; }\r\n" * 20]


def train(tok, vocab_size):
    tok.train_from_iterator(training_text(), trainers.BpeTrainer(
        vocab_size=vocab_size, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))


def llama3():
    tok = Tokenizer(models.BPE(ignore_merges=True))
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    train(tok, 1200)
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in (
        "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
        "<|eot_id|>", "<|eot|>", "<|eot_id|><|eot_id|>")])
    tok.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True),
        processors.TemplateProcessing(
            single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
            special_tokens=[("<|begin_of_text|>", tok.token_to_id("<|begin_of_text|>"))])])
    return tok


def gpt2():
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.decoder = decoders.ByteLevel()
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    train(tok, 900)
    tok.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=True)])
    tok.add_tokens([AddedToken(" " * n, normalized=False) for n in (24, 12, 4)])
    tok.add_tokens([
        AddedToken("<left>", lstrip=True, normalized=False),
        AddedToken("<right>", rstrip=True, normalized=False),
        AddedToken("<both>", lstrip=True, rstrip=True, normalized=False),
        AddedToken("word", single_word=True, normalized=False),
        AddedToken("straße", single_word=True, normalized=True),
        AddedToken("é", normalized=False),       # decodes through the byte alphabet
        AddedToken("日本", normalized=True)])
    return tok


def qwen(words=QWEN):
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(words), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    train(tok, 1100)
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False)
                            for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    tok.add_tokens([AddedToken("<think>", normalized=False),
                    AddedToken("caf\u00e9!", normalized=True),   # matched after NFC
                    AddedToken("Ame\u0301lie", normalized=True),
                    AddedToken("e\u0301", normalized=False)])    # matched before NFC
    return tok


def patterns(splits, vocab_size, individual_digits=None, added=()):
    """Byte-level BPE after some splits, as the conversions of OpenAI's and DeepSeek's tokenizers."""
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.Sequence([])
    digits = [] if individual_digits is None else [pre_tokenizers.Digits(individual_digits)]
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(split), behavior="isolated", invert=False) for split in splits] + digits +
        [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    train(tok, vocab_size)
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in added])
    return tok


def deepseek(splits, individual_digits=None):
    return patterns(splits, 900, individual_digits,
                    ("<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>"))


def falcon():
    """Digits split one by one before the ByteLevel pattern, a space put in front, EOS at the end."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)])
    tok.decoder = decoders.ByteLevel()
    train(tok, 800)
    tok.add_special_tokens([AddedToken("<s>", special=True, normalized=False),
                            AddedToken("</s>", special=True, normalized=False)])
    tok.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>",
        special_tokens=[("<s>", tok.token_to_id("<s>")), ("</s>", tok.token_to_id("</s>"))])
    return tok


def punctuation():
    """Falcon 7B's: what follows ByteLevel splits its alphabet, not the text."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation(behavior="contiguous"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        pre_tokenizers.Digits(individual_digits=False),
        pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), behavior="isolated", invert=False)])
    tok.decoder = decoders.ByteLevel()
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    train(tok, 900)
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False)
                            for t in (">>TITLE<<", "<|endoftext|>")])
    return tok


def split_variant(behavior, invert, pattern=r"[\r\n]+|\d{2,}|[\p{Han}\p{Lu}]|(?<=a)b|x*"):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior=behavior, invert=invert),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    train(tok, 500)
    return tok


def neox():
    """GPT-NeoX: NFC, the GPT-2 pattern, and runs of spaces as added tokens that are normalised."""
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True)
    tok.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=True)
    tok.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=True)
    tok.train_from_iterator(training_text(), trainers.BpeTrainer(
        vocab_size=700, show_progress=False, special_tokens=["<|endoftext|>", "<|padding|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    tok.add_tokens([AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)])
    return tok


METASPACE_DECODER = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]


def sentencepiece(vocab_size, missing=(), more=(), **options):
    """BPE over characters: <unk>, <s>, </s>, the 256 bytes but the missing ones, and trained merges; and
    those of more, whose halves are two pieces.

    Characters that are rare in the text are left out, so that bytes have to stand in for them."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    counts = collections.Counter("".join(training_text()).replace(" ", "\u2581"))
    # Given as a whole: the trainer breaks ties between rare characters by chance.
    alphabet = sorted(sorted(counts), key=lambda c: -counts[c])[:110]
    trained.train_from_iterator(training_text(), trainers.BpeTrainer(
        vocab_size=vocab_size, show_progress=False, limit_alphabet=110, initial_alphabet=alphabet))
    model = json.loads(trained.to_str())["model"]
    pieces = ["<unk>", "<s>", "</s>"]
    pieces += [f"<0x{byte:02X}>" for byte in range(256) if byte not in missing]
    pieces += sorted(model["vocab"], key=model["vocab"].get)
    merges = [tuple(pair) for pair in model["merges"]]
    # Runs of spaces are pieces in SentencePiece.
    pieces += ["\u2581\u2581", "\u2581\u2581\u2581\u2581"]
    merges += [("\u2581", "\u2581"), ("\u2581\u2581", "\u2581\u2581")]
    pieces += [left + right for left, right in more]
    merges += [(left, right) for left, right in more if left and right]
    return Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=merges,
                                **options))


def add_sentence_tokens(tok, single):
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False)
                            for t in ("<unk>", "<s>", "</s>")])
    tok.post_processor = processors.TemplateProcessing(
        single=single, pair=f"{single} $B",
        special_tokens=[(t, tok.token_to_id(t)) for t in ("<s>", "</s>")])


def llama2():
    """As transformers writes Llama 2: normalizers put the marks, and nothing splits."""
    tok = sentencepiece(800, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"),
                                           normalizers.Replace(" ", "\u2581")])
    tok.decoder = decoders.Sequence(METASPACE_DECODER + [decoders.Strip(content=" ", left=1, right=0)])
    add_sentence_tokens(tok, "<s> $A")
    tok.add_tokens([AddedToken("<pad>", normalized=False), AddedToken("</line>", normalized=True),
                    AddedToken("word", single_word=True, normalized=False),
                    AddedToken("<left>", lstrip=True, normalized=False),
                    AddedToken("<right>", rstrip=True, normalized=False),
                    AddedToken("日本", normalized=True), AddedToken("<0xE9>x", normalized=False)])
    return tok


def metaspace():
    """As transformers writes Llama 2 with legacy off, but bytes are missing, and unknown characters are
    not fused."""
    tok = sentencepiece(700, missing=(0x0a, 0xe2, 0xe6), unk_token="<unk>", fuse_unk=False,
                        byte_fallback=True, ignore_merges=True)
    tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tok.decoder = decoders.Sequence(METASPACE_DECODER + [decoders.Strip(content=" ", left=1, right=0)])
    add_sentence_tokens(tok, "<s> $A </s>")
    tok.add_tokens([AddedToken("e", single_word=True, normalized=False),  # in the vocabulary too
                    AddedToken("\u2581", single_word=True, normalized=True),
                    AddedToken("straße", single_word=True, normalized=True)])
    return tok


def nul():
    """A vocabulary with a NUL; noncharacters beside it must stay what they are."""
    more = [("", "\0"), ("", "\ufdd0"), ("\0", "\0"), ("a", "\0"), ("\0\0", "a\0"), ("\ufdd0", "a")]
    tok = sentencepiece(500, more=more, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tok.normalizer = normalizers.Replace(" ", "\u2581")
    tok.decoder = decoders.Sequence(METASPACE_DECODER)
    add_sentence_tokens(tok, "<s> $A")
    return tok


def gemma():
    tok = sentencepiece(700, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tok.normalizer = normalizers.Replace(" ", "\u2581")
    tok.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous", invert=False)
    tok.decoder = decoders.Sequence(METASPACE_DECODER)
    add_sentence_tokens(tok, "<s> $A")
    tok.add_tokens([AddedToken("\n" * n, normalized=False) for n in (2, 3, 5)] +
                   [AddedToken("\u2581" * n, normalized=False) for n in (2, 3, 8)])
    return tok


def metaspace_split(scheme, fuse_unk, unk_token):
    """Words begin at the marks; no bytes stand in for what is unknown."""
    tok = sentencepiece(500, missing=range(256), unk_token=unk_token, fuse_unk=fuse_unk)
    tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=True)
    tok.decoder = decoders.Metaspace(prepend_scheme=scheme, split=True)
    tok.add_special_tokens([AddedToken("</s>", special=True, normalized=False)])
    tok.add_tokens([AddedToken("<both>", lstrip=True, rstrip=True, normalized=False)])
    return tok


TOKENIZERS = {
    "llama3": llama3, "gpt2": gpt2, "qwen": qwen, "qwen3_5": lambda: qwen(QWEN_3_5), "falcon": falcon,
    "punctuation": punctuation, "neox": neox,
    "cl100k": lambda: patterns([CL100K], 900, added=("<|endoftext|>", "<|endofprompt|>")),
    "o200k": lambda: patterns([O200K], 900, added=("<|endoftext|>",)),
    "deepseek-llm": lambda: deepseek(DEEPSEEK_LLM, True),
    "deepseek-coder": lambda: deepseek(DEEPSEEK_CODER),
    "deepseek-3": lambda: deepseek(DEEPSEEK_3),
    "split-lines": lambda: split_variant("isolated", False, LINES),
    "llama2": llama2, "metaspace": metaspace, "gemma": gemma,
    "metaspace-always": lambda: metaspace_split("always", True, "<unk>"),
    "metaspace-never": lambda: metaspace_split("never", False, None),
    "nul": nul,
    "split-removed": lambda: split_variant("removed", False),
    "split-previous": lambda: split_variant("merged_with_previous", False),
    "split-next": lambda: split_variant("merged_with_next", False),
    "split-contiguous": lambda: split_variant("contiguous", True),
}


# Tokenizers of this kind use every n-th text of the corpus.
STEPS = {"split": 4, "neox": 3, "punctuation": 2, "gemma": 3, "metaspace": 2, "cl100k": 2, "o200k": 3,
         "deepseek": 3, "qwen3_5": 3}


def fixed_texts():
    yield from ["", " ", "  ", "\n", "\r\n", "\t", "a", "A", "é", "0", "\0", "\0\0a\0", "Hello world",
                "In the beginning God created the heaven and the earth.", " leading", "trailing ",
                "two  spaces", "three   spaces   here", " \n \n ", "a\n\n\nb", "a \n\n b", "a\r\n\r\nb\r\r"]
    yield from [ws * n + tail for ws in (" ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u2003", "\u2028",
                                         "\u0085", "\u180e", "\x0b", "\x0c", "\x1c", "\u200b", "\ufeff")
                for n, tail in ((1, ""), (3, ""), (3, "x"), (7, "1"), (2, "\n"), (2, "!"))]
    yield from ["1", "12", "123", "1234", "12345678901234567890", "3.14159", "1,000,000", "٣٤٥٦٧", "१२३४",
                "½¼¾ ²³ ①②③ Ⅷ ⅷ 〇一二三", "𝟘𝟙𝟚𝟛 𝟜"]
    yield from ["I'm you're he'll we'd they've it's don't", "I'M YOU'RE HE'LL WE'D THEY'VE IT'S DON'T",
                "'s't're've'm'll'd", "'S'T'RE'VE'M'LL'D", "'ſ 'K 'ſ'lL'Ll", "''s ' s 'sa 'tt 'rex",
                "can’t ‘quote’ “double” — dash … ellipsis", "O'Neil's rock'n'roll 'tis y'all'd've"]
    yield from ["e\u0301", "é", "A\u030a", "\u212b", "\u1e9b\u0323", "a\u0323\u0307", "a\u0307\u0323",
                "q\u0307\u0323", "\u0301alone", "x\u0301\u0302\u0303\u0304", "\u0958\u0959", "\ufb1d\ufb2a",
                "각 \u1100\u1161\u11a8 \u1100\u1161 \uac00\u11a8", "\u0344\u0343\u0374\u037e\u0387", "ﬁ ﬂ ﬃ ﬆ",
                "\U0001d15e\U0001d15f", "caf\u00e9! cafe\u0301! CAFE\u0301!", "Am\u00e9lie Ame\u0301lie",
                "\u0f71\u0f72\u0f74 \u0f73", "\u0327\u0301c\u0327\u0301 c\u0301\u0327",
                "a" + "\u0315\u0300\u05ae\u0338" * 20 + "b"]
    yield from ["😀", "👩‍👩‍👧‍👦 family", "🏳️‍🌈🏴‍☠️", "🇩🇪🇯🇵🇺🇸", "👍🏻👍🏿", "1️⃣#️⃣", "☺️☺︎", "🫠🫡🪿", "a😀b😀c", "😀 😀  😀"]
    yield from ["שלום עולם", "السلام عليكم", "مرحبا بالعالم ١٢٣", "\u202eright to left\u202c", "abc\u200fdef\u200e",
                "日本語のテキスト", "你好，世界！", "日本", "日本人", "日 本", "안녕하세요 세계", "สวัสดีชาวโลก", "नमस्ते दुनिया",
                "Ελληνικά ΚΕΦΑΛΑΙΑ", "Привет, МИР!", "Straße STRASSE straße straßen", "ǅ ǈ ǋ İı ß ẞ", "ªº ʰʲ ⁿ",
                "𐍈𐌰𐌹 𓀀𓀁 𠀀𠀁", "Ꭰꭰ ꟲ ꟳ", "\u00ad soft\u00adhyphen", "zero\u200bwidth\u2060join\u200d"]
    yield from ["<|begin_of_text|>", "<|eot_id|>", "a<|eot_id|>b", "<|eot_id|><|eot_id|>", "<|eot_id|>" * 3,
                "<|eot|><|eot", "<|eot_id", "<<|eot_id|>>", " <|eot_id|> ", "<|EOT_ID|>",
                "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>", "<|endoftext|>", "x<|endoftext|>y",
                "<|im_start|>user\nhi<|im_end|>\n", "<think>\nhm\n</think>", "<s>", "</s>", "<s>a</s>b<s></s>"]
    yield from ["a  <left>  b", "a  <right>  b", "a \n <both> \t b", "<left><right><both>", "  <left>",
                "<right>  ", "<both> <both>  <left>", "<right> <left>", "a\u00a0<left>\u3000b", "x<right>\u2003\u0085y",
                "word", "words", "a word here", "sword", "word-word", "word_word", "wordé", "\u24b6word", "word\u0301",
                "word 日本 word日本", "wordword", "éword", "caféword café", "straße.", "eine Straße, straße!"]
    yield from [" " * n + "x" for n in (3, 4, 5, 11, 12, 13, 23, 24, 25, 40, 60)]
    yield from ["if (x && y) {\n\treturn a[i] + 0x1F;\n}\n", "    def f(self):\n        return None\n\n\n",
                "<html><body class=\"a\">&nbsp;</body></html>", "https://example.org/a?b=c&d=%20#e",
                "C:\\path\\to\\file", "a_b_c __init__ CamelCaseWord snake_case_word", "!!!??? ...,,,;;; ---===",
                "!\n", "!\n\n\nx", "?!\r\n\r\nx", ". \n.", "#\n#", "$100 €5 £3 ¥7 ₿2", "∀x∈ℝ: x² ≥ 0 ⇒ √x"]
    yield from ["\u2581", "\u2581a", " \u2581 a\u2581b", "a\u2581\u2581\u2581\u2581\u2581b", "<unk>", "a<unk> b", "</line>",
                "the</line>", "the </line> and", "<pad><pad> x", " <s>the", "<s> the", "</s> the", "<0x41>", "<0xE9>x",
                "\nthe\n", "\u2603the\u2603\u2603\n\u2603", "\u2603\u2603 \u2603", "日本日本 日本", "e", "e e", " e ", "the e"]
    yield from ["x" * 50, "xxyxx", "abab aab", "ab12cd345", "AbcDEF漢字HAN", "a" * 300, "ab" * 300, "=" * 200,
                " a" * 100, "\n" * 70, "\r\n" * 40, "1" * 100, "é" * 100, "漢" * 60, "😀" * 40]
    yield from nasty_texts()


def nasty_texts():
    # Every control character, between letters and alone; byte order marks; noncharacters; private
    # use.
    controls = [chr(c) for c in [*range(0x20), *range(0x7f, 0xa0)]]
    yield from ("".join(controls), "a".join(controls), " ".join(controls), "\ufeffthe\ufeff the\ufeff",
                "\ufffe\uffff\U0010ffff x", "\ue000\uf8ff\U000f0000 \ufff9\ufffa\ufffb\ufffc\ufffd")
    yield from ("a\r\n\r\nb\n\rc\r\r\n", "\t\tx\t y\t\n\t", " \t \t ", "x \r\n y\r\n\t z \n\n ",
                " \n  \n   \nx", "\n \n\n  x")
    yield from (" " * 1000, " " * 1000 + "x", "x" + " " * 999 + "\n", "\n" * 500 + " x",
                "\t" * 300 + "a" + "\t" * 299, "\u3000" * 100 + "\u2003x", " \u00a0" * 60)
    yield from (" ".join("1234567890123"[:n] for n in range(1, 14)), "a1b22c333d4444e55555",
                "0x1F 1e-9 1_000 1.234.567,89 12:34:56",
                "\u06f1\u06f2\u06f3\u06f4 \u0be7\u0be8\u0be9 \u0f20\u0f21 \u1040\u1041\u1042\u1043",
                "1\u00b22\u00bd3\u2460\u2461\u2462", "\U0001d7ce1\U0001d7cf2\u4e00\u4e8c\u4e09")
    # Marks: long runs, many classes, what Unicode 9.0 does not know, and what composition has to
    # skip.
    yield from ("o\u0302\u0301\u0323o\u0323\u0302\u0301", "\u1ebf\u0323\u1ec7\u0301",
                "\u0041\u030a\u0327\u0041\u0327\u030a", "a\u0345\u0301\u1fb4\u0345",
                "\u0300\u0301\u0302" * 40 + "e", "e" + "\u0323\u0301" * 50,
                "\u0308\u0301\u0390\u03b9\u0308\u0301", "\u0cc6\u0cc2\u0cd5\u0dd9\u0dcf\u0dca",
                "\u09c7\u09be\u0b47\u0b56\u0bc6\u0bd7", "\u0300\u08d3\u0301",
                "\U00011935\U00011930\U00011938", "\u0345\u1ac8e\u0360\u1df6",
                "\U0001d157\U0001d165\U0001d16e\u2adc\u0338", "\ufb2a\u05c1\u05e9\u05bc\u05c2",
                "\u3099\u304b\u3099\u309a\u30cf\u309a")
    # Hangul: parts, whole, halves, fillers and the consonant that is none.
    yield from ("\u1100\u1161\u11a7\u11a8", "\uac00\u11a7", "\uac00\u11a8\u11a8\uac01\u11a8",
                "\u1112\u1161\u11ab\u1100\u1173\u11af", "\u115f\u1161\u1100\u1160",
                "\u1113\u1161\ua960\ud7b0\ud7cb", "\u3131\u314f\u3134 \uffa1\uffc2",
                "\ub300\ud55c\ubbfc\uad6d\ub9cc\uc138 \u1103\u1162\u1112\u1161\u11ab")
    yield from ("\U0001f468\u200d\U0001f469\u200d\U0001f466\u200d\U0001f466\U0001f3fd\u200d\U0001f4bb",
                "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
                "\U0001f1e9\U0001f1ea\U0001f1ef x \U0001f1f5", "\u2764\ufe0f\u200d\U0001f525 \u2764\ufe0e",
                "\u200d\u200d\U0001f600\u200da\u200c", "0\ufe0f\u20e3*\u20e3 \u00a9\ufe0f\u2122",
                "\U0001f44d" * 70, "\U0001f9d1\U0001f3ff\u200d\U0001f91d\u200d\U0001f9d1\U0001f3fb")
    yield from ("\u202babc \u05d0\u05d1 123\u202c \u2067x\u2069",
                "\u0644\u0627 \ufefb \u0640\u0640 \u064b\u0651\u0670",
                "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd", "a\u0627b\u05d0c1\u0661d",
                "\u0646\u06cc\u200c\u0645", "\u061cx\u200e\u200f\u202d")
    yield from ("\u0e01\u0e33\u0e44\u0e23 \u0e40\u0e01\u0e47\u0e1a",
                "\u0e9b\u0eb0\u0ec0\u0e97\u0e94\u0ea5\u0eb2\u0ea7", "\u1781\u17d2\u1798\u17c2\u179a",
                "\u1019\u103c\u1014\u103a\u1019\u102c", "\u0f56\u0f7c\u0f51\u0f0b\u0f61\u0f72\u0f42",
                "\u0915\u094d\u200d\u0937 \u0915\u094d\u200c\u0937",
                "\u0ba4\u0bae\u0bbf\u0bb4\u0bcd \u0c24\u0c46\u0c32\u0c41\u0c17\u0c41",
                "\u4e2d\u6587english\u65e5\u672c\u8a9e\ud55c\uad6d\uc5b4\u0440\u0443\u0441",
                "\u300c\u3053\u3093\u306b\u3061\u306f\u300d\u3068\uff01\uff1f\u3001\u30fc\u301c",
                "\uff21\uff22\uff43\uff11\uff12\uff61\uff76\uff9e",
                "\U00020bb7\u91ce\u5bb6 \U0002a700 \u9fff\u3400", "\u5d29\u0300\u4e00\u309a",
                "\u1e9e\u00df\u0130i\u0307\u0131\u017f\u212a",
                "\u1c80\u1c90\u10d0\ua64a\U00010400\U00010428\u2c2f")
    # Added tokens: beside each other, inside words, one in another, white space that two of them
    # claim.
    yield from ("<both><both>", " <both> <both> ", "<right>    <left>", "<right>" + " " * 24 + "<left>",
                "<right>\n\n<both>\t<left>", "x<right> <right> y", "<left> <right>",
                "  <left><left>  <right>  <right>", "word<both>word <both> word", "<both>word<left>",
                "\u65e5\u672c<both>\u65e5\u672c", "caf\u00e9!\u0301", "cafe\u0301!cafe\u0301!",
                "e\u0301e\u0301\u0323", "<|eot_id|><|eot_id|><|eot_id|><|eot", "<|eot_id|>\u0301",
                "<|im_start|><|im_end|> <think></think>", "<|begin_of_text|><|begin_of_text|>",
                "<s><s> <s>\n</s>x</s>", "<<s>>", "<s</s>s>", "</s", "<unk><unk>\u2603<unk>",
                "\u2581<s>\u2581\u2581</s>\u2581", "<0x0A><0x0a>\n", "<pad></line><pad>", " </line> ",
                "word\u200dword", "_word word_ word1 1word (word)", "stra\u00dfe\u0301 stra\u00dfe",
                "\n\n\n\n\n\n\n\n x", "\u2581" * 20)


def random_texts(rng):
    pools = ["abcdefghij", "aeiou rst", " \t\n\r", "0123456789", "'sStTrRdD lL", "ABCxyz'.,!? \n0",
             "e\u0301\u0323\u0300a\u030aq", "éèüñç ÀÉ", "漢字かなカナ 。", "абв АБВ ё", "مرحب ا", "😀👩\u200d👧🏽 ",
             "\u00a0\u2003\u3000\u180e x", "<|eot_id|> <s>", "한글 \u1100\u1161\u11a8"]
    for _ in range(150):
        chosen = rng.sample(pools, rng.randint(1, 4))
        yield "".join(rng.choice(rng.choice(chosen)) for _ in range(rng.randint(1, 60)))
    specials = ["<|eot_id|>", "<|endoftext|>", "<left>", "<right>", "<both>", "word", " ", "  ", "\n", "x",
                "日本", "é", "e\u0301", "</s>", "<think>", "straße", "<|im_end|>", "caf", "\u00e9!", "1"]
    for _ in range(150):
        yield "".join(rng.choice(specials) for _ in range(rng.randint(2, 12)))
    for _ in range(60):
        points = [rng.choice((rng.randrange(0x80), rng.randrange(0x250), rng.randrange(0x3000),
                              rng.randrange(0xd800), rng.randrange(0xe000, 0x10000),
                              rng.randrange(0x10000, 0x14000), rng.randrange(0x1f000, 0x1fb00)))
                  for _ in range(rng.randint(1, 24))]
        yield "".join(c for c in map(chr, points) if is_assigned(c))
    book = BOOK.read_text(encoding="utf-8")
    for _ in range(12):
        at = rng.randrange(len(book) - 400)
        yield book[at:at + rng.randint(20, 400)]
    yield "".join(rng.choice("abcdefgh") for _ in range(4000))  # one long word
    yield "".join(rng.choice("thelordandofi") for _ in range(2000))


def is_assigned(char):
    """Not so are characters newer than this Python's Unicode, of which libraries differ."""
    return unicodedata.category(char) not in ("Cn", "Cs")


def byte_strings(rng):
    fixed = ["ff", "80", "c0", "c0af", "c1bf", "c2", "c3", "c328", "e0", "e080", "e080af", "e0a0", "e0a0c3",
             "e2", "e282", "e28228", "e282ac", "ed9fbf", "eda080", "edb080", "edafbfedbfbf", "eebfbf", "efbfbd",
             "f0", "f09f", "f09f98", "f09f9880", "f08080af", "f0808080", "f48fbfbf", "f4908080", "f5808080",
             "f8888080", "fc84808080", "fe", "fefe", "ffff", "61f09f9862", "61c3", "c3a9c3", "f09f98f09f98",
             "e28261", "20e282", "41ff42fe43", "f1808080", "f18080", "f18080e1808061c2", "efbbbf61", "00ff00"]
    for text in fixed:
        yield bytes.fromhex(text)
    for _ in range(60):
        yield bytes(rng.randrange(256) for _ in range(rng.randint(1, 40)))
    valid = "é日😀a\u0301".encode()
    for _ in range(60):
        data = bytearray(valid * 2)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.choice((0x80, 0xff, 0xc3, 0xe2, 0xf0, 0xed, 0x61))
        yield bytes(data[:rng.randint(1, len(data))])


def corpus():
    rng = random.Random(20250101)
    cases = [text.encode() for text in fixed_texts()] + [text.encode() for text in random_texts(rng)]
    cases += list(byte_strings(rng))
    return list(dict.fromkeys(cases))


def as_json(data):
    """Valid UTF-8 is a string, other bytes are {"hex": ...}."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"hex": data.hex()}


def decoded(tok, ids):
    return [ids, tok.decode(ids, skip_special_tokens=False), tok.decode(ids, skip_special_tokens=True)]


def random_ids(tok, n):
    """Tokens of a few lengths, and runs of bytes of which most are not UTF-8."""
    rng = random.Random(7)
    ids = range(tok.get_vocab_size())
    byte_ids = [i for i in ids if re.fullmatch("<0x..>", tok.id_to_token(i))]
    for length, share in ((1, 0.47), (3, 0.35), (12, 0.18)):
        for _ in range(round(n * share)):
            yield [rng.choice(ids) for _ in range(length)]
    for _ in range(round(n * 0.6) if byte_ids else 0):
        text = rng.choice("é日😀\n\u00a0a")
        bytes_of_text = [tok.token_to_id(f"<0x{byte:02X}>") for byte in text.encode()]
        chosen = [i for i in bytes_of_text if i is not None]
        for _ in range(rng.randint(0, 3)):
            chosen.insert(rng.randrange(len(chosen) + 1), rng.choice(rng.choice((byte_ids, ids))))
        yield chosen


def expected(tok, cases, step, decode_step=5, n_random_ids=170):
    """Every step-th text encoded with special tokens and without; ids decoded both ways."""
    rows = []
    for data in cases[::step]:
        text = data.decode("utf-8", errors="replace")
        tok.encode_special_tokens = False
        with_special = tok.encode(text, add_special_tokens=True).ids
        tok.encode_special_tokens = True
        plain = tok.encode(text, add_special_tokens=False).ids
        tok.encode_special_tokens = False
        rows.append([with_special, plain])
    decodes = [decoded(tok, [token]) for token in sorted(tok.get_added_tokens_decoder())]
    decodes += [decoded(tok, ids) for ids in random_ids(tok, n_random_ids)]
    decodes += [decoded(tok, with_special) for with_special, _ in rows[::decode_step]]
    return {"library": f"tokenizers {tokenizers.__version__}", "step": step, "encode": rows, "decode": decodes}


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


def main():
    cases = corpus()
    write(HERE / "corpus.json", [as_json(data) for data in cases])
    for name, make in TOKENIZERS.items():
        tok = make()
        write(HERE / f"{name}.tokenizer.json", json.loads(tok.to_str()))
        write(HERE / f"{name}.expected.json", expected(tok, cases, STEPS.get(name.split("-")[0], 1)))
    size = sum(p.stat().st_size for p in HERE.glob("*.json"))
    print(f"{len(cases)} texts, {len(TOKENIZERS)} tokenizers, {size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
