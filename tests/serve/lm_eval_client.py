"""Usage: lm_eval_client.py LIBRSR.so KJV.so HELDOUT.txt FOLDER. lm-eval's local-completions over rsr-serve: bits a byte
of the held-out text are those of rsr-run, and the sum of log-probabilities is the library's over the same windows, with
token ids and the server's tokenizer; texts continue as without lm-eval. Files are made in FOLDER."""
import ctypes
import json
import math
import os
import pathlib
import subprocess
import sys

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": os.path.abspath(sys.argv[4])}
import lm_eval
import lm_eval.tasks
import lm_eval.utils
import numpy

from server import Server

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONTEXT = 512
STARTS = ["In the beginning", "And the king answered and said", "Now in the third year"]
TASKS = lm_eval.tasks.TaskManager(include_defaults=False)  # its own are thousands of files
TASK = {"dataset_path": "json", "test_split": "test", "doc_to_target": "{{text}}"}
HELDOUT = TASK | {"task": "heldout", "output_type": "loglikelihood_rolling", "doc_to_text": "",
                  "metric_list": [{"metric": "bits_per_byte"}]}
GOES_ON = TASK | {"task": "goes_on", "output_type": "generate_until", "doc_to_text": "{{text}}",
                  "generation_kwargs": {"until": ["\n", " LORD"], "max_gen_toks": 24},
                  "metric_list": [{"metric": "exact_match"}]}


def evaluate(server, folder, task, texts, **arguments):
    """lm-eval's results and samples of texts."""
    data = folder / (task["task"] + ".jsonl")
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    task = task | {"dataset_kwargs": {"data_files": {"test": str(data)}}}
    found = lm_eval.simple_evaluate(
        model="local-completions", bootstrap_iters=0, tasks=[task], task_manager=TASKS,
        model_args={"model": "kjv", "base_url": server.address + "/v1/completions", "max_length": CONTEXT,
                    "tokenizer_backend": "remote"} | arguments)
    return found["results"][task["task"]], found["samples"][task["task"]]


class Library:
    """Log-probabilities of tokens in windows, without a server."""

    def __init__(self, library, model, folder):
        examples = ROOT / "examples" / "embed-python"
        with open(folder / "rsr.py", "w") as file:
            subprocess.run([examples / "make_rsr.py", ROOT / "runtime/include/rsr.h"], stdout=file, check=True)
        sys.path += [str(folder), str(examples)]
        import embed
        import rsr
        self.rsr, self.model = rsr, embed.Model(library, model)

    def tokens(self, text):
        return self.model.tokens(text.encode())[1:]  # without the token that begins a text, as in lm-eval's requests

    def sum(self, context, continuation):
        rsr, m = self.rsr, self.model
        sequence, inputs = ctypes.POINTER(rsr.rsr_sequence)(), (context + continuation)[:-1]
        logits = numpy.zeros((len(inputs), m.info.output_size), dtype=numpy.float32)
        m.call("rsr_sequence_create", m.engine, sequence)
        batch = rsr.RSR_BATCH_INIT()
        batch.entries = (rsr.rsr_batch_entry * len(inputs))(*((sequence, i, t, True) for i, t in enumerate(inputs)))
        batch.n_entries, batch.logits_capacity = len(inputs), logits.size
        batch.logits = logits.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        m.call("rsr_eval", m.engine, batch)
        m.lib.rsr_sequence_destroy(sequence)
        rows = logits[len(context) - 1:].astype(numpy.float64)
        largest = rows.max(axis=1)
        norms = largest + numpy.log(numpy.exp(rows - largest[:, None]).sum(axis=1))
        return math.fsum(rows[i, t] - norms[i] for i, t in enumerate(continuation))

    def rolling(self, text):
        windows = map(lm_eval.utils.make_disjoint_window, lm_eval.utils.get_rolling_token_windows(
            token_list=self.tokens(text), prefix_token=self.model.info.bos_token, max_seq_len=CONTEXT - 2,
            context_len=1))
        return math.fsum(self.sum(context, continuation) for context, continuation in windows)


def check_heldout(server, library, model, path, folder):
    text = path.read_text()
    told = json.loads(subprocess.run(["rsr-run", model, "--perplexity", path, "--json"], check=True,
                                     capture_output=True).stdout)
    want = library.rolling(text)
    for more in ({}, {"num_concurrent": 8, "tokenized_requests": True}, {"batch_size": 4}):
        results, samples = evaluate(server, folder, HELDOUT, [text], **more)
        bits, given = results["bits_per_byte,none"], float(samples[0]["filtered_resps"][0])
        print(f"{bits:.6f} bits a byte, rsr-run {told['bits_per_byte']:.6f}; sum {given:.9f}, library {want:.9f}")
        assert abs(bits / told["bits_per_byte"] - 1) < 0.01
        assert abs(given - want) < 1e-5, (given, want)


def check_texts(server, folder):
    """Prompts as ids and as texts: the continuation equals the answer of the route."""
    for tokenized in (True, False):
        _, samples = evaluate(server, folder, GOES_ON, STARTS, tokenized_requests=tokenized)
        for start, sample in zip(STARTS, samples):
            ids = server.post("/tokenize", {"prompt": start, "add_special_tokens": False})[1]["tokens"]
            body = {"prompt": ids if tokenized else start, "max_tokens": 24, "temperature": 0, "seed": 1234,
                    "stop": ["\n", " LORD"]}
            choice = server.post("/v1/completions", body)[1]["choices"][0]
            assert sample["resps"][0][0] == choice["text"] != "", (sample["resps"], choice)


librsr, model, heldout, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4])
folder.mkdir(parents=True, exist_ok=True)
with Server("kjv=" + model) as server:
    check_texts(server, folder)
    library = Library(librsr, model, folder)
    with library.model:
        check_heldout(server, library, model, heldout, folder)
    assert server.metric("rsr_requests_failed_total") == server.metric("rsr_requests_refused_total") == 0
print("all is as it should be")
