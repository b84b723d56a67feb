"""Usage: refused_requests.py KJV.so HERMES.so. Tests every sentence that refuses a request."""
import sys

from server import Server

COMPLETIONS, CHATS, EMBEDDINGS = "/v1/completions", "/v1/chat/completions", "/v1/embeddings"
ASK = [{"role": "user", "content": "?"}]
TOOL = {"type": "function", "function": {"name": "f"}}


def tool(**more):
    return {"type": "function", "function": {"name": "f"} | more}


def messages(**more):
    return {"messages": [{"role": "user", "content": "?"} | more]}


def schema(value):
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": value}}}


# Fields sent in addition to a prompt or messages, the status, param, and a part of the sentence.
COMPLETION_REFUSALS = [
    ({"bogus": 1}, 400, "bogus", "does not know the field 'bogus'"),
    ({"model": "nobody"}, 404, "model", 'no model "nobody" here'),
    ({"model": 7}, 400, "model", "must be the name of a model"),
    ({"prompt": None}, 400, "prompt", "'prompt' is missing"),
    ({"prompt": 7}, 400, "prompt", "'prompt' must be a text or a list of token ids"),
    ({"prompt": []}, 400, "prompt", "from 1 to 2048 parts, not 0"),
    ({"prompt": ["a"] * 2049}, 400, "prompt", "from 1 to 2048 parts, not 2049"),
    ({"prompt": [[1], []]}, 400, "prompt", "without a token"),
    ({"prompt": "", "add_special_tokens": False}, 400, "prompt", "without a token"),
    ({"prompt": ["a", 7]}, 400, "prompt[1]", "'prompt[1]' must be a text"),
    ({"prompt": [1, 2560]}, 400, "prompt", "'prompt[1]' must be a token's id, a whole number below 2560"),
    ({"prompt": [[1, -1]]}, 400, "prompt[0]", "'prompt[0][1]' must be a token's id"),
    ({"prompt": [[1, 1.5]]}, 400, "prompt[0]", "'prompt[0][1]' must be a token's id"),
    ({"prompt": "a b " * 300}, 400, "prompt", "at most 512 tokens here, and 'prompt' has 602"),
    ({"prompt": "x" * 30000}, 400, "prompt", "'prompt' has at least "),
    ({"prompt": [40] * 513}, 400, "prompt", "at most 512 tokens here, and 'prompt' has 513"),
    ({"prompt": [40] * 500, "max_tokens": 13}, 400, "max_tokens", "500 of the prompt and 13 of 'max_tokens' are 513"),
    ({"prompt": [40] * 512}, 400, "max_tokens", "nothing is left for an answer"),
    ({"max_tokens": -1}, 400, "max_tokens", "from 0 to 2147483647, not -1"),
    ({"max_tokens": 1e2}, 400, "max_tokens", "must be a whole number, not a number with a point or an exponent"),
    ({"max_tokens": "7"}, 400, "max_tokens", "must be a whole number, not a string"),
    ({"temperature": 2.5}, 400, "temperature", "from 0 to 2, not 2.5"),
    ({"temperature": -0.1}, 400, "temperature", "from 0 to 2"),
    ({"temperature": True}, 400, "temperature", "must be a number, not true"),
    ({"top_p": 1.1}, 400, "top_p", "from 0 to 1"),
    ({"top_k": -2}, 400, "top_k", "from -1 to"),
    ({"min_p": 2}, 400, "min_p", "from 0 to 1"),
    ({"seed": 0.5}, 400, "seed", "whole number"),
    ({"n": 0}, 400, "n", "from 1 to 16, not 0"),
    ({"n": 17}, 400, "n", "from 1 to 16, not 17"),
    ({"prompt": ["a"] * 2048, "n": 3}, 400, "n", "asks for 6144 texts; one may ask for 4096"),
    ({"best_of": 2}, 400, "best_of", "'best_of' equal to 'n' only"),
    ({"stop": ["a"] * 5}, 400, "stop", "at most 4 strings, not 5"),
    ({"stop": ["a", "b" * 4097]}, 400, "stop", "at most 4096 bytes, not 4097"),
    ({"stop": ""}, 400, "stop", "a string that is not empty"),
    ({"stop": ["a", None]}, 400, "stop", "a string that is not empty"),
    ({"presence_penalty": 3}, 400, "presence_penalty", "from -2 to 2"),
    ({"frequency_penalty": -3}, 400, "frequency_penalty", "from -2 to 2"),
    ({"repetition_penalty": 0}, 400, "repetition_penalty", "from 0.01 to 100"),
    ({"logit_bias": {"x": 1}}, 400, "logit_bias", "\"x\", which is no token's id below 2560"),
    ({"logit_bias": {"2560": 1}}, 400, "logit_bias", "\"2560\", which is no token's id"),
    ({"logit_bias": {"-1": 1}}, 400, "logit_bias", "no token's id"),
    ({"logit_bias": {"7": 101}}, 400, "logit_bias", "of token 7 must be a number from -100 to 100"),
    ({"logit_bias": {"7": "1"}}, 400, "logit_bias", "of token 7 must be a number"),
    ({"logit_bias": {str(i): 1 for i in range(1025)}}, 400, "logit_bias", "at most 1024 tokens, not 1025"),
    ({"logit_bias": []}, 400, "logit_bias", "must be an object, not a list"),
    ({"logprobs": 21}, 400, "logprobs", "from 0 to 20"),
    ({"logprobs": True}, 400, "logprobs", "whole number, not true"),
    ({"prompt": [[40] * 500] * 200, "echo": True, "logprobs": 20, "max_tokens": 0}, 400, "logprobs",
     "up to 2100000 numbers, of at most 1048576"),
    ({"prompt": ["a"] * 2048, "n": 2, "logprobs": 20}, 400, "logprobs", "up to 1376256 numbers"),
    ({"suffix": "x"}, 400, "suffix", "supports 'suffix' as \"\" only"),
    ({"stream": "yes"}, 400, "stream", "must be true or false, not a string"),
    ({"stream_options": {"include_usage": True}}, 400, "stream_options", "goes with 'stream': true only"),
    ({"stream": True, "stream_options": {"x": 1}}, 400, "stream_options.x", "does not know the field"),
    ({"stream": True, "stream_options": {"include_obfuscation": True}}, 400, "stream_options.include_obfuscation",
     "as false only"),
]

