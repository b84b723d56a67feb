"""Usage: lm_eval_client.py KJV.so HELDOUT.txt FOLDER. lm-eval's local-completions over rsr-serve: bits a byte
of the held-out text are those of rsr-run, and the sum of log-probabilities is the library's over the same windows, with
token ids and the server's tokenizer; texts continue as without lm-eval. Files are made in FOLDER."""
import json
import math
import os
import pathlib
import subprocess
import sys

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": os.path.abspath(sys.argv[3])}
import lm_eval
import lm_eval.tasks
import lm_eval.utils
import rsrc

from server import Server

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


def rolling(model, text):
    """The log-probability of a text in lm-eval's windows, without a server."""
    windows = map(lm_eval.utils.make_disjoint_window, lm_eval.utils.get_rolling_token_windows(
        token_list=model.tokenize(text, special=False), prefix_token=model.info.bos_token, max_seq_len=CONTEXT - 2,
        context_len=1))
    return math.fsum(log_p for log_p, _ in model.loglikelihoods(list(windows)))


def check_heldout(server, model, path, folder):
    text = path.read_text()
    told = json.loads(subprocess.run(["rsr-run", model, "--perplexity", path, "--json"], check=True,
                                     capture_output=True).stdout)
    with rsrc.Model(model) as library:
        want = rolling(library, text)
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


model, heldout, folder = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
folder.mkdir(parents=True, exist_ok=True)
with Server("kjv=" + model) as server:
    check_texts(server, folder)
    check_heldout(server, model, heldout, folder)
    assert server.metric("rsr_requests_failed_total") == server.metric("rsr_requests_refused_total") == 0
print("all is as it should be")
