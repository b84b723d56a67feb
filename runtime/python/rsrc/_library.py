"""The shared library: where it is, its definitions (`_rsr`, made of rsr.h at build time), errors, and calls that Ctrl-C
ends."""
from __future__ import annotations

import _thread
import ctypes as c
import enum
import os
import pathlib
import threading
from typing import Any, Callable, Optional

from . import _rsr as rsr

_SONAME = f"librsr.so.{rsr.RSR_VERSION_MAJOR}"


def find_prefix() -> Optional[pathlib.Path]:
    """The folder with lib/librsr.so.N: the package itself (a wheel), or one around it (a build, an installation).
    None: the system's loader finds the library."""
    here = pathlib.Path(__file__).resolve().parent
    return next((folder for folder in [here, *here.parents][:5] if (folder / "lib" / _SONAME).exists()), None)


PREFIX = find_prefix()
lib = rsr.load(str(PREFIX / "lib" / _SONAME) if PREFIX else _SONAME)

class Status(enum.IntEnum):
    """Why a call failed: rsr_status of rsr.h, without its prefix."""
    OK = rsr.RSR_OK
    ARGUMENT = rsr.RSR_ERR_ARGUMENT
    MEMORY = rsr.RSR_ERR_MEMORY
    FILE = rsr.RSR_ERR_FILE
    ABI = rsr.RSR_ERR_ABI
    CPU = rsr.RSR_ERR_CPU
    FULL = rsr.RSR_ERR_FULL
    NUMERIC = rsr.RSR_ERR_NUMERIC
    TEXT = rsr.RSR_ERR_TEXT
    STOPPED = rsr.RSR_ERR_STOPPED
    FORK = rsr.RSR_ERR_FORK
    RANK = rsr.RSR_ERR_RANK
    DEVICE = rsr.RSR_ERR_DEVICE


class Error(RuntimeError):
    """A call that failed. `status` is a `Status`, `sentence` says what is wrong, where, and what to do."""

    def __init__(self, status: int, sentence: str):
        self.status, self.sentence = Status(status), sentence
        super().__init__(self.status, sentence)

    def __str__(self) -> str:
        return self.sentence


def refuse(sentence: str) -> Error:
    """An argument that is not what the call needs."""
    return Error(Status.ARGUMENT, sentence)


def check(status: int, err: Any) -> None:
    if status:
        raise Error(status, err.message.decode(errors="replace"))


def call(function: Callable[..., int], *arguments: Any) -> None:
    """Calls a function whose last parameter is an rsr_error."""
    err = rsr.RSR_ERROR_INIT()
    check(function(*arguments, err), err)


def number(name: str, value: Any, bits: int = 32) -> int:
    """ctypes cuts numbers that are too large; this refuses them."""
    try:
        whole = value.__index__()
    except AttributeError:
        raise refuse(f"{name} is {value!r}, and must be a whole number") from None
    if not 0 <= whole < 1 << bits:
        raise refuse(f"{name} is {value!r}, and must be 0 .. 2^{bits} - 1")
    return whole


def text_bytes(text: "str | bytes") -> bytes:
    """UTF-8; a lone surrogate is no character, and the library reads U+FFFD for it."""
    if not isinstance(text, (str, bytes)):
        raise refuse(f"a text is a str or bytes, and not {type(text).__name__}")
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def terminated(name: str, text: "str | bytes | os.PathLike | None") -> Optional[bytes]:
    """A string for C, which a NUL ends."""
    if text is None:
        return None
    encoded = os.fsencode(text) if isinstance(text, os.PathLike) else text_bytes(text)
    if b"\0" in encoded:
        raise refuse(f"{name} contains a NUL character")
    return encoded


class Call:
    """One use of a model, which another thread can cancel and wait for."""

    def __init__(self) -> None:
        self.cancel = rsr.RSR_CANCEL_INIT()
        self._entry, self._given_up = _thread.allocate_lock(), False
        self._began, self._done = False, _thread.allocate_lock()

    def stop(self) -> None:
        lib.rsr_cancel_request(self.cancel)

    def start(self, work: Callable[[], None]) -> None:
        """Runs `work` in a thread of its own. An exception may come between any two lines of the caller, also right
        after this began: then wait() knows whether there is something to wait for."""
        self._done.acquire()

        def run() -> None:
            with self._entry:
                self._began = not self._given_up
            try:
                if self._began:
                    work()
            finally:
                self._done.release()

        _thread.start_new_thread(run, ())

    def abandon(self) -> None:
        """Cancels the thread and returns when it no longer works, whatever the user types meanwhile."""
        again: Optional[BaseException] = None
        while True:
            try:
                self.stop()
                with self._entry:
                    self._given_up = not self._began
                if self._began:
                    self._done.acquire()
                    self._done.release()
                break
            except BaseException as interrupt:
                again = interrupt
        if again:
            raise again

    def run(self, work: Callable[[], int]) -> int:
        """What `work` returns. Python handles Ctrl-C in the main thread alone, and not before a foreign call has
        returned: so the main thread waits for one that calls."""
        if threading.current_thread() is not threading.main_thread():
            return work()
        results: "list[int]" = []
        try:
            self.start(lambda: results.append(work()))
            self._done.acquire()
            self._done.release()
        except BaseException:
            self.abandon()
            raise
        return results[0]


def describe(struct: Any) -> "dict[str, Any]":
    """A struct's members for Python: texts are str; arrays that have their length in n_<name> are lists."""
    names = {name for name, *_ in struct._fields_}
    found = {}
    for name in names - {"size_bytes", "reserved"}:
        value = getattr(struct, name)
        if f"n_{name}" in names:
            value = [item.decode(errors="replace") if isinstance(item, bytes) else item
                     for item in value[:getattr(struct, f"n_{name}")]]
        elif isinstance(value, bytes):
            value = value.decode(errors="replace")
        elif isinstance(value, c.Array):
            value = bytes(value).hex()
        elif isinstance(value, c._Pointer):
            value = describe(value.contents) if value else None
        found[name] = value
    return {name: found[name] for name, *_ in struct._fields_
            if name in found and not (name.startswith("n_") and name[2:] in found)}
