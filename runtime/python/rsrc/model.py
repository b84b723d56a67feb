"""Models, and sequences of tokens that they evaluate."""
from __future__ import annotations

import atexit
import contextlib
import ctypes as c
import json
import os
import threading
import types
import weakref
from typing import Any, Iterator, List, Literal, Mapping, Optional, Sequence, Tuple, Union, overload

import numpy as np

from . import _rsr as rsr
from ._generation import Answer, Stream, Writer, sampling_of, stop_texts, token_limit
from ._library import Call, Error, Status, call, check, describe, lib, number, refuse, terminated, text_bytes
from ._together import generate_together

Text = Union[str, bytes]
Ids = Union[Sequence[int], np.ndarray]


def _records(struct: Any, **formats: str) -> np.dtype:
    """A C struct as a NumPy type, for arrays that Python need not fill element by element."""
    names = [name for name, *_ in struct._fields_]
    return np.dtype({"names": names, "formats": [formats[name] for name in names],
                     "offsets": [getattr(struct, name).offset for name in names], "itemsize": c.sizeof(struct)})


_ENTRIES = _records(rsr.rsr_batch_entry, sequence="u8", position="u4", token="u4", want_logits="u1")
_PICKS = _records(rsr.rsr_pick, entry="u8", sampling="u8")
_ASKED = _records(rsr.rsr_logprobs, entry="u8", token="u4", n_top="u4", results="u8")
_LOGPROBS = _records(rsr.rsr_logprob, logprob="f8", token="u4", rank="u4")


def _pointer(array: np.ndarray, kind: Any) -> Any:
    return array.ctypes.data_as(c.POINTER(kind))


def _ids(ids: Ids) -> np.ndarray:
    """Token ids as C has them. What is no uint32 is refused; whether the model has the token is its own question."""
    try:
        wide = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids))
    except (TypeError, ValueError):
        raise refuse("token ids are not a sequence of whole numbers") from None
    if wide.ndim != 1 or (wide.size and wide.dtype.kind not in "iu"):
        raise refuse(f"token ids are whole numbers in one dimension, and not {wide.dtype} of shape {wide.shape}")
    if wide.size and (wide.min() < 0 or wide.max() >= 1 << 32):
        raise refuse("a token id is not 0 .. 2^32 - 1")
    return np.ascontiguousarray(wide, dtype=np.uint32)


_open_models: "weakref.WeakSet[Model]" = weakref.WeakSet()


def _renew_locks() -> None:
    """A child after os.fork() has none of the threads that may hold them."""
    for model in list(_open_models):
        model._idle, model._lock = threading.Condition(), threading.RLock()


os.register_at_fork(after_in_child=_renew_locks)


@atexit.register
def _close_all() -> None:
    """Threads that still compute must not outlive what the process unmaps."""
    for model in list(_open_models):
        model.close()


