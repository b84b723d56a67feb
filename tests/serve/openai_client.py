"""Usage: openai_client.py KJV.so HERMES.so LLAMA3.so FOLDER. Tests rsr-serve with openai-python: every field that the
routes take, with the plain and the asynchronous client, whole and streamed. Answers are validated against the
client's own types. FOLDER receives files."""
import asyncio
import base64
import json
import pathlib
import struct
import sys
import threading
import typing

import jsonschema
import openai
import pydantic

from server import Server

KEY = "a key"
BEGIN = "In the beginning"
ASK = [{"role": "user", "content": "Who made the earth?"}]
LIKELIEST = {"temperature": 0, "extra_body": {"repetition_penalty": 1}}
NO_END = {"2558": -100, "2559": -100}  # the tokens that end a text
LONG = {"model": "kjv", "prompt": [BEGIN] * 64, "max_tokens": 480, "n": 16, "logit_bias": NO_END}  # 490,000 tokens
FOLDER = pathlib.Path(sys.argv[4])


class Ruler(pydantic.BaseModel):
    reign: int = pydantic.Field(ge=1, le=99)
    house: str = pydantic.Field(max_length=12)


class Weather(pydantic.BaseModel):
    city: str = pydantic.Field(max_length=8)
    days: typing.Literal[1, 7]


RULER = {"type": "object",
         "properties": {"years": {"type": "integer", "minimum": 1, "maximum": 99},
                        "names": {"type": "array", "items": {"enum": ["David", "Saul"]}, "maxItems": 3}},
         "required": ["years", "names"], "additionalProperties": False}
CITY = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}, "days": {"enum": [1, 7]}},
        "required": ["city", "days"], "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Of a city.", "parameters": CITY}},
         {"type": "function", "function": {"name": "now"}}]
NAMED = {"type": "function", "function": {"name": "weather"}}


# ---- Four ways to ask ------------------------------------------------------------------------------------------------


def join_completion(events):
    """The choices of a stream in the form of a plain answer, and its usage."""
    choices, usage = {}, None
    for event in events:
        usage = event.usage or usage
        for part in event.choices:
            choice = choices.setdefault(part.index, {"text": "", "logprobs": None, "finish_reason": None})
            choice["text"] += part.text
            choice["finish_reason"] = part.finish_reason
            if part.logprobs:
                lists = part.logprobs.model_dump(exclude_unset=True)
                choice["logprobs"] = choice["logprobs"] or {name: [] for name in lists}
                for name, values in lists.items():
                    choice["logprobs"][name] += values
    return [choices[i] for i in range(len(choices))], usage


def split_completion(answer):
    return [{"text": choice.text, "finish_reason": choice.finish_reason,
             "logprobs": choice.logprobs and choice.logprobs.model_dump(exclude_unset=True)}
            for choice in answer.choices], answer.usage


def join_chat(events):
    choices, usage = {}, None
    for event in events:
        usage = event.usage or usage
        for part in event.choices:
            choice = choices.setdefault(part.index, {"content": "", "calls": [], "logprobs": None})
            choice["content"] += part.delta.content or ""
            for call in part.delta.tool_calls or []:
                if call.index == len(choice["calls"]):
                    choice["calls"].append([call.function.name, ""])
                choice["calls"][call.index][1] += call.function.arguments
            if part.logprobs:
                choice["logprobs"] = (choice["logprobs"] or []) + part.logprobs.model_dump()["content"]
            choice["finish_reason"] = part.finish_reason
    return [choices[i] for i in range(len(choices))], usage


def split_chat(answer):
    return [{"content": choice.message.content or "", "finish_reason": choice.finish_reason,
             "calls": [[call.function.name, call.function.arguments] for call in choice.message.tool_calls or []],
             "logprobs": choice.logprobs and choice.logprobs.model_dump()["content"]}
            for choice in answer.choices], answer.usage


