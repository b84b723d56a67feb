"""rsrc compiles ternary and binary neural networks, and runs them.

    import rsrc
    rsrc.compile("model/", "model.so")             # a Hugging Face folder or a GGUF file
    with rsrc.Model("model.so") as model:
        print(model.generate("In the beginning", max_tokens=40))
"""
from ._generation import Answer, StopReason, Stream
from ._library import Error, Status, lib as _lib
from .compiler import compile, info, report
from .matrices import Matrix, load_matrix, matrix
from .model import Model, Session

__version__ = _lib.rsr_version().decode()
__all__ = ["Answer", "Error", "Matrix", "Model", "Session", "Status", "StopReason", "Stream", "compile", "info",
           "load_matrix", "matrix", "report"]