class Model:
    """A model that rsrc compiled, with an engine that evaluates it.

    A model.so is code: load only what you trust. Several threads may use a model; its calls are carried out one at a
    time, long ones in parts that let others go first. Close it with `close()` or `with`; a call after that raises
    `Error`. After os.fork() the child must open the model anew.

    path        of the model.so
    threads     at most so many; 0: the CPUs that this process may use
    context     tokens of the longest sequence; 0: the model's own
    kv_type     how keys and values are stored: "f32", "bf16", "f16", "int8"; None: bf16
    kv_dir      folder for a file without a name that holds keys and values; None: they are in memory
    kv_tokens   tokens that all sequences hold together; 0: `context`
    state_type  how recurrent states are stored, for a model that has some: "f32", "bf16"; None: f32
    device      what computes: "cpu", or "cuda:N" for NVIDIA's GPU number N; None: cpu
    max_batch   tokens that are evaluated together; 0: 128
    attention   "dense" or "louver[:THRESHOLD]...", see rsr_engine_options.attention; None: dense
    target      of the module's targets; None: the best that the CPU supports
    verify      compare the whole file with its hashes first
    """

    def __init__(self, path: "str | bytes | os.PathLike[str]", threads: int = 0, context: int = 0,
                 kv_type: Optional[str] = None, *, kv_tokens: int = 0, max_batch: int = 0,
                 attention: Optional[str] = None, state_type: Optional[str] = None, device: Optional[str] = None,
                 target: Optional[str] = None, verify: bool = False,
                 kv_dir: "str | bytes | os.PathLike[str] | None" = None):
        self._pid, self._lock, self._idle = os.getpid(), threading.RLock(), threading.Condition()
        self._calls: "set[Call]" = set()
        self._sequences: "dict[int, Any]" = {}
        self._model, self._engine, self._vocabulary = None, None, None
        self._closed = True  # until there is something to close
        opened = rsr.RSR_OPEN_OPTIONS_INIT()
        opened.target, opened.flags = terminated("target", target), rsr.RSR_OPEN_VERIFY if verify else 0
        options = rsr.RSR_ENGINE_OPTIONS_INIT()
        options.n_threads, options.context = number("threads", threads), number("context", context)
        options.kv_tokens, options.max_batch = number("kv_tokens", kv_tokens), number("max_batch", max_batch)
        options.attention, options.kv_type = terminated("attention", attention), terminated("kv_type", kv_type)
        options.state_type = terminated("state_type", state_type)
        options.device = terminated("device", device)
        options.kv_dir = terminated("kv_dir", kv_dir)
        model, engine = c.POINTER(rsr.rsr_model)(), c.POINTER(rsr.rsr_engine)()
        call(lib.rsr_open, terminated("path", os.fspath(path)), opened, model)
        self._model, self._closed = model, False
        try:
            call(lib.rsr_engine_create, model, options, engine)
        except BaseException:
            self.close()
            raise
        self._engine = engine
        info = rsr.RSR_MODEL_INFO_INIT()
        check(lib.rsr_model_get_info(model, info), None)
        self._name = info.name.decode(errors="replace")
        self._vocab, self._width = info.vocab, info.output_size
        self._context = options.context or info.context
        self._has_bos, self._bos = info.bos_token != 0xFFFFFFFF, info.bos_token
        _open_models.add(self)

    # ---- Life ----------------------------------------------------------------------------------------------------

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_closed"):
            self.close()

    def __repr__(self) -> str:
        return "<rsrc.Model, closed>" if self._closed else f"<rsrc.Model {self._name!r}>"

    def close(self) -> None:
        """Cancels what runs in other threads, and frees everything. Closing twice is no mistake."""
        with self._idle:
            if self._closed:
                return
            self._closed = True
            if os.getpid() == self._pid:  # a child has none of the threads
                for running in self._calls:
                    running.stop()
                while self._calls:
                    self._idle.wait()
            for sequence in self._sequences.values():
                lib.rsr_sequence_destroy(sequence)
            self._sequences.clear()
        lib.rsr_vocabulary_destroy(self._vocabulary)
        lib.rsr_engine_destroy(self._engine)
        lib.rsr_close(self._model)
        self._model = self._engine = self._vocabulary = None

    def _begin(self, running: Call) -> None:
        if os.getpid() != self._pid:
            raise Error(Status.FORK, "the model was opened in another process; open it again after os.fork()")
        with self._idle:
            if self._closed:
                raise refuse("the model is closed")
            self._calls.add(running)

    def _end(self, running: Call) -> None:
        with self._idle:
            self._calls.discard(running)
            self._idle.notify_all()

    @contextlib.contextmanager
    def _use(self) -> Iterator[Call]:
        running = Call()
        self._begin(running)
        try:
            yield running
        finally:
            self._end(running)

    def _run(self, running: Call, function: Any, *arguments: Any) -> None:
        """A long call, which Ctrl-C ends."""
        err = rsr.RSR_ERROR_INIT()
        check(running.run(lambda: function(*arguments, err)), err)

    # ---- What it is ----------------------------------------------------------------------------------------------

    @property
    def info(self) -> types.SimpleNamespace:
        """The members of rsr_model_info: name, architecture, target, targets, hidden, n_layers, vocab, context, ..."""
        info = rsr.RSR_MODEL_INFO_INIT()
        with self._use():
            check(lib.rsr_model_get_info(self._model, info), None)
            found = describe(info)
        if found["sampling"] is not None:
            found["sampling"] = types.SimpleNamespace(**found["sampling"])
        return types.SimpleNamespace(**found)

    @property
    def layers(self) -> "List[types.SimpleNamespace]":
        """The kernels, with the members of rsr_kernel_info: name, variant, reason, role, block, rows, cols, ..."""
        found: "List[types.SimpleNamespace]" = []
        with self._use():
            while True:
                info = rsr.RSR_KERNEL_INFO_INIT()
                if lib.rsr_model_get_kernel(self._model, len(found), info) != rsr.RSR_OK:
                    return found
                found.append(types.SimpleNamespace(**describe(info)))

    # ---- Text ----------------------------------------------------------------------------------------------------

    def tokenize(self, text: Text, special: bool = True, parse_special: bool = False,
                 continues: bool = False) -> "List[int]":
        """The tokens of a text. special: with what the tokenizer puts around it (BOS); parse_special: "<|eot_id|>" in
        the text is the special token, not letters; continues: no space is put in front, as the text goes on."""
        asked = {rsr.RSR_TOKENIZE_ADD_SPECIAL: special, rsr.RSR_TOKENIZE_PARSE_SPECIAL: parse_special,
                 rsr.RSR_TOKENIZE_CONTINUES: continues}
        flags, encoded = sum(flag for flag, wanted in asked.items() if wanted), text_bytes(text)
        return self._counted(c.c_uint32, len(encoded) + 16, lambda tokens, n, err: lib.rsr_tokenize(
            self._model, encoded, len(encoded), flags, tokens, len(tokens), n, err))[:]

    def detokenize(self, ids: Ids, skip_special: bool = True) -> str:
        """The text of tokens. Bytes that are no UTF-8 become U+FFFD."""
        tokens = _ids(ids)
        return self._counted(c.c_char, 8 * len(tokens) + 64, lambda text, n, err: lib.rsr_detokenize(
            self._model, _pointer(tokens, c.c_uint32), len(tokens), skip_special, text, len(text), n,
            err)).raw.decode()

    def chat_tokens(self, messages: Sequence[Mapping[str, Any]], tools: Optional[Sequence[Mapping[str, Any]]] = None,
                    **variables: Any) -> "List[int]":
        """A conversation as the model's chat template writes it, ready for the answer. No text of a message becomes a
        special token. `variables` are those of the template (enable_thinking=False)."""
        conversation = {"messages": list(messages), **variables, **({} if tools is None else {"tools": list(tools)})}
        try:
            encoded = text_bytes(json.dumps(conversation, ensure_ascii=False, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise refuse(f"the conversation is no JSON: {error}") from None
        return self._counted(c.c_uint32, len(encoded) + 256, lambda tokens, n, err: lib.rsr_chat_tokens(
            self._model, encoded, len(encoded), True, tokens, len(tokens), n, err))[:]

    def _counted(self, kind: Any, capacity: int, function: Any) -> Any:
        """An array that a call fills, as long as the call says."""
        while True:
            made, n, err = (kind * capacity)(), c.c_size_t(), rsr.RSR_ERROR_INIT()
            with self._use():
                status = function(made, n, err)
            if status != rsr.RSR_ERR_FULL or n.value <= capacity:
                check(status, err)
                return (kind * n.value).from_buffer(made)
            capacity = n.value

    # ---- Evaluation ----------------------------------------------------------------------------------------------

    def session(self, path: "str | os.PathLike[str] | None" = None) -> "Session":
        """An empty sequence of tokens, or the one that `Session.save` wrote to `path`."""
        sequence = c.POINTER(rsr.rsr_sequence)()
        with self._use() as running:
            if path is None:
                call(lib.rsr_sequence_create, self._engine, sequence)
            else:
                self._run(running, lib.rsr_sequence_load, self._engine, terminated("path", path), sequence)
            return Session(self, sequence)

    @overload
    def eval(self, ids: Ids, logits: Literal[True] = ...) -> np.ndarray: ...

    @overload
    def eval(self, ids: Ids, logits: bool) -> Optional[np.ndarray]: ...

    def eval(self, ids: Ids, logits: bool = True) -> Optional[np.ndarray]:
        """The logits after each of n tokens, in an empty sequence: float32 of shape [n, vocab], in memory that the
        engine wrote (of an embedding model: hidden states, [n, hidden]). logits=False: None."""
        with self.session() as session:
            return session.eval(ids, logits)

    @overload
    def generate(self, text: "Text | Ids", max_tokens: int = ..., temperature: float = ..., seed: int = ...,
                 stop: "Text | Sequence[Text]" = ..., stream: Literal[False] = ..., **options: Any) -> Answer: ...

    @overload
    def generate(self, text: "Text | Ids", max_tokens: int = ..., temperature: float = ..., seed: int = ...,
                 stop: "Text | Sequence[Text]" = ..., *, stream: Literal[True], **options: Any) -> Stream: ...

    @overload
    def generate(self, text: "Text | Ids", max_tokens: int = ..., temperature: float = ..., seed: int = ...,
                 stop: "Text | Sequence[Text]" = ..., stream: bool = ..., **options: Any) -> "Answer | Stream": ...

    def generate(self, text: "Text | Ids", max_tokens: int = 128, temperature: float = 0.0, seed: int = 0,
                 stop: "Text | Sequence[Text]" = (), stream: bool = False, **options: Any) -> "Answer | Stream":
        """Continues a text (or token ids) and returns the continuation: a str with the members `tokens`,
        `stop_reason` and `prompt_tokens`. stream=True: an iterator of its pieces.

        temperature 0 takes the likeliest token. Options are members of rsr_sampling (top_k, top_p, min_p,
        repeat_penalty, repeat_window, presence_penalty, frequency_penalty), logit_bias={id: float}, and
          stop_tokens=IDS, ignore_stop=True   see rsr_generate_options
          speculate=N                         drafts up to N tokens a step where that is faster
          schema=DICT or grammar=STR          constrains the text, see rsr_constraint.h
          parse_special=True                  special tokens may be written in the prompt
        """
        session = self.session()
        try:
            found = session.generate(text, max_tokens, temperature, seed, stop, stream, **options)
        except BaseException:
            session.close()
            raise
        if isinstance(found, Stream):
            found.also_close = session
        else:
            session.close()
        return found

    def generate_all(self, texts: "Sequence[Text | Ids]", max_tokens: int = 128, temperature: float = 0.0,
                     seed: int = 0, stop: "Text | Sequence[Text]" = (), *, at_once: int = 64,
                     logit_bias: Optional[Mapping[int, float]] = None, **options: Any) -> "List[Answer]":
        """What `generate` gives for each of many texts, at most `at_once` of them together: a step reads the weights
        once for all. Options are members of rsr_sampling."""
        if isinstance(texts, (str, bytes)):
            raise refuse("generate_all() takes a list of texts")
        stops = stop_texts(stop)
        if b"" in stops:
            raise refuse("a stop text is empty")
        prompts = [_ids(self.tokenize(text) if isinstance(text, (str, bytes)) else text) for text in texts]
        for prompt in prompts:
            if not 0 < len(prompt) <= self._context:
                raise refuse(f"a text has {len(prompt)} tokens, and the context takes 1 to {self._context}")
        sampling = sampling_of(dict(options, temperature=temperature, seed=seed), logit_bias)
        return generate_together(self, prompts, token_limit(max_tokens), stops, sampling,
                                 max(1, number("at_once", at_once)))

    @overload
    def chat(self, messages: Sequence[Mapping[str, Any]], tools: Optional[Sequence[Mapping[str, Any]]] = ...,
             response_format: Optional[Mapping[str, Any]] = ..., max_tokens: int = ..., *, stream: Literal[False] = ...,
             template: Optional[Mapping[str, Any]] = ..., **options: Any) -> Answer: ...

    @overload
    def chat(self, messages: Sequence[Mapping[str, Any]], tools: Optional[Sequence[Mapping[str, Any]]] = ...,
             response_format: Optional[Mapping[str, Any]] = ..., max_tokens: int = ..., *, stream: Literal[True],
             template: Optional[Mapping[str, Any]] = ..., **options: Any) -> Stream: ...

    @overload
    def chat(self, messages: Sequence[Mapping[str, Any]], tools: Optional[Sequence[Mapping[str, Any]]] = ...,
             response_format: Optional[Mapping[str, Any]] = ..., max_tokens: int = ..., *, stream: bool = ...,
             template: Optional[Mapping[str, Any]] = ..., **options: Any) -> "Answer | Stream": ...

    def chat(self, messages: Sequence[Mapping[str, Any]], tools: Optional[Sequence[Mapping[str, Any]]] = None,
             response_format: Optional[Mapping[str, Any]] = None, max_tokens: int = 128, *, stream: bool = False,
             template: Optional[Mapping[str, Any]] = None, **options: Any) -> "Answer | Stream":
        """Answers a conversation of {"role": ..., "content": ...}, as `generate` does; the template tells the model of
        `tools`, and a call of one is in the answer's text as the model writes it. response_format: a JSON schema that
        the answer follows. template: variables of the chat template."""
        tokens = self.chat_tokens(messages, tools, **(template or {}))
        return self.generate(tokens, max_tokens, stream=stream, schema=response_format, **options)

    def embed(self, texts: "Sequence[Text | Ids]", pooling: Optional[str] = None) -> np.ndarray:
        """The embeddings of texts: float32 of shape [texts, hidden]. pooling "last", "first" or "mean": as the
        checkpoint says; a language model's says nothing."""
        if isinstance(texts, (str, bytes)):
            raise refuse("embed() takes a list of texts")
        rows = [_ids(self.tokenize(text) if isinstance(text, (str, bytes)) else text) for text in texts]
        options = rsr.RSR_EMBED_OPTIONS_INIT()
        options.pooling = terminated("pooling", pooling)
        found = np.empty((len(rows), self.info.hidden), dtype=np.float32)
        tokens = (c.POINTER(c.c_uint32) * len(rows))(*(_pointer(row, c.c_uint32) for row in rows))
        lengths = (c.c_size_t * len(rows))(*map(len, rows))
        with self._use() as running:
            options.cancel = c.pointer(running.cancel)
            self._run(running, lib.rsr_embed, self._engine, tokens, lengths, len(rows), options,
                      _pointer(found, c.c_float), found.size)
        return found

    # ---- Log-probabilities ---------------------------------------------------------------------------------------

    def loglikelihood(self, context: "Text | Ids", continuation: "Text | Ids") -> "Tuple[float, bool]":
        """The natural logarithm of the probability of a continuation, and whether each of its tokens is the likeliest.
        Texts are tokenized together; an empty context is the token that begins texts."""
        return self.loglikelihoods([self.split(context, continuation)])[0]

    def split(self, context: "Text | Ids", continuation: "Text | Ids") -> "Tuple[List[int], List[int]]":
        """The tokens of context and continuation as `loglikelihoods` takes them."""
        if not isinstance(continuation, (str, bytes)):
            before = self.tokenize(context) if isinstance(context, (str, bytes)) else list(context)
            return before or self._beginning(), list(continuation)
        if not isinstance(context, (str, bytes)):
            raise refuse("context and continuation are both texts, or the continuation is token ids")
        first, rest = text_bytes(context), text_bytes(continuation)
        if not first:
            return self._beginning(), self.tokenize(rest, special=False)
        n = len(self.tokenize(first.rstrip()))  # blanks are the beginning of the next word's token
        whole = self.tokenize(first + rest)
        return whole[:n], whole[n:]

    def _beginning(self) -> "List[int]":
        if not self._has_bos:
            raise refuse("the model has no token that begins a text: give a context")
        return [self._bos]

    def loglikelihoods(self, pairs: "Sequence[Tuple[Ids, Ids]]") -> "List[Tuple[float, bool]]":
        """`loglikelihood` of pairs of token ids, as many together as the engine has memory for."""
        found: "List[Tuple[float, bool]]" = []
        parts = [(_ids(context), _ids(continuation)) for context, continuation in pairs]
        if any(len(context) == 0 for context, _ in parts):
            raise refuse("a context has no tokens")
        info = rsr.RSR_ENGINE_INFO_INIT()
        with self._use():
            check(lib.rsr_engine_get_info(self._engine, info), None)
        page, begin = info.kv_page_tokens, 0
        while begin < len(parts):
            end, pages = begin, info.kv_tokens_free // page
            while end < len(parts) and (end == begin or pages >= 0):
                pages -= -(-(sum(map(len, parts[end])) - 1) // page)
                end += pages >= 0 or end == begin
            found += self._score(parts[begin:end])
            begin = end
        return found

    def _score(self, parts: "Sequence[Tuple[np.ndarray, np.ndarray]]") -> "List[Tuple[float, bool]]":
        """Every part in a sequence of its own, in one batch."""
        lengths = [len(context) + len(continuation) - 1 for context, continuation in parts]
        firsts = np.cumsum([0, *lengths])
        entries = np.zeros(firsts[-1], dtype=_ENTRIES)
        asked = np.zeros(sum(len(continuation) for _, continuation in parts), dtype=_ASKED)
        results = np.zeros(len(asked), dtype=_LOGPROBS)
        asked["results"] = results.ctypes.data + np.arange(len(asked)) * results.itemsize
        batch, n = rsr.RSR_BATCH_INIT(), 0
        with contextlib.ExitStack() as open_sessions:
            for (context, continuation), first, length in zip(parts, firsts, lengths):
                session = open_sessions.enter_context(self.session())
                own = entries[first:first + length]
                own["sequence"], own["position"] = session.address, np.arange(length)
                own["token"] = np.concatenate([context, continuation])[:-1]
                asked["entry"][n:n + len(continuation)] = first + len(context) - 1 + np.arange(len(continuation))
                asked["token"][n:n + len(continuation)] = continuation
                n += len(continuation)
            batch.logprobs, batch.n_logprobs = _pointer(asked, rsr.rsr_logprobs), len(asked)
            with self._use() as running:
                self._evaluate(running, batch, entries)
        ends = np.cumsum([0, *(len(continuation) for _, continuation in parts)])
        return [(float(results["logprob"][i:j].sum()), bool((results["rank"][i:j] == 0).all()))
                for i, j in zip(ends, ends[1:])]

    def _evaluate(self, running: Call, batch: Any, entries: np.ndarray) -> None:
        if not len(entries):
            return
        batch.entries, batch.n_entries = _pointer(entries, rsr.rsr_batch_entry), len(entries)
        batch.cancel = c.pointer(running.cancel)
        if len(entries) == 1:  # no longer than Ctrl-C may take
            call(lib.rsr_eval, self._engine, batch)
        else:
            self._run(running, lib.rsr_eval, self._engine, batch)


class Session:
    """A sequence of tokens that a model has evaluated, with its keys and values. A session does one thing at a time: a
    call while another one runs (also a stream that has not ended) is refused."""

    def __init__(self, model: Model, sequence: Any, pending: Optional[int] = None):
        self.model, self._sequence, self._busy = model, sequence, threading.Lock()
        self.address: int = c.cast(sequence, c.c_void_p).value or 0
        self._pending = pending  # a token that was generated and is not evaluated yet
        model._sequences[self.address] = sequence

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_pending"):
            self._free()

    def __repr__(self) -> str:
        return "<rsrc.Session, closed>" if self._sequence is None else f"<rsrc.Session of {self.model!r}>"

    def __len__(self) -> int:
        return len(self.tokens)

    def close(self) -> None:
        """Frees its memory. Closing twice is no mistake."""
        if not self._busy.acquire(blocking=False):
            raise refuse("the session is in use: end its call or its stream first")
        self._free()
        self._busy.release()

    def _free(self) -> None:
        with self.model._idle:
            if self._sequence is not None and self.model._sequences.pop(self.address, None) is not None:
                lib.rsr_sequence_destroy(self._sequence)
            self._sequence = None

    @contextlib.contextmanager
    def _use(self) -> Iterator[Call]:
        running = self.take()
        try:
            yield running
        finally:
            self.give(running)

    def take(self) -> Call:
        """Begins a use of the session, and of the model; `give` ends it."""
        if not self._busy.acquire(blocking=False):
            raise refuse("the session is in use: end its call or its stream first")
        running = Call()
        try:
            self.model._begin(running)
        except BaseException:
            self._busy.release()
            raise
        if self._sequence is None:
            self.give(running)
            raise refuse("the session is closed")
        return running

    def give(self, running: Call) -> None:
        """Ends what `take` began."""
        self.model._end(running)
        self._busy.release()

    # ---- Tokens --------------------------------------------------------------------------------------------------

    @property
    def tokens(self) -> "List[int]":
        """Its tokens, with the one that was generated last."""
        with self._use():
            evaluated = lib.rsr_sequence_tokens(self._sequence)[:lib.rsr_sequence_length(self._sequence)]
        return evaluated + ([] if self._pending is None else [self._pending])

    def fork(self) -> "Session":
        """A new session with the same content; what both have is kept once."""
        sequence = c.POINTER(rsr.rsr_sequence)()
        with self._use():
            call(lib.rsr_sequence_fork, self._sequence, sequence)
            return Session(self.model, sequence, self._pending)

    def truncate(self, n: int) -> None:
        """Forgets every token from position n on."""
        with self._use():
            length = lib.rsr_sequence_length(self._sequence)
            if number("n", n) > length + (self._pending is not None):
                raise refuse(f"the session has {length + (self._pending is not None)} tokens, fewer than {n}")
            if n <= length:
                call(lib.rsr_sequence_truncate, self._sequence, n)
                self._pending = None

    def save(self, path: "str | os.PathLike[str]") -> None:
        """Writes tokens, keys and values to a file for `Model.session(path)`, in this process or another one."""
        with self._use() as running:
            self._append(running, rsr.RSR_BATCH_INIT(), self._with_pending([]))
            self.model._run(running, lib.rsr_sequence_save, self._sequence, terminated("path", path))

    @overload
    def eval(self, ids: Ids, logits: Literal[True] = ...) -> np.ndarray: ...

    @overload
    def eval(self, ids: Ids, logits: bool) -> Optional[np.ndarray]: ...

    def eval(self, ids: Ids, logits: bool = True) -> Optional[np.ndarray]:
        """Appends n tokens and returns the logits after each of them: float32 of shape [n, vocab], in memory that the
        engine wrote (of an embedding model: hidden states, [n, hidden]). logits=False: None."""
        tokens = _ids(ids)
        batch = rsr.RSR_BATCH_INIT()
        found = np.empty((len(tokens) if logits else 0, self.model._width), dtype=np.float32)
        batch.logits, batch.logits_capacity = _pointer(found, c.c_float), found.size
        with self._use() as running:
            self._append(running, batch, self._with_pending(tokens), len(found))
        return found if logits else None

    def _with_pending(self, tokens: Ids) -> np.ndarray:
        first = [] if self._pending is None else [self._pending]
        return np.concatenate([np.array(first, dtype=np.uint32), _ids(tokens)])

    def _append(self, running: Call, batch: Any, tokens: np.ndarray, n_logits: int = 0) -> None:
        entries = np.zeros(len(tokens), dtype=_ENTRIES)
        entries["sequence"], entries["token"] = self.address, tokens
        entries["position"] = lib.rsr_sequence_length(self._sequence) + np.arange(len(tokens))
        entries["want_logits"][len(tokens) - n_logits:] = 1
        self.model._evaluate(running, batch, entries)
        self._pending = None

    # ---- Generation ----------------------------------------------------------------------------------------------

    @overload
    def generate(self, text: "Text | Ids", max_tokens: int = ..., temperature: float = ..., seed: int = ...,
                 stop: "Text | Sequence[Text]" = ..., stream: Literal[False] = ..., **options: Any) -> Answer: ...

    @overload
    def generate(self, text: "Text | Ids", max_tokens: int = ..., temperature: float = ..., seed: int = ...,
                 stop: "Text | Sequence[Text]" = ..., *, stream: Literal[True], **options: Any) -> Stream: ...

    @overload
    def generate(self, text: "Text | Ids", max_tokens: int = ..., temperature: float = ..., seed: int = ...,
                 stop: "Text | Sequence[Text]" = ..., stream: bool = ..., **options: Any) -> "Answer | Stream": ...

    def generate(self, text: "Text | Ids", max_tokens: int = 128, temperature: float = 0.0, seed: int = 0,
                 stop: "Text | Sequence[Text]" = (), stream: bool = False, **options: Any) -> "Answer | Stream":
        """As `Model.generate`, after what the session holds, which then also holds text and continuation. A stream
        that is closed early leaves the session as if generation had stopped at the last piece taken. A call that fails
        changes nothing."""
        prompt = text if isinstance(text, (str, bytes)) else _ids(text)
        writer = Writer(self, prompt, max_tokens, temperature, seed, stop, options)
        return Stream(writer) if stream else writer.run()