class Asker:
    """Sends each request in four ways and checks that the answers are equal."""

    def __init__(self, address, key=KEY):
        self.address, self.loop = address, asyncio.new_event_loop()
        options = {"base_url": address + "/v1", "api_key": key, "max_retries": 0}
        self.client, self.later = [kind(**options, _strict_response_validation=True)
                                   for kind in (openai.OpenAI, openai.AsyncOpenAI)]
        # The client's types lack what OpenAI sends: no finish_reason of a part, no log-probability of a prompt's first
        # token, an embedding as base64.
        self.lenient, self.lenient_later = openai.OpenAI(**options), openai.AsyncOpenAI(**options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.await_(self.later.close())
        self.await_(self.lenient_later.close())
        self.await_(self.loop.shutdown_asyncgens())  # abandoned streams
        self.loop.close()

    def await_(self, awaitable):
        return self.loop.run_until_complete(awaitable)

    def streamed(self, create, fields):
        with create(**fields) as events:
            return list(events)

    async def streamed_later(self, create, fields):
        async with await create(**fields) as events:
            return [event async for event in events]

    def ask(self, route, split, join, fields, lenient=False, lenient_stream=False):
        create, create_later = [route(client) for client in ((self.lenient, self.lenient_later) if lenient else
                                                             (self.client, self.later))]
        whole = create(**fields)
        choices, usage = split(whole)
        given_later, used_later = split(self.await_(create_later(**fields)))
        if lenient_stream:
            create, create_later = route(self.lenient), route(self.lenient_later)
        assert whole.model == fields["model"] and whole.system_fingerprint.startswith("fp_"), whole
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        stream = fields | {"stream": True, "stream_options": {"include_usage": True}}
        for given, used in ((given_later, used_later), join(self.streamed(create, stream)),
                            join(self.await_(self.streamed_later(create_later, stream)))):
            assert given == choices, (fields, given, choices)
            assert (used.prompt_tokens, used.completion_tokens) == (usage.prompt_tokens, usage.completion_tokens)
        return choices, usage

    def complete(self, **fields):
        return self.ask(lambda client: client.completions.create, split_completion, join_completion,
                        {"model": "kjv", "prompt": BEGIN, "max_tokens": 12, "seed": 5} | fields,
                        lenient="echo" in fields, lenient_stream=True)

    def chat(self, **fields):
        return self.ask(lambda client: client.chat.completions.create, split_chat, join_chat,
                        {"model": "kjv", "messages": ASK, "max_completion_tokens": 12, "seed": 5} | fields)

    def refused(self, error, create, **fields):
        """The exception that both clients raise, whole and streamed."""
        for more in ({}, {"stream": True}):
            try:
                create(self.client)(**fields, **more)
                assert False, f"{fields} was answered"
            except error as raised:
                refused = raised
            try:
                self.await_(create(self.later)(**fields, **more))
                assert False, f"{fields} was answered"
            except error as raised:
                assert raised.body == refused.body and raised.status_code == refused.status_code
        return refused


# ---- Completions -----------------------------------------------------------------------------------------------------


def check_completions(asker):
    choices, usage = asker.complete()
    assert choices[0]["finish_reason"] == "length" and usage.completion_tokens == 12
    text = choices[0]["text"]

    # Prompts: a text, texts, ids, lists of ids.
    tokens = asker.client.post("../tokenize", body={"model": "kjv", "prompt": BEGIN}, cast_to=object)["tokens"]
    assert asker.complete(prompt=tokens)[0] == asker.complete(prompt=[tokens])[0] == choices
    several, _ = asker.complete(prompt=[BEGIN, "And God said", "Jesus wept"], n=2)
    assert len(several) == 6 and several[0] == choices[0]
    assert len({choice["text"] for choice in asker.complete(n=16, best_of=16)[0]}) > 8

    for fields in ({"seed": 6}, {"temperature": 2}, {"top_p": 0.01}, {"presence_penalty": 2, "max_tokens": 40},
                   {"frequency_penalty": 2, "max_tokens": 40}, {"logit_bias": {str(tokens[-1]): 100}}):
        assert asker.complete(**fields)[0][0]["text"] != text, fields
    assert asker.complete(temperature=0, seed=1)[0] == asker.complete(temperature=0, seed=2)[0]
    for fields in ({"user": "me"}, {"suffix": ""}, {"best_of": 1}, {"stop": []}, {"echo": False}, {"logit_bias": {}}):
        assert asker.complete(**fields)[0] == choices, fields
    for more in ({"top_k": 1}, {"min_p": 1}):  # fields of servers other than OpenAI's
        one, _ = asker.complete(seed=1, extra_body=more | {"repetition_penalty": 1})
        assert one == asker.complete(seed=2, extra_body=more | {"repetition_penalty": 1})[0], more

    word = text.split()[2]
    for stop in (word, ["nothing", word]):
        stopped, _ = asker.complete(stop=stop)
        assert stopped[0]["finish_reason"] == "stop" and text.startswith(stopped[0]["text"] + word)


def check_completion_logprobs(asker):
    choices, usage = asker.complete(logprobs=3, echo=True, **LIKELIEST)
    rows, text = choices[0]["logprobs"], choices[0]["text"]
    assert text.startswith(BEGIN) and all(len(rows[name]) == usage.total_tokens for name in rows)
    assert rows["token_logprobs"][0] is None and rows["top_logprobs"][0] is None
    for i in range(usage.prompt_tokens, usage.total_tokens):
        assert rows["token_logprobs"][i] == max(rows["top_logprobs"][i].values()) <= 0
        assert text[rows["text_offset"][i]:].startswith(rows["tokens"][i])
    again, usage = asker.complete(prompt=text, logprobs=3, echo=True, max_tokens=0)
    assert again[0]["logprobs"] == rows and usage.completion_tokens == 0
    assert len(asker.complete(logprobs=0)[0][0]["logprobs"]["tokens"]) == 12


# ---- Chats -----------------------------------------------------------------------------------------------------------


def check_chats(asker):
    choices, usage = asker.chat()
    assert usage.completion_tokens == 12 and choices[0]["finish_reason"] == "length"
    assert asker.chat(max_completion_tokens=openai.NOT_GIVEN, max_tokens=12)[0] == choices
    for fields in ({"seed": 6}, {"temperature": 2}, {"top_p": 0.01}, {"logit_bias": {"40": 100}},
                   {"presence_penalty": 2, "max_completion_tokens": 40},
                   {"frequency_penalty": 2, "max_completion_tokens": 40}):
        assert asker.chat(**fields)[0][0]["content"] != choices[0]["content"], fields
    for fields in ({"user": "me"}, {"store": False}, {"metadata": {"a": "b"}}, {"service_tier": "auto"}, {"tools": []},
                   {"modalities": ["text"]}, {"response_format": {"type": "text"}}, {"parallel_tool_calls": True},
                   {"prompt_cache_key": "k"}, {"safety_identifier": "s"}, {"logprobs": False}, {"stop": []}):
        assert asker.chat(**fields)[0] == choices, fields
    assert len({choice["content"] for choice in asker.chat(n=4)[0]}) == 4
    word = choices[0]["content"].split()[2]
    stopped, _ = asker.chat(stop=[word])
    assert stopped[0]["finish_reason"] == "stop" and choices[0]["content"].startswith(stopped[0]["content"] + word)

    rows = asker.chat(logprobs=True, top_logprobs=2, **LIKELIEST)[0][0]
    assert "".join(row["token"] for row in rows["logprobs"]) == rows["content"]
    for row in rows["logprobs"]:
        assert len(row["top_logprobs"]) == 2 and row["top_logprobs"][0]["logprob"] == row["logprob"]
        assert bytes(row["bytes"]).decode() == row["token"]

    # Parts of an earlier answer that the client sends back are understood.
    first = asker.client.chat.completions.create(model="kjv", messages=ASK, max_completion_tokens=4)
    _, more = asker.chat(messages=[{"role": "developer", "content": [{"type": "text", "text": "Be brief."}]}, *ASK,
                                   first.choices[0].message, {"role": "user", "name": "Ruth", "content": "Why?"}])
    assert more.prompt_tokens > usage.prompt_tokens


def check_formats(asker):
    for seed in range(4):
        form = {"type": "json_schema", "json_schema": {"name": "ruler", "strict": True, "schema": RULER}}
        choice = asker.chat(response_format=form, seed=seed, max_completion_tokens=80)[0][0]
        jsonschema.validate(json.loads(choice["content"]), RULER)
        assert choice["finish_reason"] == "stop"
        choice = asker.chat(response_format={"type": "json_object"}, seed=seed, max_completion_tokens=300)[0][0]
        assert choice["finish_reason"] == "length" or isinstance(json.loads(choice["content"]), dict)

    # Schemas that the client makes of classes; a truncated answer is reported as such.
    fields = {"model": "kjv", "messages": ASK, "seed": 3, "response_format": Ruler}
    message = asker.client.chat.completions.parse(**fields, max_completion_tokens=99).choices[0].message
    assert isinstance(message.parsed, Ruler)
    asker.chat(messages=ASK + [message] + ASK)  # the answer is sent back unchanged
    with asker.client.chat.completions.stream(**fields, max_completion_tokens=99) as events:
        kinds = {event.type for event in events}
        assert events.get_final_completion().choices[0].message.parsed == message.parsed
    assert {"chunk", "content.delta", "content.done"} <= kinds, kinds
    try:
        asker.client.chat.completions.parse(**fields, max_completion_tokens=3)
        assert False, "three tokens are no JSON"
    except openai.LengthFinishReasonError as error:
        assert error.completion.usage.completion_tokens == 3


def check_tools(asker):
    for model in ("hermes", "llama3"):
        required = {"model": model, "tools": TOOLS, "tool_choice": "required", "max_completion_tokens": 120}
        for choice in asker.chat(**required, n=4)[0]:
            if choice["finish_reason"] == "length":
                continue
            (name, arguments), = choice["calls"]
            assert choice["finish_reason"] == "tool_calls" and choice["content"] == ""
            jsonschema.validate(json.loads(arguments), CITY if name == "weather" else {"type": "object"})
        (call,) = asker.chat(**required | {"tool_choice": NAMED})[0][0]["calls"]
        assert call[0] == "weather"
        assert asker.chat(model=model, tools=TOOLS, tool_choice="auto")[0] == asker.chat(model=model, tools=TOOLS)[0]
        none = asker.chat(model=model, tools=TOOLS, tool_choice="none")
        assert none[1].prompt_tokens == asker.chat(model=model)[1].prompt_tokens

        # The client's own classes, the helper that joins deltas, and the tool's answer in the next
        # request.
        tool = openai.pydantic_function_tool(Weather)
        fields = {"model": model, "messages": ASK, "tools": [tool], "tool_choice": "required", "seed": 2,
                  "parallel_tool_calls": False, "max_completion_tokens": 99}
        message = asker.client.chat.completions.parse(**fields).choices[0].message
        assert isinstance(message.tool_calls[0].function.parsed_arguments, Weather)
        with asker.client.chat.completions.stream(**fields) as events:
            done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
        assert [event.parsed_arguments for event in done] == [message.tool_calls[0].function.parsed_arguments]
        answered = ASK + [message,
                          {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rain"}]
        assert asker.chat(model=model, messages=answered, tools=TOOLS)[1].prompt_tokens > 0


# ---- The rest --------------------------------------------------------------------------------------------------------


def check_models(asker):
    assert [model.id for model in asker.client.models.list()] == ["kjv", "hermes", "llama3"]
    assert asker.client.models.retrieve("hermes").object == "model"
    assert asker.await_(asker.later.models.retrieve("llama3")).id == "llama3"


def check_embeddings(asker):
    texts = ["In the beginning", "And God said", "x"]
    plain = asker.client.embeddings.create(model="kjv", input=texts, encoding_format="float")
    for client in (asker.lenient.embeddings.create,
                   lambda **fields: asker.await_(asker.lenient_later.embeddings.create(**fields))):
        packed = client(model="kjv", input=texts, user="me")  # base64, which the client unpacks
        assert [row.index for row in packed.data] == [0, 1, 2] and packed.usage == plain.usage
        for a, b, text in zip(packed.data, plain.data, texts):
            assert len(a.embedding) > 1 and all(abs(x - y) < 1e-6 for x, y in zip(a.embedding, b.embedding))
            assert list(client(model="kjv", input=text).data[0].embedding) == list(a.embedding)
        tokens = asker.client.post("../tokenize", body={"model": "kjv", "prompt": texts[0]}, cast_to=object)["tokens"]
        for given in (tokens, [tokens]):
            assert list(client(model="kjv", input=given).data[0].embedding) == list(packed.data[0].embedding)
    raw = asker.client.embeddings.with_raw_response.create(model="kjv", input="x", encoding_format="base64")
    data = base64.b64decode(json.loads(raw.text)["data"][0]["embedding"])
    assert list(struct.unpack(f"<{len(data) // 4}f", data)) == list(packed.data[2].embedding)
    try:
        asker.client.embeddings.create(model="kjv", input="x", dimensions=8)
        assert False, "it was answered"
    except openai.BadRequestError as error:
        assert error.param == "dimensions"


def check_refusals(asker):
    def complete(client):
        return lambda **fields: client.completions.create(**{"model": "kjv", "prompt": "a"} | fields)

    def chat(client):
        return lambda **fields: client.chat.completions.create(**{"model": "kjv", "messages": ASK} | fields)

    for create in (complete, chat):
        error = asker.refused(openai.BadRequestError, create, extra_body={"bogus": 1})
        assert error.param == "bogus" and error.type == "invalid_request_error" and "'bogus'" in error.message
        assert asker.refused(openai.BadRequestError, create, temperature=7).param == "temperature"
        assert asker.refused(openai.NotFoundError, create, model="nobody").code == "model_not_found"
    assert asker.refused(openai.BadRequestError, complete, prompt="a b " * 300).code == "context_length_exceeded"
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "patternProperties": {}}}}
    error = asker.refused(openai.UnprocessableEntityError, chat, response_format=form)
    assert "patternProperties" in error.message and error.code == "unsupported_schema"
    assert "tools" in asker.refused(openai.BadRequestError, chat, tools=TOOLS).message
    assert asker.refused(openai.APIStatusError, complete, prompt="a" * 5000000).status_code == 413
    assert asker.refused(openai.NotFoundError, lambda client: client.responses.create, model="kjv",
                         input="a").code == "not_supported"
    for key in ("another key", "a ke"):
        with Asker(asker.address, key) as stranger:
            assert stranger.refused(openai.AuthenticationError, chat).code == "invalid_api_key"