CHAT_REFUSALS = [
    ({"messages": None}, 400, "messages", "at least one message"),
    ({"messages": []}, 400, "messages", "at least one message"),
    ({"messages": {}}, 400, "messages", "must be a list, not an object"),
    ({"messages": ["?"]}, 400, "messages[0]", "must be an object"),
    (messages(role="poet"), 400, "messages[0]", "role' must be system, developer, user, assistant or tool"),
    (messages(role=None), 400, "messages[0]", "role' must be"),
    (messages(mood="calm"), 400, "messages[0].mood", "does not know the field 'messages[0].mood'"),
    (messages(refusal="no"), 400, "messages[0].refusal", "does not support 'messages[0].refusal'"),
    (messages(content=None), 400, "messages[0]", "a text or a list of parts"),
    (messages(content=[{"type": "image_url", "image_url": {"url": "x"}}]), 400, "messages[0].content[0]",
     "is of type 'image_url': this server reads text only"),
    (messages(content=["?"]), 400, "messages[0].content[0]", "must be an object"),
    (messages(content=[{"type": "text"}]), 400, "messages[0].content[0]", 'must have a "type" and a "text"'),
    (messages(role="tool"), 400, "messages[0]", "belongs to tools, which the chat template"),
    (messages(content="x " * 400), 400, "messages", "at most 512 tokens here, and 'messages' has"),
    ({"max_tokens": 0}, 400, "max_tokens", "at least one token"),
    ({"max_completion_tokens": 0}, 400, "max_completion_tokens", "at least one token"),
    ({"max_tokens": 3, "max_completion_tokens": 4}, 400, "max_tokens", "and they differ"),
    ({"max_completion_tokens": 600}, 400, "max_completion_tokens", "600 of 'max_completion_tokens'"),
    ({"top_logprobs": 2}, 400, "top_logprobs", "goes with 'logprobs': true only"),
    ({"logprobs": True, "top_logprobs": 21}, 400, "top_logprobs", "from 0 to 20"),
    ({"logprobs": 1}, 400, "logprobs", "true or false, not a number"),
    ({"store": True}, 400, "store", "as false only"),
    ({"service_tier": "flex"}, 400, "service_tier", "\"auto\" \"default\" only"),
    ({"modalities": ["text", "audio"]}, 400, "modalities", 'as ["text"] only'),
    ({"functions": []}, 400, "functions", "does not know the field"),
    ({"continue_final_message": True}, 400, "continue_final_message", "as false only"),
    ({"chat_template_kwargs": {"messages": []}}, 400, "chat_template_kwargs", "may not have messages or tools"),
    ({"chat_template_kwargs": {"bos_token": "x"}}, 400, "messages", "bos_token"),
    ({"response_format": {}}, 400, "response_format.type", "text, json_object or json_schema"),
    ({"response_format": {"type": "xml"}}, 400, "response_format.type", "text, json_object or json_schema"),
    ({"response_format": {"type": "json_schema"}}, 400, "response_format.json_schema", "is missing"),
    ({"response_format": {"type": "json_object", "json_schema": {}}}, 400, "response_format.type", "only the last"),
    (schema({"type": "object", "patternProperties": {}}), 422, "response_format.json_schema.schema",
     'the constraint knows no keyword "patternProperties"'),
    ({"tools": [TOOL]}, 400, "tools", "does not present tools in a form that this server reads"),
    ({"tool_choice": "required"}, 400, "tool_choice", "there are no 'tools'"),
    ({"tool_choice": {}}, 400, "tool_choice", "there are no 'tools'"),
]

