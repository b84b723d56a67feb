"""Usage: use_model.py MODEL.so TINY.so FOLDER [opens]. The package `rsrc` on the bundled model: its answers are those of
rsr-run, its sessions are those of rsr.h, and every misuse is refused. TINY.so is opened and closed `opens` times."""
import ast
import copy
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import rsrc
from rsrc import _generation, _rsr

PATH, TINY, FOLDER = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
OPENS = int(sys.argv[4]) if len(sys.argv) > 4 else 200
TEXT = "In the beginning"
LONG = "And God said, Let there be light: and there was light. And God saw the light, that it was good. "


def refused(status, words, function, *arguments, **options):
    try:
        function(*arguments, **options)
    except rsrc.Error as error:
        assert error.status == status and words in str(error) == error.sentence, (error.status, error.sentence, words)
        assert error.args == (error.status, error.sentence) and copy.copy(error).sentence == error.sentence
    else:
        raise AssertionError(f"not refused: {function} {arguments} {options}")


def run(*arguments):
    return json.loads(subprocess.check_output(["rsr-run", PATH, "--json", *arguments], stderr=subprocess.DEVNULL))


def generation(model):
    for n, options, words in (
            (40, {}, ["--temp", "0"]),
            (60, {"temperature": 0.75, "top_k": 40, "repeat_penalty": 1.1, "seed": 8, "top_p": 1.0},
             ["--temp", "0.75", "--top-k", "40", "--repeat-penalty", "1.1", "--seed", "8", "--top-p", "1"]),
            (90, {"stop": [" God", "zzz"]}, ["--temp", "0", "--stop", " God", "--stop", "zzz"])):
        want = run("-p", TEXT, "-n", str(n), *words)["text"]
        answer = model.generate(TEXT, n, **options)
        assert answer == want != "" and isinstance(answer, str), (answer, want)
        assert answer.prompt_tokens == len(model.tokenize(TEXT)) and len(answer.tokens) <= n
        with model.generate(TEXT, n, stream=True, **options) as stream:
            pieces = list(stream)
        assert "".join(pieces) == want == stream.answer and stream.answer.tokens == answer.tokens
        assert len(pieces) > 3 and all(pieces)
    assert model.generate(model.tokenize(TEXT), 40) == model.generate(TEXT.encode(), 40)
    assert model.generate(TEXT, 5).stop_reason == rsrc.StopReason.LENGTH
    biased = model.generate(TEXT, 5, logit_bias={7: 1e5})
    assert biased.tokens == [7] * 5, biased.tokens
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}}, "required": ["name"]}
    constrained = model.generate("His name is ", schema=schema)
    assert set(json.loads(constrained)) == {"name"}
    assert model.generate("x", grammar='root ::= "abc"') == "abc"
    said = model.chat([{"role": "user", "content": "Who made the earth?"}], response_format=schema)
    assert set(json.loads(said)) == {"name"}
    assert model.chat([{"role": "user", "content": "Who?"}], max_tokens=9).prompt_tokens == len(
        model.chat_tokens([{"role": "user", "content": "Who?"}]))
    for words, options in (("max_tokens is -1", {"max_tokens": -1}),
                           ("max_tokens is 0", {"max_tokens": 0}), ("stop is 1", {"stop": 1}),
                           ("a text is a str or bytes, and not int", {"stop": [1]}),
                           ("stop_tokens is 5, and must be a list", {"stop_tokens": 5}),
                           ("logit_bias is [1]", {"logit_bias": [1]}), ("'a'}", {"logit_bias": {1: "a"}}),
                           ("seed", {"seed": 1 << 64}),
                           ("NUL", {"stop": "a\0b"}), ("temperature", {"temperature": float("nan")}),
                           ("top_p is 'x'", {"top_p": "x"}), ("not both", {"schema": {}, "grammar": ""}),
                           ("#", {"schema": {"type": "what"}}), ("no rule", {"grammar": "x"})):
        refused(rsrc.Status.ARGUMENT, words, model.generate, TEXT, **options)
    for text in (None, 5, [1.5]):
        refused(rsrc.Status.ARGUMENT, "token ids are ", model.generate, text)
    try:
        model.generate(TEXT, heat=3)
        raise AssertionError("an unknown option")
    except TypeError as error:
        assert "'heat'" in str(error)