def check_leaving(asker, server):
    """Clients that leave hold no slot: closed streams, cancelled tasks, calls that take too long."""
    def metric(name):
        lines = asker.client.get("../metrics", cast_to=str).splitlines()
        return sum(float(line.split()[1]) for line in lines if line.split(" ")[0].split("{")[0] == name)

    def is_free():
        return metric("rsr_slots_busy") == metric("rsr_queue_requests") == 0

    before = metric("rsr_requests_cancelled_total")

    stream = asker.lenient.completions.create(**LONG, stream=True)
    next(iter(stream))
    assert metric("rsr_slots_busy") > 0
    stream.close()
    assert server.wait_for(is_free, 5)[0]

    with asker.client.chat.completions.stream(model="kjv", messages=ASK, n=16, logit_bias=NO_END) as events:
        next(iter(events))
    assert server.wait_for(is_free, 5)[0]

    async def leave():
        stream = await asker.lenient_later.completions.create(**LONG, stream=True)
        async for _ in stream:
            break
        await stream.close()
        task = asyncio.create_task(asker.later.completions.create(**LONG))
        await asyncio.sleep(0.2)
        task.cancel()
        try:
            await task
            assert False, "it was not cancelled"
        except asyncio.CancelledError:
            pass

    asker.await_(leave())
    assert server.wait_for(is_free, 5)[0]
    try:
        asker.client.with_options(timeout=0.2).completions.create(**LONG)
        assert False, "all was answered in 0.2 s"
    except openai.APITimeoutError:
        pass
    assert server.wait_for(is_free, 5)[0]
    assert metric("rsr_requests_cancelled_total") == before + 5
    assert asker.complete()[0]


