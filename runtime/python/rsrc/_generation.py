"""Generation: options for rsr_generate, answers, streams, and constraints."""
from __future__ import annotations

import ctypes as c
import enum
import json
import queue
from typing import TYPE_CHECKING, Any, Callable, List, Mapping, Optional, Tuple

from . import _rsr as rsr
from ._library import Error, Status, call, check, lib, number, refuse, terminated, text_bytes

if TYPE_CHECKING:
    from .model import Session


class StopReason(enum.IntEnum):
    """What ended a generation: rsr_stop_reason of rsr.h, without its prefix."""
    LENGTH = rsr.RSR_STOP_LENGTH
    TOKEN = rsr.RSR_STOP_TOKEN
    CONTEXT = rsr.RSR_STOP_CONTEXT
    CALLBACK = rsr.RSR_STOP_CALLBACK
    STRING = rsr.RSR_STOP_STRING
    CANCELLED = rsr.RSR_STOP_CANCELLED


_FLOATS = ("temperature", "top_p", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty")
_WHOLE = {"top_k": 32, "repeat_window": 32, "seed": 64, "sequence_id": 64}


class Answer(str):
    """A generated text. `tokens` are its ids, `stop_reason` says what ended it, `prompt_tokens` counts the prompt's."""
    tokens: "List[int]"
    stop_reason: StopReason
    prompt_tokens: int


def sampling_of(options: "Mapping[str, Any]", bias: "Optional[Mapping[int, float]]" = None) -> Any:
    """rsr_sampling with these members; what it points to lives as long as it does."""
    sampling = rsr.RSR_SAMPLING_INIT()
    for name, value in options.items():
        if name in _WHOLE:
            setattr(sampling, name, number(name, value, _WHOLE[name]))
        elif name in _FLOATS:
            try:
                setattr(sampling, name, value)
            except TypeError:
                raise refuse(f"{name} is {value!r}, and must be a number") from None
        else:
            raise TypeError(f"generate() has no option {name!r}")
    try:
        pairs = [rsr.rsr_logit_bias(number("a token of logit_bias", token), value)
                 for token, value in (bias or {}).items()]
    except (AttributeError, TypeError):
        raise refuse(f"logit_bias is {bias!r}, and must be {{token id: number}}") from None
    sampling.logit_bias = (rsr.rsr_logit_bias * len(pairs))(*pairs)
    sampling.n_logit_bias = len(pairs)
    return sampling


def several(name: str, values: Any) -> "List[Any]":
    """A sequence that an option takes; None is an empty one."""
    try:
        return list(() if values is None else values)
    except TypeError:
        raise refuse(f"{name} is {values!r}, and must be a list") from None


def stop_texts(stop: Any) -> "List[bytes]":
    """One text or several, as bytes."""
    return [terminated("a stop text", text_bytes(one)) or b""
            for one in ([stop] if isinstance(stop, (str, bytes)) else several("stop", stop))]


def token_limit(max_tokens: Any) -> int:
    """For C, 0 is the default; a caller who computed 0 does not want that."""
    if number("max_tokens", max_tokens) == 0:
        raise refuse("max_tokens is 0, and must be 1 or more")
    return number("max_tokens", max_tokens)


class _Constraint:
    """What a schema or grammar allows next, as rsr_sampling.allowed."""

    def __init__(self, model: Any, kind: int, text: bytes):
        self.handles = [c.POINTER(rsr.rsr_constraint)(), c.POINTER(rsr.rsr_constrained)()]
        self.words = (c.c_uint32 * ((model._vocab + 31) // 32))()
        with model._lock:
            if model._vocabulary is None:
                vocabulary = c.POINTER(rsr.rsr_vocabulary)()
                call(lib.rsr_vocabulary_create, model._model, vocabulary)
                model._vocabulary = vocabulary
        call(lib.rsr_constraint_create, model._vocabulary, kind, text, len(text), self.handles[0])
        try:
            call(lib.rsr_constrained_create, *self.handles)
            self.allow()
        except BaseException:
            self.close()
            raise

    def allow(self) -> None:
        call(lib.rsr_constrained_allow, self.handles[1], self.words, len(self.words))

    def advance(self, token: int) -> bool:
        """False: the text is complete, and the model has no token that says so."""
        call(lib.rsr_constrained_advance, self.handles[1], token)
        try:
            self.allow()
        except Error as error:
            if error.status == Status.TEXT and lib.rsr_constrained_is_complete(self.handles[1]):
                return False
            raise
        return True

    def close(self) -> None:
        constraint, text = self.handles
        self.handles = [None, None]
        lib.rsr_constrained_destroy(text)
        lib.rsr_constraint_destroy(constraint)


class Writer:
    """One call of rsr_generate for a session."""

    def __init__(self, session: "Session", text: Any, max_tokens: int, temperature: float, seed: int, stop: Any,
                 options: "dict[str, Any]"):
        self.session = session
        self.constraint: Optional[_Constraint] = None
        self.options = rsr.RSR_GENERATE_OPTIONS_INIT()
        self.result, self.err = rsr.RSR_GENERATE_RESULT_INIT(), rsr.RSR_ERROR_INIT()
        self.failed: Optional[BaseException] = None
        self.options.max_tokens = token_limit(max_tokens)
        rest = dict(options, temperature=temperature, seed=seed)
        schema, grammar, bias = (rest.pop(name, None) for name in ("schema", "grammar", "logit_bias"))
        self._set_stops(stop, rest.pop("stop_tokens", ()), rest.pop("ignore_stop", False))
        self.options.speculate = number("speculate", rest.pop("speculate", 0))
        if rest.pop("parse_special", False):
            self.options.tokenize_flags |= rsr.RSR_TOKENIZE_PARSE_SPECIAL
        self.sampling = sampling_of(rest, bias)
        self.options.sampling = c.pointer(self.sampling)
        self.running = session.take()
        try:
            self.options.cancel = c.pointer(self.running.cancel)
            self._set_prompt(text)
            self._constrain(schema, grammar)
            self.begin = lib.rsr_sequence_length(session._sequence)
        except BaseException:
            self.release()
            session._busy.release()
            raise

    def _set_stops(self, stop: Any, stop_tokens: Any, ignore_stop: bool) -> None:
        strings = stop_texts(stop)
        self.options.stop_strings = (c.c_char_p * len(strings))(*strings)
        self.options.n_stop_strings = len(strings)
        tokens = [number("a stop token", token) for token in several("stop_tokens", stop_tokens)]
        self.options.stop_tokens = (c.c_uint32 * len(tokens))(*tokens)
        self.options.n_stop_tokens, self.options.ignore_stop = len(tokens), bool(ignore_stop)

    def _set_prompt(self, text: Any) -> None:
        session = self.session
        length = lib.rsr_sequence_length(session._sequence)
        if isinstance(text, (str, bytes)):
            empty = length == 0 and session._pending is None
            text = session.model.tokenize(text, special=empty, continues=not empty, parse_special=bool(
                self.options.tokenize_flags & rsr.RSR_TOKENIZE_PARSE_SPECIAL))
        if len(text) == 0 and length and session._pending is None:  # generation begins with logits, of the last token
            session._pending = lib.rsr_sequence_tokens(session._sequence)[length - 1]
            call(lib.rsr_sequence_truncate, session._sequence, length - 1)
        self.prompt = session._with_pending(text)
        self.options.prompt_tokens = self.prompt.ctypes.data_as(c.POINTER(c.c_uint32))
        self.options.n_prompt_tokens = len(self.prompt)

    def _constrain(self, schema: Any, grammar: Any) -> None:
        if schema is None and grammar is None:
            return
        if schema is not None and grammar is not None:
            raise refuse("a text follows a schema or a grammar, not both")
        kind = rsr.RSR_CONSTRAINT_GRAMMAR if schema is None else rsr.RSR_CONSTRAINT_JSON_SCHEMA
        text = text_bytes(grammar if schema is None else schema if isinstance(schema, str) else json.dumps(schema))
        found = self.constraint = _Constraint(self.session.model, kind, text)
        self.sampling.allowed, self.sampling.allowed_words = found.words, len(found.words)
        self.stops = {*self.session.model.info.stop_tokens, *self.options.stop_tokens[:self.options.n_stop_tokens]}

    def write(self, take: "Callable[[Tuple[int, bytes]], Any]") -> int:
        """Generates; `take` gets each token with its text. Frees what only generation needs."""
        constraint, session = self.constraint, self.session

        def generated(_: Any, found: Any) -> bool:
            try:
                piece, n = found.contents, found.contents.text_bytes
                token = piece.token
                take((token, piece.text[:n] if n else b""))
                return constraint is None or token in self.stops or constraint.advance(token)
            except BaseException as error:
                self.failed = error
                return False

        try:
            return lib.rsr_generate(session.model._engine, session._sequence, None, 0, self.options,
                                    rsr.rsr_generate_fn(generated), None, self.result, self.err)
        finally:
            self.release()

    def release(self) -> None:
        """Frees what only generation needs; the model may be closed afterwards."""
        if self.constraint:
            self.constraint.close()
        self.session.model._end(self.running)

    def finish(self, status: int, pieces: "List[Tuple[int, bytes]]", whole: bool) -> None:
        """Leaves the session as it is after the pieces that were taken: as if nothing had happened, if there are none
        or the call has failed."""
        session = self.session
        self.release()  # for work that never began
        cancelled = whole and not status and self.result.stop_reason == rsr.RSR_STOP_CANCELLED
        failed = self.failed or status or cancelled
        kept = 0 if failed else len(pieces)
        length = self.begin + len(self.prompt) + kept - 1 if kept else self.begin
        try:
            with session.model._use():
                if length < lib.rsr_sequence_length(session._sequence) and (kept or failed or not whole):
                    call(lib.rsr_sequence_truncate, session._sequence, length)
                if kept:
                    session._pending = pieces[-1][0]
        except Error:
            pass  # the model is closed, and the session with it
        finally:
            session._busy.release()
        if self.failed:
            raise self.failed
        check(status, self.err)
        if cancelled:
            raise Error(Status.STOPPED, "the model was closed while it generated")

    def run(self) -> Answer:
        pieces: "List[Tuple[int, bytes]]" = []
        try:
            status = self.running.run(lambda: self.write(pieces.append))
        except BaseException:
            self.finish(rsr.RSR_OK, [], False)
            raise
        self.finish(status, pieces, True)
        return self.answer(pieces)

    def answer(self, pieces: "List[Tuple[int, bytes]]") -> Answer:
        answer = Answer(b"".join(text for _, text in pieces).decode())
        answer.tokens = [token for token, _ in pieces]
        answer.stop_reason = StopReason(self.result.stop_reason)
        answer.prompt_tokens = len(self.prompt)
        return answer


class Stream:
    """The pieces of a text as they are generated. The model works ahead of the reader, in a thread. `close()`, or the
    end of the last reference, stops it; at the end `answer` is the whole text."""

    answer: Optional[Answer] = None

    def __init__(self, writer: Writer):
        self.also_close: Any = None  # the session, if nobody else has it
        self._writer = writer
        self._queue: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        self._pieces: "List[Tuple[int, bytes]]" = []
        self._taken, self._ended = 0, False
        put = self._queue.put  # the thread has no reference to the stream: losing the last one ends the thread

        def work() -> None:
            status = rsr.RSR_ERR_STOPPED
            try:
                status = writer.write(put)
            finally:
                put(status)

        try:
            writer.running.start(work)
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> str:
        while not self._ended:
            try:
                found = self._queue.get()
            except BaseException:
                self.close()
                raise
            if isinstance(found, int):
                self._end(found, True)
                break
            self._pieces.append(found)
            if found[1]:
                self._taken = len(self._pieces)
                return found[1].decode()
        raise StopIteration

    def _end(self, status: int, whole: bool) -> None:
        self._ended = True
        try:
            self._writer.finish(status, self._pieces if whole else self._pieces[:self._taken], whole)
            if whole:
                self.answer = self._writer.answer(self._pieces)
        finally:
            if self.also_close is not None:
                self.also_close.close()

    def close(self) -> None:
        """Stops the generation after the last piece that was taken."""
        if not self._ended:
            self._ended = True
            try:
                self._writer.running.abandon()
            finally:
                self._end(rsr.RSR_OK, False)

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_taken"):
            self.close()
