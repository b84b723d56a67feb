"""Usage: readme_lines.py README.md. Runs the lines of Python that README.md shows, in a folder that has what they read.
Ends with the products of a matrix, to be compared."""
import pathlib
import re
import sys

import numpy as np

TEXT = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")
TEXT = TEXT[TEXT.index("\n### Python\n"):]
MODEL = re.search(r"(?m)^    import rsrc\n(?:    .*\n)+", TEXT)[0]
MATRIX = re.search(r"(?m)^    W = rsrc.matrix\(.*\n(?:    .*\n)+", TEXT)[0]
known = {"array_or_sparse_matrix": np.array([[1, 0, -1], [-1, -1, 1]]), "x": np.array([5, 127, -128], np.int8)}
for block in (MODEL, MATRIX):
    exec("if True:\n" + block, known)
assert known["y"].tolist() == [133, -260] and (known["W"] @ known["x"] == known["y"]).all()
print("\n" + known["rsrc"].__version__)
