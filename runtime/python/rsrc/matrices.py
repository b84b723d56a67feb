"""Matrices of -1, 0 and 1 that rsrc compiled: W @ x with code made for W."""
from __future__ import annotations

import _ctypes
import ctypes as c
import os
import pathlib
import re
import shutil
import tempfile
import weakref
from typing import Any, Optional

import numpy as np

from ._library import Error, Status, refuse, terminated
from .compiler import compile

_INPUTS = {"i8": (np.dtype(np.int8), np.dtype(np.int32)), "f32": (np.dtype(np.float32), np.dtype(np.float32))}
_STATUSES = {1: Status.MEMORY, 2: Status.CPU, 3: Status.ARGUMENT}  # RSR_MATRIX_... of rsr_abi.h
_DECLARED = r"#define (?P<upper>\w+)_ROWS (?P<rows>\d+)\n#define (?P=upper)_COLS (?P<cols>\d+)\n(?P<functions>(?:(?!#).*\n)*)"


_Bytes = c.c_char * 1


def _address(array: Any) -> Any:
    """Where its elements are; twice as fast as array.ctypes.data, which a read-only array still needs."""
    return _Bytes.from_buffer(array) if array.flags.writeable else array.ctypes.data


class Matrix:
    """A compiled matrix W of shape [rows, cols]. Products take int8 and give exact int32 (input "i8"), or take and give
    float32 with one order of additions ("f32"). Any number of threads may multiply at once; a product lets other
    threads of Python run."""

    def __init__(self, path: pathlib.Path, name: Optional[str] = None):
        header = path.with_suffix(".h")
        try:
            declared = list(re.finditer(_DECLARED, header.read_text()))
        except (OSError, UnicodeDecodeError) as error:
            raise Error(Status.FILE, f"{header}: cannot read what {path.name} has: {error}") from None
        found = {one: match for match in declared
                 for one in re.findall(r"^int (\w+)\(const \w+ \*x, \w+ \*y\);", match["functions"], re.M)}
        asked = [one for one in found if name is None or name == one]
        if len(asked) != 1:
            raise refuse(f"{header}: {'there are several matrices' if asked else f'there is no matrix {name}'}; name one "
                         f"of: {', '.join(found) or '(none)'}")
        function, match = asked[0], found[asked[0]]
        self.shape = int(match["rows"]), int(match["cols"])
        self.name, self.input = function, function.rsplit("_", 1)[1]
        self._takes, self._gives = _INPUTS[self.input]
        try:
            library = c.CDLL(str(path.resolve()))
            self._one, self._batch = getattr(library, function), getattr(library, function + "_batch")
        except (OSError, AttributeError) as error:
            raise Error(Status.FILE, f"{path}: {error}") from None
        self._one.argtypes = [c.c_void_p, c.c_void_p]
        self._batch.argtypes = [c.c_void_p, c.c_size_t, c.c_void_p, c.c_size_t, c.c_uint32]
        self._path = path
        weakref.finalize(self, _ctypes.dlclose, library._handle)

    def __repr__(self) -> str:
        return f"<rsrc.Matrix {self.shape[0]} x {self.shape[1]}, {self.input}>"

    def __matmul__(self, x: np.ndarray) -> np.ndarray:
        """W @ x for a vector [cols], which gives [rows], or for columns [cols, n], which give [rows, n] in Fortran order:
        columns in that order are fastest."""
        if not isinstance(x, np.ndarray) or x.dtype != self._takes:
            raise refuse(f"W @ x takes an array of {self._takes}, and not "
                         f"{x.dtype if isinstance(x, np.ndarray) else type(x).__name__}")
        rows, cols = self.shape
        if x.shape == (cols,):
            x = np.ascontiguousarray(x)
            y = np.empty(rows, self._gives)
            status = self._one(_address(x), _address(y))
        elif x.ndim == 2 and x.shape[0] == cols:
            x, n = np.ascontiguousarray(x.T), x.shape[1]
            y = np.empty((n, rows), self._gives)
            if n >= 1 << 32:
                raise refuse("W @ X takes fewer than 2^32 columns")
            status = self._batch(_address(x), cols, _address(y), rows, n) if n else 0
            y = y.T
        else:
            raise refuse(f"W is {rows} x {cols}: W @ x takes [{cols}] or [{cols}, n], and not {list(x.shape)}")
        if status:
            raise Error(_STATUSES[status], f"{self.name} failed: {_STATUSES[status].name}")
        return y

    def save(self, path: "str | os.PathLike[str]") -> None:
        """Writes NAME.so, and NAME.h, which says what the library has, for `load_matrix` and for C."""
        to = _library_path(path)
        shutil.copy(self._path.with_suffix(".h"), to.with_suffix(".h"))
        shutil.copy(self._path, to)


