"""usage: check_serve_page.py PAGE.html POLICY.txt [RESULT.json... COMPARISON.html]
          check_serve_page.py --server LANGUAGE_MODEL.so EMBEDDING_MODEL.so
Uses rsr-serve's page in a headless Chromium, served by mock_server.py: chats, stops, edits, looks at probabilities,
watches, reads a report, compares. Names and texts that would be markup stay text, nothing is asked elsewhere, the
console stays silent. COMPARISON: what rsr-bench compare makes of the results, which the page draws alike. --server:
rsr-serve itself answers, with these models. REPORT_PICTURES=DIR keeps what it saw."""
import json
import os
import pathlib
import re
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "report"))
import mock_server
from browser import Browser
from server import Server

ENTER, UP, RIGHT, ESCAPE = "\ue007", "\ue013", "\ue014", "\ue00c"
ANSWER = "one two thr\u00e9\u00e9 <b>four</b>\n five"


def check(is_so, what, *told):
    if not is_so:
        sys.exit(f"rsr-serve's page: {what} {told if told else ''}")


def wait(is_so, what, seconds=20):
    end = time.time() + seconds
    while not is_so():
        check(time.time() < end, f"waited in vain: {what}")
        time.sleep(0.05)


class Reader:
    """A user of the page."""

    def __init__(self, browser, port):
        self.browser, self.run, self.url = browser, browser.run, f"http://127.0.0.1:{port}/"

    def open(self, view=""):
        self.browser.open("about:blank")
        self.browser.open(f"{self.url}#{view}")

    def text(self, selector):
        return self.run("return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector)

    def click(self, words, within="body"):
        self.run("const b = [...document.querySelectorAll(arguments[1] + ' button')].filter(b => b.textContent === arguments[0] && "
                 "b.checkVisibility()); if (!b.length) throw Error(arguments[0]); b.at(-1).click()", words, within)

    def write(self, selector, words, event="change"):
        self.run("const e = document.querySelector(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event(arguments[2]))",
                 selector, words, event)

    def send(self, words):
        self.run("const f = document.getElementById('field'); f.focus(); f.value = arguments[0]", words)
        self.browser.press(ENTER)

    def answers(self, n, ending=None):
        """Waits until there are n texts and none of them grows."""
        wait(lambda: len(self.text(".words")) == n and self.run("return document.querySelector('[aria-busy=true]') === null"),
             f"{n} texts, not {self.text('.words')}")
        if ending is not None:
            check(self.text(".words")[-1] == ending, "the answer", self.text(".log"))

    def asked(self):
        """Bodies of all requests so far."""
        return mock_server.state["bodies"]

    def point_at(self, selector, index):
        x, y = self.run("const r = document.querySelectorAll(arguments[0])[arguments[1]].getBoundingClientRect();"
                        "return [r.x + r.width / 2, r.y + r.height / 2]", selector, index)
        self.browser.command("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)


def check_chat(reader):
    reader.open()
    wait(lambda: len(reader.text("#model option")) == 3, "the models")
    check(reader.text("#model option")[1] == mock_server.HOSTILE, "a model's name")
    reader.send("Hello <i>you</i>")
    wait(lambda: 0 < len("".join(reader.text(".assistant .words"))) < len(ANSWER), "a part of the answer")
    check(reader.run("return document.querySelector('[aria-busy=true]') !== null"), "nothing says that more comes")
    reader.answers(2, ANSWER)
    check(reader.text(".user .words") == ["Hello <i>you</i>"], "what was asked")
    body = reader.asked()[-1]
    seed = body.pop("seed")
    check(body == {"model": "tiny", "stream": True, "stream_options": {"include_usage": True},
                   "messages": [{"role": "user", "content": "Hello <i>you</i>"}]}, "the request", body)
    note = reader.text(".assistant .actions span")[0]
    check("7 tokens" in note and "tokens/s" in note and "5 of 10 of the prompt cached" in note and f"seed {seed}" in note, "the note", note)
    reader.click("Regenerate")
    reader.answers(2, ANSWER)
    check(reader.asked()[-1]["messages"] == body["messages"] and reader.asked()[-1]["seed"] != seed, "written again", reader.asked()[-1])
    reader.send("More")
    reader.answers(4, ANSWER)
    check([m["role"] for m in reader.asked()[-1]["messages"]] == ["user", "assistant", "user"] and
          reader.asked()[-1]["messages"][1]["content"] == ANSWER, "the conversation", reader.asked()[-1])


def check_edit(reader):
    reader.run("document.getElementById('field').focus()")
    reader.browser.press(UP)
    reader.browser.press(ESCAPE)
    check(len(reader.text(".message textarea")) == 0 and len(reader.text(".words")) == 4, "Escape leaves nothing as it was")
    reader.run("document.querySelector('.user .actions button').click()")
    reader.run("document.querySelector('.message textarea').value = 'Edited'")
    reader.click("Send again")
    reader.answers(2, ANSWER)
    check(reader.asked()[-1]["messages"] == [{"role": "user", "content": "Edited"}], "edited", reader.asked()[-1])
    reader.run("document.querySelector('.assistant .actions button').click()")
    reader.run("document.querySelector('.message textarea').value = 'Mine'")
    reader.click("Save")
    check(reader.text(".words") == ["Edited", "Mine"], "an edited answer", reader.text(".words"))


def check_stop(reader):
    reader.click("New conversation")
    reader.send("be slow")
    wait(lambda: "five" in "".join(reader.text(".assistant .words")), "text")
    reader.click("Stop")
    reader.answers(2)
    wait(lambda: reader.asked()[-1] == "gone", "the server notices")
    check("stopped" in reader.text(".assistant .actions span")[0] and reader.text(".words")[1].startswith("one two"), "what was stopped")
    check(reader.run("return document.querySelector('.error:not([hidden])') === null"), "stopping is an error")


def check_settings(reader):
    told = reader.run("return [...document.querySelectorAll('.fields input')].map(e => e.placeholder)")
    check(told == ["0.7", "default", "40", "default", "random", "default"], "defaults", told)
    values = {"temperature": "0.5", "top_p": "0.9", "top_k": "40", "min_p": "0.05", "seed": "17", "max_tokens": "33"}
    for name, value in {**values, "system": "Be <b>brief</b>"}.items():
        reader.write(f"#set-{name}", value)
    reader.click("New conversation")
    for _ in range(2):
        reader.send("Hello")
        wait(lambda: reader.asked()[-1] != "gone", "a request")
        reader.answers(2, ANSWER)
        body = reader.asked()[-1]
        check({**{k: float(v) for k, v in values.items()}, "max_completion_tokens": 33} == {"max_tokens": 33, **{
            k: v for k, v in body.items() if k in values or k == "max_completion_tokens"}}, "settings", body)
        check(body["messages"][0] == {"role": "system", "content": "Be <b>brief</b>"}, "the system prompt", body)
        reader.open() # which keeps them
        wait(lambda: len(reader.text("#model option")) == 3, "the models")
    reader.write("#set-temperature", "-1")
    check(reader.run("return document.getElementById('set-temperature').value") == "", "a temperature below 0")
    for name in ("system", *values):
        reader.write(f"#set-{name}", "")


def check_probabilities(reader):
    """Probabilities by pointer and by keys, in a chat and in a text. Tokens that share a character are
    one place."""
    reader.run("document.getElementById('probabilities').click()")
    for model, mode, words in (("tiny", "Send", "90.5 %"), ("plain", "Continue", "8.21 %")):
        reader.write("#model", model)
        reader.click("New conversation")
        check(mode in reader.text(".composer button"), "the mode", reader.text(".composer button"))
        reader.send("Hello")
        reader.answers(2, ANSWER)
        places = reader.text(".token")
        check(places == ["one", " two", " thr\u00e9\u00e9", " <b>four</b>", "\n", " five"], "tokens", places)
        reader.point_at(".token", 3)
        wait(lambda: reader.run("return !document.getElementById('tip').hidden"), "a hint")
        check(words in reader.text("#tip")[0] and "\u2423<b>four</b>" in reader.text("#tip")[0], "the hint", reader.text("#tip"))
        check(len(reader.text("#tip tr")) == 2 and len(reader.text("#tip tr.chosen")) == 1, "rows of the hint", reader.text("#tip tr"))
        reader.run("document.querySelector('.assistant .words').focus()")
        reader.browser.press(RIGHT)
        check(reader.text(".token.current") == ["\n"] and "\u23ce" in reader.text("#tip")[0], "an arrow", reader.text(".token.current"))
        reader.browser.press(ESCAPE)
        check(reader.run("return document.getElementById('tip').hidden"), "Escape leaves the hint")
    body = reader.asked()[-1]
    check(body["prompt"] == "Hello" and body["logprobs"] == 8 and body["max_tokens"] == 256, "the request of a text", body)
    reader.send("")
    reader.answers(3, ANSWER)
    check(reader.asked()[-1]["prompt"] == "Hello" + ANSWER, "the text goes on", reader.asked()[-1])
    reader.run("document.getElementById('probabilities').click()")
    reader.write("#model", "tiny")


def check_errors(reader):
    for words, said, kept in (("refuse", "'top_k' is <b>wrong</b>", ""), ("error", "the server is <b>stopping</b>", "one two"),
                              ("break", "The connection ended before the answer did.", "one two")):
        reader.click("New conversation")
        reader.send(f"please {words}")
        reader.answers(2, kept)
        check(reader.text(".message .error:not([hidden])") == [said], "what is said", reader.text(".message .error"))
    check([e for e in reader.browser.log("browser") if "400" not in e["message"]] == [], "the console")


def check_history(reader):
    before = reader.text(".past button:first-child")
    reader.run("localStorage.setItem('rsr-serve/conversation/bad', '{\"id\":\"x\",\"mode\":\"chat\",\"changed\":1,\"messages\":[{}]}');"
               "localStorage.setItem('rsr-serve/conversation/worse', '{'); localStorage.setItem('rsr-serve/settings', '[1]')")
    reader.open()
    wait(lambda: len(reader.text("#model option")) == 3, "the models")
    check(reader.text(".past button:first-child") == before and len(before) > 5, "conversations", before)
    reader.run("document.querySelector('.past button').click()")
    check(reader.text(".words")[0] == before[0], "an old conversation", reader.text(".words"))
    reader.run("document.querySelector('.past button.link').click()")
    check(reader.text(".past button:first-child") == before[1:] and reader.text(".words") == [], "deleted")
    reader.click("Undo")
    check(reader.text(".past button:first-child") == before and len(reader.text(".words")) == 2, "not deleted after all")
    reader.run("Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }")
    reader.send("No room")
    reader.answers(4, ANSWER)
    check("no room" in reader.text(".told")[0], "nothing is said of a full browser", reader.text(".told"))


def check_live(reader):
    reader.open()
    wait(lambda: len(reader.text("#model option")) == 3, "the models")
    reader.send("be slow")
    reader.run("location.hash = 'live'")
    wait(lambda: (reader.text(".tile b") or ["0"])[0] not in ("0", "–"), "tokens a second")
    wait(lambda: reader.run("return document.querySelectorAll('svg.chart path.curve[d]').length") >= 5, "curves")
    tiles = reader.text(".tile b")
    check(5 < float(tiles[0]) < 25 and tiles[1:5] == ["1 of 4", "2", "25.0 %", "50.0 %"], "tiles", tiles)
    rows = reader.text(".slots td")
    check(rows == [mock_server.HOSTILE, "64 of 100", "3", "1.50 s"], "slots", rows)
    check("rsr_generated_tokens_total" in "".join(reader.text("details td")), "counters")
    check_looks(reader, "live")
    reader.run("location.hash = 'chat'")
    check(reader.run("return document.querySelector('[aria-busy=true]') !== null"), "the answer does not go on beside other views")
    reader.click("Stop")
    reader.answers(2)
    time.sleep(1.2) # for a request that was under way
    looks = mock_server.state["looks"]
    time.sleep(1.5)
    check(mock_server.state["looks"] == looks, "the server is asked though nobody looks")


def check_model(reader):
    reader.open("models")
    wait(lambda: len(reader.text("tbody tr")) == 3, "models")
    check_looks(reader, "models")
    reader.run("[...document.querySelectorAll('tbody a')].find(a => a.textContent === arguments[0]).click()", mock_server.HOSTILE)
    wait(lambda: reader.text("h1") == [mock_server.HOSTILE], "the model's report")
    check(len(reader.text("tr.row")) == 18 and reader.run("return document.querySelectorAll('svg.chart').length") == 2, "kernels")
    check(reader.text(".tile b")[1:3] == ["1.41", "123 KB"], "tiles", reader.text(".tile b"))
    check("temperature 0.7, top k 40" in reader.text("dd"), "facts", reader.text("dd"))
    reader.write("input[type=search]", "K lut", "input")
    check(reader.text("tr.row td.name") == ["0 k", "1 k", "2 k"], "the filter", reader.text("tr.row td.name"))
    reader.write("input[type=search]", "", "input")
    reader.click("prefill")
    check(set(reader.text("tr.row td:nth-child(3)")) == {"table"}, "the regime", reader.text("tr.row td:nth-child(3)"))
    reader.run("document.querySelector('tr.row').focus()")
    reader.browser.press(ENTER)
    check(reader.text("tr.more:not([hidden]) p") == ["reads <i>fewer</i> bytes", "rsr_l0_q_avx2"], "the reason", reader.text("tr.more"))
    check_looks(reader, "model")


def drop(reader, files):
    reader.run("const d = new DataTransfer(); for (const [name, text] of arguments[0]) d.items.add(new File([text], name));"
               "document.querySelector('div.compare').dispatchEvent("
               "new DragEvent('drop', {dataTransfer: d, bubbles: true, cancelable: true}))", files)


DRAWN = "return [[...document.querySelectorAll('h2')].map(e => e.textContent).filter(t => t !== 'Results')," \
        "[...document.querySelectorAll('svg.chart title')].map(e => e.textContent)," \
        "[...document.querySelectorAll('section td')].map(e => e.textContent)]"


def check_compare(reader, results, comparison):
    reader.open("compare")
    wait(lambda: reader.text("h1") == ["Compare"], "the view")
    drop(reader, [["<b>.json", "{"], ["other.json", '{"text": "a"}'], ["empty.json", " "], ["twice.json", '{"floor_tps": 1} x']])
    wait(lambda: reader.text(".error:not([hidden])"), "what is wrong")
    said = reader.text("div.compare .error")[0]
    check(all(words in said for words in ("<b>.json: is not JSON", "other.json: has an object that is not a kernel", "empty.json: is empty",
                                          "twice.json: is not JSON")), "what is wrong", said)
    check(reader.text(".files li") == [], "files that are none are listed")
    if results:
        drop(reader, [[os.path.basename(path), pathlib.Path(path).read_text()] for path in results])
        wait(lambda: len(reader.text(".files li")) == len(results), "the files")
        check_looks(reader, "compare")
        reader.browser.look(1200)
        drawn = reader.run(DRAWN)
        asked = [json.loads(e["message"])["message"] for e in reader.browser.log("performance")]
        reader.browser.open(comparison)
        expected = reader.run(DRAWN)
        reader.browser.log("performance") # the file itself
        check(drawn == expected and len(drawn[0]) > 2, "rsr-bench compare draws another page", drawn, expected)
        check_requests(reader, asked)
        reader.open("compare")
    check(reader.run("return document.title").endswith("rsr-serve"), "the title")


def check_looks(reader, name):
    for width, dark in ((1400, False), (1400, True), (800, False), (390, False), (390, True)):
        reader.browser.look(width, dark)
        wide = reader.run("return document.documentElement.scrollWidth")
        check(wide <= width, f"{name} is {wide} wide in a window of {width}")
        color = reader.run("return getComputedStyle(document.body).color")
        check((color == "rgb(233, 235, 238)") == dark, "dark mode", color)
        if "REPORT_PICTURES" in os.environ:
            reader.browser.save_picture(f"{os.environ['REPORT_PICTURES']}/{name}-{width}{'-dark' if dark else ''}.png")
    broken = reader.run("return [...document.querySelectorAll('svg *')].filter(e => [...e.attributes].some(a => "
                        "/NaN|undefined|Infinity/.test(a.value))).map(e => e.outerHTML.slice(0, 200))")
    check(broken == [], "numbers that are none", broken)
    unnamed = reader.run("return [...document.querySelectorAll('button, input, select, textarea')].filter(e => e.checkVisibility() && "
                         "!(e.textContent.trim() || e.getAttribute('aria-label') || e.labels && e.labels.length)).map(e => e.outerHTML)")
    check(unnamed == [], "controls without a name", unnamed)
    reader.browser.look(1200)


def check_policy(reader):
    """The policy's header works: no added script runs, no text becomes markup, and nothing is requested elsewhere."""
    with urllib.request.urlopen(reader.url) as reply:
        policy, size = reply.headers["Content-Security-Policy"], len(reply.read())
    check(size <= 150_000, "is too large", size)
    parts = dict(part.strip().partition(" ")[::2] for part in policy.split(";"))
    check(parts["default-src"] == "'none'" and parts["connect-src"] == "'self'" and "unsafe" not in policy and "*" not in policy, policy)
    reader.open()
    tried = reader.run("try { document.body.innerHTML = '<p>'; return 'markup'; } catch (e) { }"
                       "try { const s = document.createElement('script'); s.text = 'window.owned = 1';"
                       "document.body.append(s); } catch (e) { }"
                       "return window.owned || ''")
    check(tried == "", "the policy lets pass", tried)
    elsewhere = reader.browser.call("/execute/async", {"args": [], "script": "const done = arguments[0];"
                                    "fetch('http://127.0.0.2:1/').then(() => done('asked'), e => done(e.message));"
                                    "setTimeout(() => done('slow'), 5000)"})
    check(elsewhere == "Failed to fetch", "elsewhere", elsewhere)
    told = [e["message"] for e in reader.browser.log("browser")]
    check(any("connect-src" in words for words in told), "the policy is not what refused it", told)


def check_requests(reader, messages):
    asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    elsewhere = {url for url in asked if not url.startswith((reader.url, "data:", "about:", "chrome:", "blob:"))}
    check(asked and not elsewhere, "something is asked elsewhere", elsewhere)


def check_silence(reader):
    told = [e for e in reader.browser.log("browser") if "400" not in e["message"]]
    check(told == [], "the console", told)
    check_requests(reader, [json.loads(e["message"])["message"] for e in reader.browser.log("performance")])
    check(reader.run("return window.owned === undefined && document.scripts.length === 1"), "a name ran as script")


def check_key(reader, n_models):
    """The page itself needs no key. It asks for the key, keeps it until the tab closes, and shows errors."""
    models = lambda: len(reader.text("#model option")) == n_models
    reader.open()
    for key, is_known in (("wrong", False), ("s3cret", True)):
        wait(lambda: reader.run("return document.querySelector('dialog[open] #key') !== null"), "a question")
        reader.run("document.getElementById('key').value = arguments[0]", key)
        reader.click("Use this key", "dialog")
        wait(lambda: models() == is_known and bool(reader.text("dialog")) != is_known, f"the key {key}")
    check(reader.run("return Object.values(sessionStorage).join() === 's3cret' && !Object.values(localStorage).join().includes('s3cret')"),
          "where the key is kept")
    reader.open()
    wait(models, "the models, with the key that the tab has")
    reader.run("sessionStorage.clear()")
    reader.open()
    wait(lambda: reader.text("dialog"), "a question")
    reader.click("Cancel", "dialog")
    wait(lambda: "Try again" in "".join(reader.text("body > .error:not([hidden])")), "what is said without a key")


STOP_AT_ONCE = """const log = document.querySelector('.log');
    new MutationObserver((_, observer) => {
        if (!log.querySelector('.assistant .words').textContent)
            return;
        observer.disconnect();
        [...document.querySelectorAll('button')].find(b => b.textContent === 'Stop').click();
    }).observe(log, {childList: true, subtree: true, characterData: true})"""


def check_idle(reader):
    reader.run("location.hash = 'live'")
    wait(lambda: reader.text(".slots td") == ["Nothing is generated."], f"slots that are free, not {reader.text('.slots td')}")
    wait(lambda: reader.text(".tile b")[1:3] == ["0 of 32", "0"], f"tiles {reader.text('.tile b')}")


def check_server(reader, server, name):
    """A real model's text, token by token; an equal text again with its seed; a slot that is free when the reader
    leaves."""
    reader.open()
    wait(lambda: reader.text("#model option") == [name], "the one model that generates")
    reader.run("document.getElementById('probabilities').click()")
    for setting, value in (("seed", "8"), ("max_tokens", "60")):
        reader.write(f"#set-{setting}", value)
    for mode in ("chat", "text"):
        reader.click("New conversation")
        reader.click(mode, ".modes")
        reader.send("In the beginning")
        reader.answers(2)
        answer = reader.text(".words")[1]
        check(len(answer) > 50 and "".join(reader.text(".token")) == answer, "tokens of an answer", reader.text(".log"))
        check("60 tokens" in reader.text(".assistant .actions span")[0], "the note", reader.text(".assistant .actions span"))
        reader.run("document.querySelector('.assistant .words').focus()")
        reader.browser.press(RIGHT)
        check(len(reader.text("#tip tr")) in (8, 9) and "%" in reader.text("#tip")[0], "a hint", reader.text("#tip"))
        reader.click("Regenerate")
        reader.answers(2, answer)
    check_looks(reader, "served-chat")
    check_idle(reader)
    reader.run("location.hash = 'chat'")
    reader.write("#set-max_tokens", "400")
    reader.click("New conversation")
    reader.run(STOP_AT_ONCE)
    reader.send("In the beginning")
    reader.answers(2)
    check("stopped" in reader.text(".assistant .actions span")[0], "stopping", reader.text(".assistant .actions span"))
    wait(lambda: b"rsr_requests_cancelled_total 1\n" in server.get("/metrics")[1], "the server notices")
    check_idle(reader)
    reader.run("location.hash = 'models'")
    wait(lambda: reader.text("main tbody td:nth-child(2)") == ["chats", "embeds"], f"models {reader.text('main tbody td')}")
    reader.run("document.querySelector('tbody a').click()")
    wait(lambda: reader.text("h1") == [name] and reader.text("tr.row"), "the report")
    reader.run("document.querySelector('tr.row').click()")
    check("us" in reader.text("tr.more:not([hidden]) p")[0], "the reason", reader.text("tr.more"))
    check_looks(reader, "served-model")
    check_silence(reader)
    check_policy(reader)


def serve_models(language, embedding):
    name = "<script>alert(1)"
    with Server(f"{name}={language}", f"embedder={embedding}") as server, Browser() as browser:
        browser.look(1200)
        check_server(Reader(browser, server.port), server, name)
        with tempfile.NamedTemporaryFile("w") as keys:
            keys.write("s3cret\n")
            keys.flush()
            with Server(f"{name}={language}", "--api-key-file", keys.name) as guarded:
                check_key(Reader(browser, guarded.port), 1)
    print("all is as it should be")


def main():
    if sys.argv[1] == "--server":
        return serve_models(*sys.argv[2:])
    page, policy, *results = sys.argv[1:]
    names = re.findall(r"^(?:async )?function\*? (\w+)", pathlib.Path(page).read_text(), re.M)
    check(len(names) > 100 and len(set(names)) == len(names), "one name is two functions", {n for n in names if names.count(n) > 1})
    with Browser() as browser:
        browser.look(1200)
        reader = Reader(browser, mock_server.start(page, policy))
        for step in (check_chat, check_edit, check_stop, check_settings, check_probabilities):
            step(reader)
        check_looks(reader, "chat")
        check_silence(reader)
        for step in (check_errors, check_history, check_live, check_model):
            step(reader)
        check_compare(reader, results[:-1], results[-1] if results else None)
        check_silence(reader)
        check_policy(reader)
        check_key(Reader(browser, mock_server.start(page, policy, key="s3cret")), 3)
    print(f"{page}: {os.path.getsize(page)} bytes")


main()
