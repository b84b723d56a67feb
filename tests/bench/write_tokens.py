"""write_tokens.py OUT: writes 128,256 tokens of real vocabularies for mask_cost, as lines of hexadecimal digits. The
tokens of cl100k_base come first, as in Llama 3's vocabulary, then the first ones of o200k_base that cl100k_base
lacks. These are mostly of other languages, as in Llama 3. Needs bpe-openai from PyPI."""
import sys

import bpe_openai

N_TOKENS, N_SPECIAL = 128256, 256


def tokens_of(name):
    encoding = bpe_openai.get_encoding(name)
    for i in range(encoding.n_vocab):
        try:
            yield encoding.decode_single_token_bytes(i)
        except Exception:  # an id without a token
            pass


# In the order of their ids; special tokens have no bytes here.
tokens = dict.fromkeys(token for name in ("cl100k_base", "o200k_base") for token in tokens_of(name) if not token.startswith(b"<|"))
with open(sys.argv[1], "w") as out:
    for token in list(tokens)[:N_TOKENS - N_SPECIAL] + [b""] * N_SPECIAL:
        out.write(token.hex() + "\n")
