#!/usr/bin/env python3
"""Generates text with a compiled model through ctypes; needs no packages.

usage: embed.py LIBRSR.so MODEL.so [PROMPT]
"""
import ctypes as c
import os
import signal
import sys


class Error(c.Structure):
    _fields_ = [("size_bytes", c.c_uint32), ("status", c.c_int), ("message", c.c_char * 496)]


class Generated(c.Structure):
    _fields_ = [("size_bytes", c.c_uint32), ("token", c.c_uint32),
                ("text", c.c_void_p), ("text_bytes", c.c_size_t)]


GENERATE_FN = c.CFUNCTYPE(c.c_bool, c.c_void_p, c.POINTER(Generated))


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__.strip())
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as other programs end: embed.py ... | head
    try:
        rsr = c.CDLL(sys.argv[1])
    except OSError as error:
        sys.exit("embed.py: " + str(error))
    for name in ("rsr_close", "rsr_engine_destroy", "rsr_sequence_destroy"):
        getattr(rsr, name).argtypes = [c.c_void_p]
        getattr(rsr, name).restype = None
    prompt = os.fsencode(sys.argv[3] if len(sys.argv) > 3 else "In the beginning")
    err = Error(size_bytes=c.sizeof(Error))

    def check(status):
        if status != 0:
            sys.exit("embed.py: " + err.message.decode(errors="replace"))

    model, engine, sequence = c.c_void_p(), c.c_void_p(), c.c_void_p()
    check(rsr.rsr_open(os.fsencode(sys.argv[2]), None, c.byref(model), c.byref(err)))
    check(rsr.rsr_engine_create(model, None, c.byref(engine), c.byref(err)))
    check(rsr.rsr_sequence_create(engine, c.byref(sequence), c.byref(err)))

    failed = None

    def put(text):
        nonlocal failed
        try:
            while text:
                text = text[os.write(1, text):]
        except OSError as error:
            failed = error
        return failed is None

    @GENERATE_FN
    def print_piece(_user, piece):  # exceptions do not leave a callback
        return put(c.string_at(piece.contents.text, piece.contents.text_bytes))

    put(prompt)
    check(rsr.rsr_generate(engine, sequence, prompt, c.c_size_t(len(prompt)), None, print_piece,
                           None, None, c.byref(err)))
    put(b"\n")
    rsr.rsr_sequence_destroy(sequence)
    rsr.rsr_engine_destroy(engine)
    rsr.rsr_close(model)
    if failed:
        sys.exit("embed.py: cannot write to standard output: " + failed.strerror)


if __name__ == "__main__":
    main()
