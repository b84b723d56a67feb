"""Usage: use_lm_eval.py KJV.so HELDOUT.txt FOLDER [long]. lm-eval's model `rsr`: its log-probabilities are those of
rsr-run over the same windows, for any size of batches; texts go on as they do in generate(). Then, in the long form,
the whole held-out text, and lm-eval's local-completions before rsr-serve, which gives the same numbers."""
import json
import math
import os
import pathlib
import subprocess
import sys

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": os.path.abspath(sys.argv[3])}
import lm_eval
import lm_eval.tasks
import rsrc
import rsrc.lm_eval

MODEL, HELDOUT, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
LONG = sys.argv[4:] == ["long"]
CONTEXT, N_NEW, UNTIL = 512, 24, ["\n", " LORD"]
GROUP = CONTEXT - 1  # tokens of a window of rsr-run, after BOS
STARTS = ["In the beginning", "And the king answered and said", "Now in the third year", "And it came to"]
TASKS = lm_eval.tasks.TaskManager(include_defaults=False)  # its own are thousands of files
TASK = {"dataset_path": "json", "test_split": "test", "doc_to_target": "{{text}}"}
ROLLING = TASK | {"task": "heldout", "output_type": "loglikelihood_rolling", "doc_to_text": "",
                  "metric_list": [{"metric": "bits_per_byte"}]}
GOES_ON = TASK | {"task": "goes_on", "output_type": "generate_until", "doc_to_text": "{{text}}",
                  "generation_kwargs": {"until": UNTIL, "max_gen_toks": N_NEW},
                  "metric_list": [{"metric": "exact_match"}]}
CHOICE = TASK | {"task": "choice", "output_type": "multiple_choice", "doc_to_text": "{{text}}", "doc_to_target": 0,
                 "doc_to_choice": [" God", " pass", " and he said unto them"], "target_delimiter": "",
                 "metric_list": [{"metric": "acc"}]}


def evaluate(task, texts, model="rsr", **arguments):
    """lm-eval's results and samples of texts."""
    data = FOLDER / (task["task"] + ".jsonl")
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    task = task | {"dataset_kwargs": {"data_files": {"test": str(data)}}}
    arguments = ({"path": MODEL} if model == "rsr" else {}) | arguments
    found = lm_eval.simple_evaluate(model=model, bootstrap_iters=0, tasks=[task], task_manager=TASKS,
                                    model_args=arguments)
    return found["results"][task["task"]], found["samples"][task["task"]]


def answers(samples):
    """What the model gave for every request, as numbers or texts."""
    return [given for sample in samples for given in sample["filtered_resps"]]


def perplexity(path):
    told = json.loads(subprocess.run(["rsr-run", MODEL, "--perplexity", path, "--json"], check=True,
                                     capture_output=True).stdout)
    return told, told["nats_per_token"] * told["tokens"]


def same_windows():
    """A text of one window through lm-eval, and the windows of rsr-run for a longer text."""
    text = HELDOUT.read_text()
    one, more = FOLDER / "one.txt", FOLDER / "more.txt"
    one.write_text(text[:1500])
    more.write_text(text if LONG else text[:6000])
    told, nats = perplexity(one)
    assert told["windows"] == 1
    for size in (1, 3, "auto"):
        results, samples = evaluate(ROLLING, [one.read_text()] * 4, batch_size=size)
        found = [float(given) for given in answers(samples)]
        assert len(set(found)) == 1 and abs(found[0] + nats) < 1e-6, (found, nats)
        assert abs(results["bits_per_byte,none"] - told["bits_per_byte"]) < 1e-8
    told, nats = perplexity(more)
    lm = rsrc.lm_eval.RsrLM(MODEL)
    tokens = lm.tok_encode(more.read_text())
    windows = [(None, [lm.prefix_token_id], tokens[at:at + GROUP]) for at in range(0, len(tokens), GROUP)]
    assert len(windows) == told["windows"] > 1 and len(tokens) == told["tokens"]
    found = math.fsum(log_p for log_p, _ in lm._loglikelihood_tokens(windows, disable_tqdm=True))
    assert abs(found + nats) < 1e-9 * len(tokens) + 1e-6, (found, nats)
    print(f"{-found / len(tokens):.9f} nats a token, rsr-run {told['nats_per_token']:.9f}")


