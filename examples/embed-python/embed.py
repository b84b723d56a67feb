#!/usr/bin/env python3
"""Generates text with a compiled model through ctypes. Needs no packages, but rsr.h for Python, which this writes:

    ./make_rsr.py /usr/local/include/rsr.h > rsr.py
"""
import argparse
import concurrent.futures
import ctypes as c
import os
import signal
import sys

try:
    import rsr
except ImportError:
    sys.exit("embed.py: there is no rsr.py; make it: ./make_rsr.py /usr/local/include/rsr.h > rsr.py")

PICKED = 2**32 - 1  # UINT32_MAX: the log-probability of the token that is picked


class Failed(Exception):
    """An error message of the library."""


class Model:
    """A model with an engine and one sequence of tokens, for one thread at a time; any thread may call stop()."""

    def __init__(self, library, path):
        self.lib, self.err = rsr.load(library), rsr.RSR_ERROR_INIT()
        self.info, self.cancel = rsr.RSR_MODEL_INFO_INIT(), rsr.RSR_CANCEL_INIT()
        self.model, self.engine, self.sequence, self.detokenizer = (
            c.POINTER(kind)() for kind in (rsr.rsr_model, rsr.rsr_engine, rsr.rsr_sequence, rsr.rsr_detokenizer))
        self.call("rsr_open", os.fsencode(path), None, self.model)
        self.lib.rsr_model_get_info(self.model, self.info)
        self.call("rsr_engine_create", self.model, None, self.engine)
        self.call("rsr_sequence_create", self.engine, self.sequence)
        self.call("rsr_detokenizer_create", self.model,
                  rsr.RSR_DETOKENIZE_SKIP_SPECIAL | rsr.RSR_DETOKENIZE_CONTINUES, self.detokenizer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lib.rsr_detokenizer_destroy(self.detokenizer)
        self.lib.rsr_sequence_destroy(self.sequence)
        self.lib.rsr_engine_destroy(self.engine)
        self.lib.rsr_close(self.model)

    def call(self, name, *arguments):
        """Calls a function whose last parameter is an rsr_error. ctypes passes an object on by reference where the
        parameter is a pointer to such objects, and lets other threads of Python run meanwhile."""
        if getattr(self.lib, name)(*arguments, self.err) != rsr.RSR_OK:
            raise Failed(self.err.message.decode(errors="replace"))

    def stop(self):
        """Ends evaluate() in another thread within some milliseconds, and every later call of it."""
        self.lib.rsr_cancel_request(self.cancel)

    def tokens(self, text):
        tokens, n = (c.c_uint32 * (len(text) + 8))(), c.c_size_t()
        self.call("rsr_tokenize", self.model, text, len(text), rsr.RSR_TOKENIZE_ADD_SPECIAL, tokens, len(tokens), n)
        return tokens[:n.value]

    def evaluate(self, tokens, asked=PICKED):
        """Appends tokens to the sequence. Gives the likeliest token that follows them (a pick without rsr_sampling is
        greedy), and its log-probability, or that of the token that is asked for."""
        begin, n = self.lib.rsr_sequence_length(self.sequence), len(tokens)
        batch, picked, known = rsr.RSR_BATCH_INIT(), c.c_uint32(), rsr.rsr_logprob()
        batch.entries = (rsr.rsr_batch_entry * n)(
            *((self.sequence, begin + i, token, False) for i, token in enumerate(tokens)))
        batch.picks, batch.picked = c.pointer(rsr.rsr_pick(n - 1, None)), c.pointer(picked)
        batch.logprobs = c.pointer(rsr.rsr_logprobs(n - 1, asked, 0, c.pointer(known)))
        batch.n_entries, batch.n_picks, batch.n_logprobs = n, 1, 1
        batch.cancel = c.pointer(self.cancel)
        self.call("rsr_eval", self.engine, batch)
        return picked.value, known.logprob

    def ends(self, token):
        n, info = c.c_size_t(), rsr.RSR_TOKEN_INFO_INIT()
        self.lib.rsr_model_get_token(self.model, token, None, 0, n, info, None)
        return info.is_stop

    def text(self, token=None):
        """The UTF-8 that is complete with a token; without one, what was held back."""
        text, n = c.POINTER(c.c_char)(), c.c_size_t()
        function, which = ("rsr_detokenizer_finish", []) if token is None else ("rsr_detokenizer_push", [token])
        self.call(function, self.detokenizer, *which, text, n)
        return text[:n.value]


def generate(model, prompt, n_tokens):
    """Yields the text and the log-probability of each token; at the end, text without a token."""
    tokens = model.tokens(prompt)
    for _ in range(n_tokens):
        token, log_p = model.evaluate(tokens)
        if model.ends(token):
            break
        yield model.text(token), log_p
        tokens = [token]
    yield model.text(), None


def put(text):
    try:
        while text:
            text = text[os.write(1, text):]
    except OSError as error:
        sys.exit(f"embed.py: cannot write to standard output: {error.strerror}")


def speak(model, options):
    """Writes text as it comes, or a line for each token."""
    prompt = os.fsencode(options.prompt)
    put(prompt + b"\n" if options.logprobs else prompt)
    try:
        for text, log_p in generate(model, prompt, options.tokens):
            put(f"{log_p:.4f}\t{text.decode()!r}\n".encode() if options.logprobs and log_p is not None else text)
    finally:
        put(b"" if options.logprobs else b"\n")


def main():
    parser = argparse.ArgumentParser(prog="embed.py", description=__doc__.split(".")[0])
    parser.add_argument("library", metavar="LIBRSR.so")
    parser.add_argument("model", metavar="MODEL.so")
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", default="In the beginning")
    parser.add_argument("-n", dest="tokens", metavar="N", type=int, default=128, help="at most N tokens (128)")
    parser.add_argument("--logprobs", action="store_true", help="a line for each token, with its log-probability")
    parser.add_argument("--seconds", metavar="S", type=float, help="cancel after S seconds, as Ctrl-C does")
    options = parser.parse_args()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as other programs end: embed.py ... | head
    try:
        with Model(options.library, options.model) as model, concurrent.futures.ThreadPoolExecutor(1) as thread:
            signal.signal(signal.SIGINT, lambda *_: model.stop())
            spoken = thread.submit(speak, model, options)
            try:
                spoken.result(options.seconds)
            except concurrent.futures.TimeoutError:
                model.stop()
                spoken.result()
    except (Failed, OSError) as error:
        sys.exit(f"embed.py: {error}")


if __name__ == "__main__":
    main()
