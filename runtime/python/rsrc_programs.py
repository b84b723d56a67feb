"""The commands rsrc, rsr-run and rsr-serve of a wheel: Python becomes the program. They are not part of the package
`rsrc`, which loads NumPy."""
import os
import sys


def _become(name: str) -> None:
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "rsrc", "bin", name)
    os.execv(program, [name, *sys.argv[1:]])


def rsrc() -> None:
    _become("rsrc")


def rsr_run() -> None:
    _become("rsr-run")


def rsr_serve() -> None:
    _become("rsr-serve")