TOOL_REFUSALS = [
    ({"tools": ["f"]}, 400, "tools[0]", "must be an object"),
    ({"tools": [{"type": "web_search"}]}, 400, "tools[0]", '"type": "function" and a "function"'),
    ({"tools": [tool(name="a b")]}, 400, "tools[0].function", "1 to 64 letters"),
    ({"tools": [tool(name=None)]}, 400, "tools[0].function", "1 to 64 letters"),
    ({"tools": [tool(x=1)]}, 400, "tools[0].function.x", "does not know the field"),
    ({"tools": [TOOL] * 129}, 400, "tools", "at most 128 functions, not 129"),
    ({"tools": [tool(strict=True)]}, 400, "tools[0].function.strict", "only with a 'tool_choice' of"),
    ({"tools": [TOOL], "parallel_tool_calls": False}, 400, "parallel_tool_calls", "which is one call"),
    ({"tools": [TOOL], "tool_choice": "always"}, 400, "tool_choice", '"none", "auto", "required"'),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, 400, "tool_choice",
     "names 'g', which is not in 'tools'"),
    ({"tools": [tool(parameters={"type": "object", "required": 1})], "tool_choice": "required"}, 422, "tools", "#/anyOf/0"),
    ({"tools": [TOOL], "response_format": {"type": "json_object"}}, 400, "response_format", "only with a 'tool_choice'"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "["}}]}]},
     400, "messages[0].tool_calls[0]", "a JSON object as a string"),
]

