"""Usage: texts.py MODEL.so NFC.so. Tests texts to tokens and back, in the formats of vLLM, llama.cpp and
lm-eval."""
import sys

from server import Server

with Server("kjv=" + sys.argv[1]) as server:
    def post(path, **body):
        status, answer = server.post(path, body)
        assert status == 200, answer
        return answer

    answer = post("/tokenize", prompt="In the beginning", return_token_strs=True)
    assert set(answer) == {"count", "max_model_len", "tokens", "token_strs"}
    assert answer["count"] == len(answer["tokens"]) == len(answer["token_strs"]) and answer["max_model_len"] == 512
    assert answer["token_strs"][0] == "<|begin_of_text|>" and "".join(answer["token_strs"][1:]) == "In the beginning"
    assert post("/tokenize", prompt="", add_special_tokens=False) == {
        "count": 0, "max_model_len": 512, "tokens": [], "token_strs": None}
    assert post("/tokenize", prompt="x" * 5000)["count"] > 512, "longer than a context"
    for text in ("", "In the beginning", " a  b ", "na\u00efve \u2014 \U0001f54a \n\t", "<|eot_id|>"):
        tokens = post("/tokenize", prompt=text, add_special_tokens=False)["tokens"]
        assert post("/detokenize", tokens=tokens) == {"prompt": text}, text
    messages = [{"role": "user", "content": "Hear, O Israel"}]
    prompt = post("/apply-template", messages=messages)["prompt"]
    assert prompt == "User: Hear, O Israel<|eot_id|>Assistant: "
    assert post("/tokenize", messages=messages)["tokens"] == post("/tokenize", prompt=prompt)["tokens"]
    assert post("/tokenize", messages=messages, add_generation_prompt=False)["count"] < post(
        "/tokenize", messages=messages)["count"]

    # Sends the requests of lm-eval's remote tokenizer.
    status, info = server.get("/tokenizer_info")
    assert status == 200 and info["bos_token"] == "<|begin_of_text|>" and info["eos_token"] == "<|end_of_text|>"
    assert post("/tokenize", prompt=info["eos_token"], add_special_tokens=False)["tokens"] == [2558]
    assert info["chat_template"].startswith("{% for message in messages %}")
    assert server.stop() == 0

# A text with a longer normal form, such as Devanagari QA, can have more tokens than bytes.
with Server("nfc=" + sys.argv[2]) as server:
    status, answer = server.post("/v1/completions", {"prompt": "\u0958" * 20, "max_tokens": 2})
    assert status == 200 and answer["usage"]["prompt_tokens"] > 3 * 20 + 8, answer
print("all is as it should be")