def generation_of_many(model):
    """Each text is the one that generate() gives: for any number together, also where memory is short."""
    starts = [LONG[:n] for n in range(3, len(LONG), 7)]
    for options in ({"max_tokens": 30}, {"max_tokens": 20, "temperature": 0.8, "seed": 3, "repeat_penalty": 1.1},
                    {"max_tokens": 40, "stop": [" God", "the", "zzz"]}, {"max_tokens": 600},
                    {"max_tokens": 5, "logit_bias": {model.info.stop_tokens[0]: 1e5}}):
        some = starts if options["max_tokens"] < 600 else starts[:2]
        want = [model.generate(text, **options) for text in some]
        for at_once in (1, 3, 64):
            found = model.generate_all(some, **options, at_once=at_once)
            for one, other in zip(want, found):
                assert one == other and vars(one) == vars(other), (one, other, vars(one), vars(other))
            assert len(found) == len(some)
    with rsrc.Model(PATH, kv_tokens=64 * 512) as roomy:
        assert roomy.generate_all(starts, 30) == model.generate_all(starts, 30)
    with rsrc.Model(PATH, kv_dir=FOLDER) as filed:
        assert filed.generate_all(starts[:2], 30) == model.generate_all(starts[:2], 30)
    assert model.generate_all([]) == []
    refused(rsrc.Status.ARGUMENT, "a list of texts", model.generate_all, TEXT)
    refused(rsrc.Status.ARGUMENT, "a text has 0 tokens", model.generate_all, [TEXT, []])
    refused(rsrc.Status.ARGUMENT, "a text has 513 tokens", model.generate_all, [[1] * 513])
    refused(rsrc.Status.ARGUMENT, "max_tokens is 0", model.generate_all, [TEXT], 0)
    refused(rsrc.Status.ARGUMENT, "a stop text is empty", model.generate_all, [TEXT], stop="")
    assert len(model.generate(TEXT, 3).tokens) == 3  # no memory is lost


def texts(model):
    tokens = model.tokenize(LONG)
    assert tokens[0] == model.info.bos_token and model.tokenize(LONG, special=False) == tokens[1:]
    assert model.detokenize(tokens) == LONG == model.detokenize(np.array(tokens))
    assert model.tokenize("<|eot_id|>", False, parse_special=True) != model.tokenize("<|eot_id|>", False)
    assert model.detokenize(model.tokenize("a\ud800b")).startswith("a\ufffd")
    refused(rsrc.Status.ARGUMENT, "0 .. 2^32 - 1", model.detokenize, [1 << 32])
    refused(rsrc.Status.ARGUMENT, "one dimension", model.eval, [[1, 2], [3, 4]])
    refused(rsrc.Status.ARGUMENT, "float64", model.eval, [1.5])
    refused(rsrc.Status.ARGUMENT, "", model.eval, [model.info.vocab])
    refused(rsrc.Status.ARGUMENT, "not NoneType", model.tokenize, None)
    refused(rsrc.Status.ARGUMENT, "no JSON", model.chat, [{"role": object()}])
    told = subprocess.check_output(["rsr-run", PATH, "--info", "--json"])
    info = vars(model.info)
    for name, value in json.loads(told).items():
        if name in info and name != "sampling":
            assert info[name] == value or name == "pages", (name, info[name], value)
    names = [kernel["name"] for kernel in json.loads(told)["kernels"]]
    assert [layer.name for layer in model.layers] == names != []
    print(repr(model))


