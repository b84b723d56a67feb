#!/usr/bin/env python3
"""Continues a text with a compiled model, through the package `rsrc`: usage: embed.py MODEL.so [PROMPT]. Ctrl-C ends
it."""
import sys

import rsrc

try:
    path, prompt = (sys.argv[1:] + ["In the beginning"])[:2]
    with rsrc.Model(path) as model:
        print(prompt, end="", flush=True)
        for piece in model.generate(prompt, max_tokens=128, stream=True):
            print(piece, end="", flush=True)
        print()
except rsrc.Error as error:
    sys.exit(f"embed.py: {error}")
except KeyboardInterrupt:
    sys.exit(130)
