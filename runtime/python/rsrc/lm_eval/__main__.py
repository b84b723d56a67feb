"""lm-eval's command line, with the model `rsr`."""
from lm_eval.__main__ import cli_evaluate

from . import RsrLM

assert RsrLM  # importing it has registered the model
cli_evaluate()