def evaluation(model):
    tokens = model.tokenize(LONG)
    logits = model.eval(tokens)
    assert logits.shape == (len(tokens), model.info.vocab) and logits.dtype == np.float32 and logits.flags.owndata
    with model.session() as session:
        pieces = [session.eval(tokens[:5]), session.eval(tokens[5:6]), session.eval(np.array(tokens[6:]))]
        assert (np.concatenate(pieces) == logits).all() and session.tokens == tokens
        assert session.eval([], logits=True).shape == (0, model.info.vocab)
    assert model.eval(tokens, logits=False) is None
    wide = logits.astype(np.float64)
    log_p = wide - wide.max(1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(1, keepdims=True))
    want = math.fsum(log_p[i, token] for i, token in enumerate(tokens[1:]))
    found, greedy = model.loglikelihood("", LONG)
    assert abs(found - want) < 1e-4 and not greedy, (found, want)
    answer = model.generate(TEXT, 6)
    assert model.loglikelihood(TEXT, answer.tokens)[1] is True
    pairs = [model.split(LONG[:n], LONG[n:]) for n in range(0, len(LONG) - 1, 3)]
    together = model.loglikelihoods(pairs)
    assert all(context + rest == tokens for context, rest in pairs)
    assert together == [model.loglikelihoods([pair])[0] for pair in pairs]
    refused(rsrc.Status.ARGUMENT, "a context has no tokens", model.loglikelihoods, [([], [1])])
    pooled = model.embed([TEXT, LONG], pooling="mean")
    assert pooled.shape == (2, model.info.hidden) and abs((pooled ** 2).sum(1) - 1).max() < 1e-5
    refused(rsrc.Status.ARGUMENT, "a list of texts", model.embed, TEXT)
    refused(rsrc.Status.ARGUMENT, "pooling", model.embed, [TEXT])


def sessions(model):
    whole = model.generate(TEXT, 40)
    with model.session() as session:
        parts = [session.generate(TEXT, 15), session.generate([], 25)]
        assert parts[0] + parts[1] == whole, (parts, whole)
        assert session.tokens == model.tokenize(TEXT) + whole.tokens and len(session) == len(session.tokens)
        session.truncate(len(model.tokenize(TEXT)) + 15)
        with session.fork() as fork:
            assert session.generate([], 25) == fork.generate([], 25)
        session.truncate(0)
        assert session.tokens == [] and session.generate(TEXT, 15) == parts[0]
        path = FOLDER / "session.kv"
        session.save(path)
        with model.session(path) as loaded:
            assert loaded.tokens == session.tokens
            assert (loaded.eval([9]) == session.eval([9])).all()
        refused(rsrc.Status.ARGUMENT, "fewer than", session.truncate, 1000)
        refused(rsrc.Status.FILE, "none.kv", model.session, FOLDER / "none.kv")
    refused(rsrc.Status.ARGUMENT, "the session is closed", session.eval, [1])
    session.close()

    # A stream that is not read to its end leaves what was read.
    for n in (0, 1, 7):
        with model.session() as session:
            session.eval([5, 6], logits=False)
            stream = session.generate(TEXT, 60, stream=True)
            taken = [next(stream) for _ in range(n)]
            refused(rsrc.Status.ARGUMENT, "in use", session.truncate, 0)
            refused(rsrc.Status.ARGUMENT, "in use", session.close)
            stream.close()
            stream.close()
            before = 2 + (len(model.tokenize(TEXT, special=False, continues=True)) if n else 0)
            assert len(session) == before + n, (len(session), before, n)
            whole = model.session()
            whole.eval([5, 6], logits=False)
            text = whole.generate(TEXT, 20)
            assert text.startswith("".join(taken))
            if n:
                assert "".join(taken) + session.generate([], 20 - n) == text
            whole.close()
    with model.session() as session:
        session.eval(list(range(10)), logits=False)
        refused(rsrc.Status.FULL, "", session.eval, [1] * model.info.context)
        assert len(session) == 10
        assert session.generate([1] * 490, 100).stop_reason == rsrc.StopReason.CONTEXT


