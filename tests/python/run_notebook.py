"""Usage: run_notebook.py NOTEBOOK.ipynb. Runs its cells of code one after another, in its folder, as a kernel does. A
cell that fails is shown. The file has no outputs, which would differ from run to run."""
import json
import os
import pathlib
import sys

path = pathlib.Path(sys.argv[1])
notebook = json.loads(path.read_text())
assert notebook["nbformat"] == 4
os.chdir(path.parent)
names, n = {"__name__": "__main__"}, 0
for cell in notebook["cells"]:
    if cell["cell_type"] == "code":
        assert cell["outputs"] == [] and cell["execution_count"] is None, "outputs are kept out of the file"
        exec(compile("".join(cell["source"]), f"{path.name}, cell {cell['id']}", "exec"), names)
        n += 1
print(f"\n{n} cells")