def _library_path(path: "str | os.PathLike[str]") -> pathlib.Path:
    found = pathlib.Path(os.fsdecode(terminated("path", os.fspath(path)) or b""))
    if found.suffix != ".so":
        raise refuse(f"{found}: a library of matrices is named NAME.so")
    return found


def _ternary(values: Any) -> np.ndarray:
    """The matrix as int8; what is no matrix of -1, 0 and 1 is refused."""
    if hasattr(values, "tocsr"):
        values = values.tocsr().copy()
        values.sum_duplicates()
        _check_values(values.data, lambda i: (int(np.searchsorted(values.indptr, i, "right")) - 1, int(values.indices[i])))
        return values.astype(np.int8).toarray()
    if not isinstance(values, np.ndarray):
        raise refuse(f"a matrix is a NumPy array or a SciPy sparse one, and not {type(values).__name__}")
    if values.ndim != 2:
        raise refuse(f"a matrix has two dimensions, and not {values.ndim}")
    _check_values(values.reshape(-1), lambda i: divmod(i, values.shape[1]))
    return values.astype(np.int8)


def _check_values(flat: np.ndarray, place: Any) -> None:
    if flat.dtype.kind not in "biuf":
        raise refuse(f"a matrix of {flat.dtype} has no values -1, 0 and 1")
    for begin in range(0, flat.size, 1 << 24):  # in parts: what compares takes memory
        part = flat[begin:begin + (1 << 24)]
        wrong = ~((part == 0) | (part == 1) | ((part == -1) if flat.dtype.kind in "if" else False))
        if wrong.any():
            at = begin + int(wrong.argmax())
            row, col = place(at)
            raise refuse(f"W[{row}, {col}] is {flat[at]}, and must be -1, 0 or 1")


def matrix(values: Any, input: str = "i8", target: str = "native", **options: Any) -> Matrix:
    """Compiles a matrix of -1, 0 and 1: a NumPy array [rows, cols] of any real type, or a SciPy sparse matrix. input:
    what products take, "i8" or "f32". target and options are those of `compile`."""
    if input not in _INPUTS:
        raise refuse(f"input is {input!r}, and must be one of {', '.join(_INPUTS)}")
    ternary = _ternary(values)
    if 0 in ternary.shape:
        raise refuse(f"a matrix of {ternary.shape[0]} x {ternary.shape[1]} has no values")
    folder = tempfile.TemporaryDirectory()
    file, made = pathlib.Path(folder.name, "w.npy"), pathlib.Path(folder.name, "matrix.so")
    try:
        np.save(file, ternary)
        compile(file, made, target, input=input, **options)
        file.unlink()
        found = Matrix(made)
    except BaseException:
        folder.cleanup()
        raise
    weakref.finalize(found, folder.cleanup)  # until then it can be saved
    return found


def load_matrix(path: "str | os.PathLike[str]", name: Optional[str] = None) -> Matrix:
    """A matrix of a library NAME.so that `Matrix.save` or rsrc made, with NAME.h beside it. It is code: load only what
    you trust. name: of the function, where the library has several."""
    return Matrix(_library_path(path), name)