def closing():
    model = rsrc.Model(PATH, threads=1)
    session, said = model.session(), []

    def work():
        try:
            while True:
                model.eval([1] * 200, logits=False)
        except rsrc.Error as error:
            said.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.1)
    stream = model.generate(TEXT, 100, stream=True)
    next(stream)
    begun = time.monotonic()
    model.close()
    model.close()
    thread.join(20)
    assert time.monotonic() - begun < 5 and said[0].status in (rsrc.Status.STOPPED, rsrc.Status.ARGUMENT), said
    refused(rsrc.Status.STOPPED, "closed", lambda: [*stream])
    for call in (model.session, lambda: model.eval([1]), lambda: model.generate("a"), lambda: model.tokenize("a"),
                 lambda: model.info, lambda: model.layers, lambda: model.embed(["a"]), lambda: session.eval([1])):
        refused(rsrc.Status.ARGUMENT, "the model is closed", call)
    session.close()
    assert repr(model) == "<rsrc.Model, closed>" and repr(session) == "<rsrc.Session, closed>"
    refused(rsrc.Status.FILE, "none.so", rsrc.Model, FOLDER / "none.so")
    refused(rsrc.Status.ARGUMENT, "NUL", rsrc.Model, "a\0b")
    refused(rsrc.Status.ARGUMENT, "f8", rsrc.Model, PATH, kv_type="f8")
    refused(rsrc.Status.FILE, "none'", rsrc.Model, PATH, kv_dir=FOLDER / "none")
    refused(rsrc.Status.ARGUMENT, "threads is -1", rsrc.Model, PATH, threads=-1)


def forked(model):
    """A child may not use the model; it may open it anew, and end."""
    session = model.session()
    stream = model.generate(TEXT, 300, stream=True)
    next(stream)
    child = os.fork()
    if child == 0:
        try:
            refused(rsrc.Status.FORK, "os.fork()", model.eval, [1])
            refused(rsrc.Status.FORK, "os.fork()", session.eval, [1])
            assert repr(session) == "<rsrc.Session of <rsrc.Model 'kjv'>>"
            session.close()
            model.close()
            with rsrc.Model(PATH) as own:
                assert len(own.generate(TEXT, 3).tokens) == 3
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert len("".join(stream)) > 0


def threads(model):
    wants = [model.generate(TEXT, 30, temperature=1.0, seed=i) for i in range(8)]
    found = [None] * 8

    def work(i):
        found[i] = [model.generate(TEXT, 30, temperature=1.0, seed=i) for _ in range(3)] + [
            "".join(model.generate(TEXT, 30, temperature=1.0, seed=i, stream=True))]

    every = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in every:
        thread.start()
    ticks, begun = 0, time.monotonic()
    while any(thread.is_alive() for thread in every):  # this thread runs meanwhile
        ticks += 1
        time.sleep(0.001)
    assert found == [[want] * 4 for want in wants] and len(set(wants)) == 8
    assert ticks > (time.monotonic() - begun) * 100, ticks


def interrupted_within_a_token(model):
    """Ctrl-C while the tenth token is made. A token takes 20 ms here, as large models' do."""
    seen = []

    def slowly(writer, take):
        def counted(piece):
            take(piece)
            seen.append(piece)
            if len(seen) == 10:
                os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.02)
        return write(writer, counted)

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # lit's programs ignore it
    write = _generation.Writer.write
    _generation.Writer.write = slowly
    try:
        for call in (lambda: model.generate(TEXT, 400), lambda: list(model.generate(TEXT, 400, stream=True))):
            seen.clear()
            try:
                call()
                raise AssertionError("a signal was lost")
            except KeyboardInterrupt:
                assert 10 <= len(seen) <= 11, len(seen)
    finally:
        _generation.Writer.write = write
        signal.signal(signal.SIGINT, handler)