BODIES = [
    (b"", "The body is not JSON"),
    (b"[]", "must be an object, not a list"),
    (b'{"prompt": "a", "prompt": "a"}', "duplicate object key"),
    (b'{"prompt": "a"} x', "The body is not JSON"),
    (b'{"prompt": "\xff"}', "unable to decode byte 0xff"),
    (b'{"prompt": "\\ud800"}', "The body is not JSON"),
    (b'{"prompt": "\\u0000"}', "The body is not JSON"),
    (b'{"temperature": NaN}', "The body is not JSON"),
    (b'{"temperature": 1e999}', "The body is not JSON"),
    (b'{"seed": 99999999999999999999}', "The body is not JSON"),
    (b'{"prompt": ' + b"[" * 50 + b"]" * 50 + b"}", "more than 40 deep"),
    (b'{"user": "\\"", "prompt": ' + b"[" * 50 + b"]" * 50 + b"}", "more than 40 deep"),
]
# Brackets in strings do not nest, whatever quotes are in the string.
TEXTS = ['"', '5" wide, [0, 1) ' + "[" * 50, '"' + "{" * 50 + '"', '\\" ' + "[" * 50, "\\\\"]


def check(server, path, body, status, param, part):
    got, answer = server.post(path, body)
    error = answer.get("error", answer)
    assert got == status and error["param"] == param and part in error["message"], (body, got, answer)
    assert error["message"].endswith(".") or status == 422, answer
    assert error["type"] == "invalid_request_error" and error["code"], answer


with Server("--model", "kjv=" + sys.argv[1], "--model", "hermes=" + sys.argv[2]) as server:
    for more, *want in COMPLETION_REFUSALS:
        check(server, COMPLETIONS, {"model": "kjv", "prompt": "a"} | more, *want)
    for more, *want in CHAT_REFUSALS:
        check(server, CHATS, {"model": "kjv", "messages": ASK} | more, *want)
    for more, *want in TOOL_REFUSALS:
        check(server, CHATS, {"model": "hermes", "messages": ASK} | more, *want)
    for path in (COMPLETIONS, CHATS, EMBEDDINGS, "/tokenize", "/detokenize", "/apply-template"):
        for body, part in BODIES:
            check(server, path, body, 400, None, part)
        check(server, path, {"x": 1}, 400, "model", "must be the name")
    for text in TEXTS:
        status, answer = server.post("/tokenize", {"model": "kjv", "prompt": text})
        assert status == 200, (text, answer)
    check(server, EMBEDDINGS, {"model": "kjv", "input": "a"}, 400, "model", "without --embeddings")
    check(server, "/tokenize", {"model": "kjv"}, 400, "prompt", "a 'prompt' (a text) or 'messages'")
    check(server, "/tokenize", {"model": "kjv", "prompt": "a", "messages": ASK}, 400, "prompt", "or 'messages'")
    check(server, "/tokenize", {"model": "kjv", "messages": ASK, "tools": [TOOL]}, 400, "tools", "does not present tools")
    check(server, "/detokenize", {"model": "kjv"}, 400, "tokens", "'tokens' is missing")
    check(server, "/detokenize", {"model": "kjv", "tokens": [2560]}, 400, "tokens", "below 2560")
    check(server, "/detokenize", {"model": "kjv", "tokens": [40] * 131073}, 400, "tokens", "at most 131072 tokens")
    status, answer = server.get("/tokenizer_info")
    assert status == 400 and "2 models" in answer["error"]["message"]
    assert server.stop() == 0

# One request runs for some seconds, one may wait, and others are refused.
with Server("kjv=" + sys.argv[1], "--slots", "1", "--queue", "1") as server:
    body = {"prompt": "In", "max_tokens": 500, "n": 16, "seed": 1, "stream": True,
            "logit_bias": {"2558": -100, "2559": -100}}
    stream = server.stream(COMPLETIONS, body)
    next(stream)
    with server.response("POST", COMPLETIONS, body) as waiting:
        assert waiting.status == 200
        status, headers, answer = server.ask("POST", COMPLETIONS, body)
        assert status == 429 and headers["Retry-After"] == "1" and "--queue" in answer["error"]["message"], answer
        assert answer["error"]["type"] == "rate_limit_error" and answer["error"]["code"] == "queue_full"
    stream.close()
print("all is as it should be")
