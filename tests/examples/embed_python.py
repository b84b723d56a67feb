"""Checks what embed.py in DIR shows besides text: log-probabilities, which must equal those of rsr-run's perplexity,
and calls that another thread cancels.

usage: embed_python.py DIR LIBRSR.so MODEL.so
"""
import ctypes as c
import json
import math
import pathlib
import signal
import subprocess
import sys
import threading
import time

work, library, path = sys.argv[1:]
sys.path.insert(0, work)
import embed
import rsr

COMMAND = [sys.executable, work + "/embed.py", library, path]
TEXT = "And God said, Let there be light: and there was light. And God saw the light, that it was good."


def logits_behind(model, tokens):
    begin, n = model.lib.rsr_sequence_length(model.sequence), len(tokens)
    logits = (c.c_float * model.info.output_size)()
    batch = rsr.RSR_BATCH_INIT()
    batch.entries = (rsr.rsr_batch_entry * n)(
        *((model.sequence, begin + i, token, i == n - 1) for i, token in enumerate(tokens)))
    batch.n_entries, batch.logits, batch.logits_capacity = n, logits, len(logits)
    model.call("rsr_eval", model.engine, batch)
    return logits


def log_probability(logits, token):
    """In double precision."""
    largest = max(logits)
    return logits[token] - largest - math.log(math.fsum(math.exp(logit - largest) for logit in logits))


def log_probabilities():
    with embed.Model(library, path) as model:
        tokens = model.tokens(TEXT.encode())
        sum_p = sum(model.evaluate([token], following)[1] for token, following in zip(tokens, tokens[1:]))
    file = pathlib.Path(work, "text")
    file.write_text(TEXT)
    said = json.loads(subprocess.check_output(["rsr-run", path, "--perplexity", file, "--json"]))
    ours = -sum_p / (len(tokens) - 1)
    assert said["tokens"] == len(tokens) - 1 and abs(ours - said["nats_per_token"]) < 1e-9, (ours, said)


def lines_of_tokens():
    """Pieces of --logprobs, which together must be the text printed without it."""
    plain = subprocess.check_output([*COMMAND, TEXT, "-n", "20"]).decode()
    first, *lines = subprocess.check_output([*COMMAND, TEXT, "-n", "20", "--logprobs"]).decode().splitlines()
    pieces = [line.split("\t", 1) for line in lines]
    assert len(lines) == 20 and plain == first + "".join(eval(text) for _, text in pieces) + "\n", (plain, lines)
    with embed.Model(library, path) as model:
        tokens = model.tokens(TEXT.encode())
        for log_p, _ in pieces:
            logits = logits_behind(model, tokens)
            tokens = [max(range(len(logits)), key=lambda token: logits[token])]
            assert f"{log_probability(logits, tokens[0]):.4f}" == log_p


def stopped_by_thread():
    with embed.Model(library, path) as model:
        begun, said = threading.Event(), []

        def work_on():
            try:
                while True:
                    model.evaluate(model.tokens(TEXT.encode() * 10))
                    assert model.lib.rsr_sequence_truncate(model.sequence, 0, None) == rsr.RSR_OK
                    begun.set()
            except embed.Failed as error:
                said.append(str(error))

        thread = threading.Thread(target=work_on, daemon=True)
        thread.start()
        assert begun.wait(60)
        model.stop()
        thread.join(20)
        assert said == ["the batch was cancelled"], said
        assert model.lib.rsr_sequence_length(model.sequence) == 0


def stopped_by_user(seconds):
    """Ends the program by Ctrl-C, or after `seconds`. The pipe is too small for lines of 450 tokens, so
    the program is still running."""
    limit = [] if seconds is None else ["--seconds", str(seconds)]
    whole = subprocess.check_output([*COMMAND, "-n", "450", "--logprobs"])
    assert len(whole) > 5000, len(whole)
    with subprocess.Popen([*COMMAND, "-n", "450", "--logprobs", *limit], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, pipesize=4096, bufsize=0) as program:
        begin = program.stdout.read(1)
        if seconds is None:
            program.send_signal(signal.SIGINT)
        time.sleep(0.5)
        rest, said = program.communicate(timeout=60)
    assert program.returncode == 1 and said == b"embed.py: the batch was cancelled\n", (program.returncode, said)
    assert begin + rest != whole and whole.startswith(begin + rest), rest


log_probabilities()
lines_of_tokens()
stopped_by_thread()
stopped_by_user(None)
stopped_by_user(0.3)