def check_full(model):
    """The server runs one request and lets one wait. A third one is refused, and answered when the client
    tries again."""
    with Server("kjv=" + model, "--slots", "1", "--queue", "1") as server, Asker(server.address) as asker:
        streams = []
        for _ in range(2):
            streams.append(asker.lenient.completions.create(**LONG, stream=True))
            assert server.wait_for(lambda: server.metric("rsr_slots_busy") == 1)[0]
        refused = asker.refused(openai.RateLimitError, lambda client: client.completions.create, model="kjv",
                                prompt="a")
        assert refused.code == "queue_full" and refused.response.headers["Retry-After"]
        threading.Timer(0.5, lambda: [stream.close() for stream in streams]).start()
        patient = asker.client.with_options(max_retries=10)
        assert patient.completions.create(model="kjv", prompt="a", max_tokens=2).usage.completion_tokens == 2
        assert server.metric("rsr_requests_queue_full_total") >= 5


def check_time(model):
    """A request that takes too long ends with an error in the stream."""
    with Server("kjv=" + model, "--timeout", "1") as server, Asker(server.address) as asker, \
            asker.lenient.completions.create(**LONG, stream=True) as stream:
        try:
            for _ in stream:
                pass
            assert False, "it was answered"
        except openai.APIError as error:
            assert error.code == "timeout", error


names = ("kjv", "hermes", "llama3")
models = [argument for name, path in zip(names, sys.argv[1:]) for argument in ("--model", f"{name}={path}")]
(FOLDER / "keys").write_text(KEY + "\n")
with Server(*models, "--embeddings", "mean", "--api-key-file", str(FOLDER / "keys"), "--max-body", "64K") as server, \
        Asker(server.address) as asker:
    for check in (check_completions, check_completion_logprobs, check_chats, check_formats, check_tools, check_models,
                  check_embeddings, check_refusals):
        check(asker)
    check_leaving(asker, server)
    assert server.stop() == 0
check_full(sys.argv[1])
check_time(sys.argv[1])
print("all is as it should be")
