"""Usage: completions.py MODEL.so. Tests the answers of /v1/completions, plain and streamed."""
import subprocess
import sys

from server import Server

PATH = "/v1/completions"
MODEL = sys.argv[1]


def plain(server, **body):
    status, answer = server.post(PATH, body)
    assert status == 200, answer
    assert answer["object"] == "text_completion" and answer["model"] == "kjv" and answer["id"].startswith("cmpl-")
    assert [choice["index"] for choice in answer["choices"]] == list(range(len(answer["choices"])))
    return answer


def joined(events, n):
    """The choices of a stream in the form of a plain answer."""
    assert events[-1] == "[DONE]"
    choices = [{"index": i, "text": "", "logprobs": None, "finish_reason": None} for i in range(n)]
    for event in events[:-1]:
        assert event["object"] == "text_completion" and event["id"] == events[0]["id"]
        for part in event["choices"]:
            choice = choices[part["index"]]
            assert choice["finish_reason"] is None, "nothing comes after the end"
            choice["text"] += part["text"]
            choice["finish_reason"] = part["finish_reason"]
            if part["logprobs"]:
                choice["logprobs"] = choice["logprobs"] or {key: [] for key in part["logprobs"]}
                for key, values in part["logprobs"].items():
                    choice["logprobs"][key] += values
    return choices


def check_streams(server):
    """A stream has the content of the plain answer, and its events are equal each time."""
    for more in ({}, {"n": 3}, {"logprobs": 0}, {"logprobs": 3, "echo": True, "n": 2}, {"echo": True},
                 {"stop": ["the", "\n"]}, {"stop": " of", "logprobs": 1}, {"max_tokens": 0, "echo": True, "logprobs": 2},
                 {"prompt": ["In the", "And God said", "Jesus wept"], "n": 2}):
        body = {"prompt": "In the beginning", "seed": 11, "max_tokens": 24} | more
        answer = plain(server, **body)
        streams = [list(server.stream(PATH, body | {"stream": True})) for _ in range(2)]
        for events in streams:
            assert joined(events, len(answer["choices"])) == answer["choices"], more
        if len(answer["choices"]) == 1:
            assert [e if e == "[DONE]" else e["choices"] for e in streams[0]] == \
                   [e if e == "[DONE]" else e["choices"] for e in streams[1]], more
    events = list(server.stream(PATH, {"prompt": "In", "seed": 1, "max_tokens": 5, "stream": True,
                                       "stream_options": {"include_usage": True}}))
    assert all(event["usage"] is None for event in events[:-2])
    assert events[-2]["choices"] == [] and events[-2]["usage"]["completion_tokens"] == 5
    assert len(events) == 5 + 1 + 2, "an event a token, the end, the usage"


def check_lengths(server):
    answer = plain(server, prompt="In the beginning", seed=3)
    assert answer["usage"]["completion_tokens"] == 16 and answer["choices"][0]["finish_reason"] == "length"
    ids = server.post("/tokenize", {"prompt": "In the beginning"})[1]["tokens"]
    assert answer["usage"]["prompt_tokens"] == len(ids)
    assert answer["usage"]["total_tokens"] == len(ids) + 16
    again = plain(server, prompt=ids, seed=3)
    assert again["choices"] == answer["choices"]
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    full = plain(server, prompt=ids, seed=3, max_tokens=512 - len(ids), stop=None)
    assert full["usage"]["total_tokens"] <= 512
    rest = plain(server, prompt=[40] * 510, seed=3)
    assert rest["usage"]["completion_tokens"] == 2, "as many as fit where nobody asked"
    stopped = plain(server, prompt="In the beginning", temperature=0, max_tokens=60, stop=["reign"])
    assert stopped["choices"][0]["finish_reason"] == "stop" and "reign" not in stopped["choices"][0]["text"]


def check_logprobs(server):
    prompt = "In the beginning"
    answer = plain(server, prompt=prompt, temperature=0, max_tokens=12, logprobs=4, echo=True)
    choice = answer["choices"][0]
    logprobs = choice["logprobs"]
    n = answer["usage"]["total_tokens"]
    assert all(len(values) == n for values in logprobs.values()), logprobs
    assert logprobs["token_logprobs"][0] is None and logprobs["top_logprobs"][0] is None
    for token, value, top, offset in list(zip(*(logprobs[key] for key in (
            "tokens", "token_logprobs", "top_logprobs", "text_offset"))))[1:]:
        assert top[token] == value and 4 <= len(top) <= 5
        assert choice["text"][offset:].startswith(token), (token, offset)
    n_prompt = answer["usage"]["prompt_tokens"]
    for value, top in list(zip(logprobs["token_logprobs"], logprobs["top_logprobs"]))[n_prompt:]:
        assert value == max(top.values()), "the likeliest token at temperature 0"

    # Picked tokens have the log-probabilities, bit for bit, that they have in a prompt.
    whole = plain(server, prompt=choice["text"], max_tokens=0, logprobs=4, echo=True)["choices"][0]
    assert whole["text"] == choice["text"] and whole["finish_reason"] == "length"
    assert whole["logprobs"] == logprobs
    few = plain(server, prompt=choice["text"], max_tokens=1, logprobs=1, echo=True)["choices"][0]
    assert few["logprobs"]["token_logprobs"][:-1] == logprobs["token_logprobs"]


def check_sampling(server):
    def text(**more):
        return plain(server, **({"prompt": "And the LORD", "max_tokens": 20, "seed": 5} | more))["choices"][0]["text"]

    assert text() == text() and text() != text(seed=6)
    assert text(seed=None) != text(seed=None), "a seed that nobody chose differs each time"
    greedy = text(temperature=0)
    for more in ({"top_k": 1}, {"top_p": 0}, {"min_p": 1}, {"temperature": 0}):
        assert text(seed=9, repetition_penalty=1, **more) == greedy, more
    for more in ({"presence_penalty": 2}, {"frequency_penalty": 2}, {"repetition_penalty": 1.8}):
        assert text(temperature=0, max_tokens=40, **more) != text(temperature=0, max_tokens=40), more
    first = server.post("/tokenize", {"prompt": greedy, "add_special_tokens": False})[1]["tokens"][0]
    assert not text(temperature=0, logit_bias={str(first): -100}).startswith(greedy[:4])
    choices = plain(server, prompt="And the LORD", max_tokens=20, seed=5, n=16)["choices"]
    assert len({choice["text"] for choice in choices}) > 8 and choices[0]["text"] == text()
    shown = subprocess.run(["rsr-run", MODEL, "-p", "And the LORD", "--temp", "0", "-n", "20"], check=True,
                           capture_output=True, text=True).stdout
    assert shown.rstrip("\n").endswith(greedy), (shown, greedy)


def check_nothing(server):
    """Fields that are ignored, with values that change nothing."""
    body = {"prompt": "In the", "seed": 2, "max_tokens": 4}
    want = plain(server, **body)["choices"]
    for more in ({"user": "me"}, {"suffix": None}, {"suffix": ""}, {"best_of": 1}, {"n": None}, {"logit_bias": {}},
                 {"stop": []}, {"stream": False}, {"model": "kjv"}, {"logprobs": None}, {"echo": False}, {"top_k": 40}):
        assert plain(server, **body, **more)["choices"] == want, more


with Server("kjv=" + MODEL) as server:
    for check in (check_streams, check_lengths, check_logprobs, check_sampling, check_nothing):
        check(server)
    assert server.stop() == 0
print("all is as it should be")
