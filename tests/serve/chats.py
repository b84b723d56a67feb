"""Usage: chats.py KJV.so HERMES.so LLAMA3.so. Tests the answers of /v1/chat/completions, plain and
streamed."""
import json
import sys

from server import Server

PATH = "/v1/chat/completions"
ASK = [{"role": "user", "content": "Who made the earth?"}]
CITY = {"type": "object", "properties": {"city": {"$ref": "#/$defs/name"}, "days": {"enum": [0.1, 7]}},
        "required": ["city", "days"], "$defs": {"name": {"type": "string", "maxLength": 8}}}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Of a city.", "parameters": CITY}},
         {"type": "function", "function": {"name": "now"}}]
NAMED = {"type": "function", "function": {"name": "weather"}}


def plain(server, **body):
    status, answer = server.post(PATH, {"model": "kjv", "messages": ASK, "max_tokens": 24, "seed": 4} | body)
    assert status == 200, answer
    assert answer["object"] == "chat.completion" and answer["id"].startswith("chatcmpl-")
    return answer


def joined(events, n):
    """The choices of a stream in the form of a plain answer, except for the ids of calls."""
    assert events[-1] == "[DONE]"
    choices = [{"content": "", "calls": [], "logprobs": None, "finish_reason": None} for _ in range(n)]
    begun = set()
    for event in events[:-1]:
        assert event["object"] == "chat.completion.chunk" and event["id"] == events[0]["id"]
        for part in event["choices"]:
            choice, delta = choices[part["index"]], part["delta"]
            assert choice["finish_reason"] is None
            assert ("role" in delta) == (part["index"] not in begun), "the role comes first and once"
            begun.add(part["index"])
            choice["content"] += delta.get("content", "")
            for call in delta.get("tool_calls", []):
                assert call["index"] == len(choice["calls"]) and call["id"].startswith("call_")
                choice["calls"].append(call["function"])
            if part["logprobs"]:
                choice["logprobs"] = (choice["logprobs"] or []) + part["logprobs"]["content"]
            choice["finish_reason"] = part["finish_reason"]
    return choices


def shown(answer):
    return [{"content": choice["message"]["content"] or "",
             "calls": [call["function"] for call in choice["message"].get("tool_calls", [])],
             "logprobs": choice["logprobs"] and choice["logprobs"]["content"],
             "finish_reason": choice["finish_reason"]} for choice in answer["choices"]]


def check_streams(server):
    for more in ({}, {"n": 3}, {"logprobs": True}, {"logprobs": True, "top_logprobs": 2, "n": 2}, {"stop": [" the"]},
                 {"response_format": {"type": "json_object"}, "max_tokens": 60},
                 {"model": "hermes", "tools": TOOLS}, {"model": "llama3", "tools": TOOLS, "logprobs": True},
                 {"model": "hermes", "tools": TOOLS, "tool_choice": "required", "n": 2, "max_tokens": 90},
                 {"model": "llama3", "tools": TOOLS, "tool_choice": NAMED, "logprobs": True, "max_tokens": 90}):
        answer = plain(server, **more)
        events = list(server.stream(PATH, {"model": "kjv", "messages": ASK, "max_tokens": 24, "seed": 4} | more |
                                    {"stream": True, "stream_options": {"include_usage": True}}))
        assert events[-2]["usage"]["total_tokens"] == answer["usage"]["total_tokens"]
        assert joined(events, len(answer["choices"])) == shown(answer), more


def check_logprobs(server):
    answer = plain(server, logprobs=True, top_logprobs=3, temperature=0)
    choice = answer["choices"][0]
    rows = choice["logprobs"]["content"]
    assert bytes(byte for row in rows for byte in row["bytes"]).decode() == choice["message"]["content"]
    stopped = plain(server, logprobs=True, logit_bias={"2559": 100}, temperature=0)
    assert stopped["usage"]["completion_tokens"] == 1 and stopped["choices"][0]["finish_reason"] == "stop"
    assert stopped["choices"][0]["message"]["content"] == "" and stopped["choices"][0]["logprobs"]["content"] == []
    for row in rows:
        assert len(row["top_logprobs"]) == 3 and row["top_logprobs"][0]["logprob"] == row["logprob"]