def texts_go_on():
    with rsrc.Model(MODEL) as model:
        want = [model.generate(model.tokenize(start, special=False), N_NEW, stop=UNTIL) for start in STARTS]
        scored = [model.loglikelihood(model.tokenize(start, special=False), choice_tokens(model, start, choice))
                  for start in STARTS for choice in CHOICE["doc_to_choice"]]
    for size in (1, 3, "auto"):
        _, samples = evaluate(GOES_ON, STARTS, batch_size=size)
        assert answers(samples) == [str(text) for text in want], (answers(samples), want)
        _, samples = evaluate(CHOICE, STARTS, batch_size=size)
        given = [(float(log_p), str(greedy) == "True") for log_p, greedy in answers(samples)]
        assert given == scored, list(zip(given, scored))
    assert len(set(want)) > 1 and any(greedy for _, greedy in scored)


def choice_tokens(model, start, choice):
    return model.tokenize(start + choice, special=False)[len(model.tokenize(start, special=False)):]


def before_a_server():
    """The same tasks through rsr-serve. local-completions keeps two tokens of the context for itself."""
    sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "serve"))
    from server import Server
    texts = [HELDOUT.read_text()[:20000], HELDOUT.read_text()[20000:21000]]
    with Server("kjv=" + MODEL) as server:
        remote = {"model": "local-completions", "base_url": server.address + "/v1/completions",
                  "max_length": CONTEXT, "tokenizer_backend": "remote"}
        for task, given in ((ROLLING, texts), (GOES_ON, STARTS), (CHOICE, STARTS)):
            here = answers(evaluate(task, given, max_length=CONTEXT - 2)[1])
            there = answers(evaluate(task, given, **remote)[1])
            if task is GOES_ON:
                assert here == there, (here, there)
                continue
            pairs = [(a, b) if isinstance(a, (list, tuple)) else ([a], [b]) for a, b in zip(here, there, strict=True)]
            for a, b in pairs:
                print(a, b)
                assert math.isclose(float(a[0]), float(b[0]), rel_tol=1e-13) and [str(x) for x in a[1:]] == [str(x) for x in b[1:]]


def command_line():
    (FOLDER / "one.jsonl").write_text(json.dumps({"text": HELDOUT.read_text()[:1000]}) + "\n")
    tasks, results = FOLDER / "tasks", FOLDER / "results"
    tasks.mkdir(exist_ok=True)
    task = ROLLING | {"dataset_kwargs": {"data_files": {"test": str(FOLDER / "one.jsonl")}}}
    (tasks / "heldout.yaml").write_text(json.dumps(task))
    subprocess.run([sys.executable, "-m", "rsrc.lm_eval", "run", "--model", "rsr", "--model_args", f"path={MODEL}",
                    "--tasks", str(tasks / "heldout.yaml"), "--output_path", str(results)], check=True,
                   stdout=subprocess.DEVNULL)
    (path,) = results.rglob("results_*.json")
    print(json.loads(path.read_text())["results"]["heldout"])
    path.unlink()


def misuse():
    for words, function in (
            ("path=MODEL.so", lambda: rsrc.lm_eval.RsrLM()),
            ("batch_size is 0", lambda: rsrc.lm_eval.RsrLM(MODEL, batch_size=0)),
            ("no option beams", lambda: rsrc.lm_eval.RsrLM(MODEL)._options({"beams": 4})),
            ("max_gen_toks is 600", lambda: rsrc.lm_eval.RsrLM(MODEL)._options({"max_gen_toks": 600})),
            ("a continuation has 600", lambda: rsrc.lm_eval.RsrLM(MODEL)._loglikelihood_tokens(
                [(None, [1], [2] * 600)], disable_tqdm=True))):
        try:
            function()
        except rsrc.Error as error:
            assert words in str(error), (str(error), words)
        else:
            raise AssertionError(f"not refused: {words}")


FOLDER.mkdir(parents=True, exist_ok=True)
for check in (same_windows, texts_go_on, misuse):
    check()
if LONG:
    before_a_server()
    command_line()
print("all is as it should be")
