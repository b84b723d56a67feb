"""Copies a model to a folder whose name tries to leave a PTX comment: hostile_name.py MODEL PARENT"""
import pathlib
import shutil
import sys

target = pathlib.Path(sys.argv[2]) / "hostile\n.version 1.0"
shutil.rmtree(target, ignore_errors=True)
shutil.copytree(sys.argv[1], target)