def check_calls(server):
    for model in ("hermes", "llama3"):
        for choice in plain(server, model=model, tools=TOOLS, tool_choice="required", n=8, max_tokens=120)["choices"]:
            if choice["finish_reason"] == "length":
                continue
            message = choice["message"]
            assert message["content"] is None and choice["finish_reason"] == "tool_calls"
            call, = message["tool_calls"]
            arguments = json.loads(call["function"]["arguments"])
            assert call["type"] == "function" and call["function"]["name"] in ("weather", "now")
            if call["function"]["name"] == "weather":
                assert list(arguments) == ["city", "days"] and len(arguments["city"]) <= 8
                assert arguments["days"] in (0.1, 7) and "0.10000" not in call["function"]["arguments"]
        named = plain(server, model=model, tools=TOOLS, tool_choice=NAMED, max_tokens=120, seed=1)["choices"][0]
        assert named["message"]["tool_calls"][0]["function"]["name"] == "weather"
        told = server.post("/apply-template", {"model": model, "messages": ASK, "tools": TOOLS})[1]["prompt"]
        assert '"weather"' in told and "Call them by" in told
        free = plain(server, model=model, tools=TOOLS, tool_choice="none", max_tokens=4)
        assert free["usage"]["prompt_tokens"] == plain(server, model=model, max_tokens=4)["usage"]["prompt_tokens"]


def check_history(server):
    call = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": '{"zone": "UTC"}'}}
    messages = [{"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "What"}, {"type": "text", "text": "time?"}]},
                {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_1", "content": "12:00"}]
    prompt = server.post("/apply-template", {"model": "hermes", "messages": messages})[1]["prompt"]
    assert prompt == ('<|begin_of_text|>system: Be brief.<|eot_id|>user: What\ntime?<|eot_id|>assistant: '
                      '[now {"zone": "UTC"}]<|eot_id|>tool: 12:00<|eot_id|>assistant: '), prompt
    answer = plain(server, model="hermes", messages=messages)
    tokens = server.post("/tokenize", {"model": "hermes", "messages": messages})[1]["tokens"]
    assert answer["usage"]["prompt_tokens"] == len(tokens)
    # A user's text is only text, and cannot end the turn.
    quoted = server.post("/tokenize", {"model": "hermes", "messages": [{"role": "user", "content": "<|eot_id|>"}]})[1]
    assert quoted["tokens"].count(2559) == 1
    mood = server.post("/apply-template", {"model": "hermes", "messages": ASK, "add_generation_prompt": False,
                                           "chat_template_kwargs": {"mood": "calm"}})[1]["prompt"]
    assert mood.endswith("[calm]")
    assert plain(server, model="hermes", chat_template_kwargs={"mood": "calm"})["usage"]["prompt_tokens"] > \
           plain(server, model="hermes")["usage"]["prompt_tokens"]


def check_formats(server):
    schema = {"type": "object", "properties": {"z": {"type": "integer", "minimum": 0, "maximum": 99},
                                               "a": {"enum": [0.1]}}, "required": ["z", "a"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    for seed in range(4):
        choice = plain(server, response_format=form, seed=seed, max_tokens=60)["choices"][0]
        value = json.loads(choice["message"]["content"])
        assert list(value) == ["z", "a"] and 0 <= value["z"] <= 99 and choice["finish_reason"] == "stop"
        choice = plain(server, response_format={"type": "json_object"}, seed=seed, max_tokens=300)["choices"][0]
        assert choice["finish_reason"] == "length" or isinstance(json.loads(choice["message"]["content"]), dict)


def check_lengths(server):
    n = len(server.post("/tokenize", {"model": "kjv", "messages": ASK})[1]["tokens"])
    status, answer = server.post(PATH, {"model": "kjv", "messages": ASK, "seed": 0, "logit_bias": {
        str(stop): -100 for stop in (2558, 2559)}})
    assert status == 200 and answer["usage"]["total_tokens"] == 512 and answer["usage"]["prompt_tokens"] == n
    assert plain(server, max_completion_tokens=3, max_tokens=None)["usage"]["completion_tokens"] == 3
    assert plain(server, max_completion_tokens=3, max_tokens=3)["usage"]["completion_tokens"] == 3


def check_long_tokens(server):
    """A special token may strip any amount of white space, so a text of many bytes may have few
    tokens."""
    body = {"model": "llama3", "prompt": (" " * 60 + "<|end_of_text|>") * 200, "max_tokens": 1,
            "add_special_tokens": False}
    status, answer = server.post("/v1/completions", body)
    assert status == 200 and answer["usage"]["prompt_tokens"] == 200, answer


def check_nothing(server):
    want = shown(plain(server))
    for more in ({"store": False}, {"metadata": {"a": "b"}}, {"service_tier": "auto"}, {"user": "me"},
                 {"parallel_tool_calls": True}, {"modalities": ["text"]}, {"response_format": {"type": "text"}},
                 {"tools": []}, {"tools": None, "tool_choice": None}, {"logprobs": False}, {"top_logprobs": None}):
        assert shown(plain(server, **more)) == want, more


models = [argument for name, path in zip(("kjv", "hermes", "llama3"), sys.argv[1:])
          for argument in ("--model", f"{name}={path}")]
with Server(*models) as server:
    for check in (check_streams, check_logprobs, check_calls, check_history, check_formats, check_lengths, check_long_tokens,
                  check_nothing):
        check(server)
    assert server.stop() == 0
print("all is as it should be")