def names():
    """The enumerations have every value of rsr.h, and what users call has help."""
    for kind, prefix in ((rsrc.Status, "RSR_ERR_"), (rsrc.StopReason, "RSR_STOP_")):
        want = {name[len(prefix):]: value for name, value in vars(_rsr).items() if name.startswith(prefix)}
        assert want | ({"OK": 0} if kind is rsrc.Status else {}) == {one.name: one.value for one in kind}
    for name in rsrc.__all__:
        found = getattr(rsrc, name)
        assert found.__doc__, name
        for member, value in vars(found).items() if isinstance(found, type) else ():
            assert member.startswith("_") or not (callable(value) or isinstance(value, property)) or value.__doc__, member
    assert (pathlib.Path(rsrc.__file__).parent / "py.typed").exists()


def interrupted():
    """Ctrl-C ends a prompt and a generation, and the model goes on."""
    program = f"""if True:
        import rsrc, signal
        signal.signal(signal.SIGINT, signal.default_int_handler)  # lit's programs ignore it
        with rsrc.Model({PATH!r}, threads=1) as model, model.session() as session:
            for call in (lambda: session.generate("And", 400, 0.0, 0, stop=(), ignore_stop=True),
                         lambda: [*session.generate("And", 400, stream=True, ignore_stop=True)],
                         lambda: session.eval([1] * 500)):
                while True:
                    try:
                        print("now", flush=True)
                        while True:
                            call()
                            session.truncate(0)
                    except KeyboardInterrupt:
                        break
                assert len(session) < 500 and session.generate("a", 3).tokens
                session.truncate(0)
            print("done", flush=True)"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        for wait in (0.07, 0.11, 0.05):
            assert child.stdout.readline() == "now\n"
            time.sleep(wait)
            child.send_signal(signal.SIGINT)
            begun = time.monotonic()
        assert child.stdout.readline() == "done\n" and time.monotonic() - begun < 10
        assert child.wait(20) == 0


def opened_and_closed():
    def resident():
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for i in range(OPENS + 50):
        if i == 50:
            before = resident()
        model = rsrc.Model(TINY, threads=1)
        session = model.session()
        if i % 10 == 0:
            model.eval([1, 2])
        if i % 3 == 0:
            model.close()
        del model, session
    grown = resident() - before
    print(f"opened and closed {OPENS} times: {grown} bytes more")
    assert grown < 2 << 20, grown
    assert len(os.listdir("/proc/self/fd")) < 30 and "tiny.so" not in pathlib.Path("/proc/self/maps").read_text()


def compilation():
    seen = []
    model = FOLDER / "-model"
    subprocess.run(["rsr-mkmodel", "--preset", "tiny", "-o", model], check=True)
    os.chdir(FOLDER)
    rsrc.compile("-model", "-out.so", target="generic", on_progress=lambda *what: seen.append(what), head_sketch="off")
    assert seen[0][0] == 1 and seen[0][2] == "layers" and seen[-1][2] == "modules linked", seen
    rsrc.Model("./-out.so").close()
    assert rsrc.info(model)["compiles"] is True and len(rsrc.report(model, "generic")["targets"]) == 1
    refused(rsrc.Status.ARGUMENT, "none: cannot open", rsrc.compile, FOLDER / "none", "x.so")
    refused(rsrc.Status.ARGUMENT, "unknown option", rsrc.compile, model, "x.so", what=3)

    def stop(*_):
        raise ZeroDivisionError
    try:
        rsrc.compile(model, "y.so", on_progress=stop)
        raise AssertionError("an exception was lost")
    except ZeroDivisionError:
        assert not (FOLDER / "y.so").exists()


signal.alarm(600)  # a signal that is lost must not stop the tests
if len(sys.argv) > 4:
    opened_and_closed()
    sys.exit()
for source in pathlib.Path(rsrc.__file__).parent.glob("*.py"):
    ast.parse(source.read_text(), feature_version=(3, 9))
with rsrc.Model(PATH) as shared:
    for check in (generation, generation_of_many, texts, evaluation, sessions, threads, forked, interrupted_within_a_token):
        check(shared)
for check in (names, closing, interrupted, opened_and_closed, compilation):
    check()
print("all is as it should be")
