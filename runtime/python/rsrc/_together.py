"""Generation of many texts at once: every step evaluates the next tokens of all of them, in one batch."""
from __future__ import annotations

import contextlib
import ctypes as c
from typing import TYPE_CHECKING, Any, List, Optional, Sequence

import numpy as np

from . import _rsr as rsr
from ._generation import Answer, StopReason
from ._library import Call, call, check, lib

if TYPE_CHECKING:
    from .model import Model, Session


class _Text:
    """One text: its prompt, the tokens made so far, and their text up to a stop string."""

    def __init__(self, model: "Model", prompt: np.ndarray, max_tokens: int, stops: "Sequence[bytes]"):
        self.prompt, self.stops = prompt, stops
        self.left = max(0, model._context - len(prompt) + 1)
        self.limit = StopReason.LENGTH if max_tokens <= self.left else StopReason.CONTEXT
        self.left = min(max_tokens, self.left)
        self.tokens: "List[int]" = []
        self.text = b""
        self.reason: Optional[StopReason] = None if self.left else self.limit
        self.session: Optional["Session"] = None
        self.position = 0

    def begin(self, model: "Model", opened: contextlib.ExitStack) -> None:
        self.session = opened.enter_context(model.session())
        self.detokenizer = c.POINTER(rsr.rsr_detokenizer)()
        flags = rsr.RSR_DETOKENIZE_SKIP_SPECIAL | rsr.RSR_DETOKENIZE_CONTINUES
        call(lib.rsr_detokenizer_create, model._model, flags, self.detokenizer)
        opened.callback(lib.rsr_detokenizer_destroy, self.detokenizer)

    def next_tokens(self) -> np.ndarray:
        return np.array(self.tokens[-1:], dtype=np.uint32) if self.tokens else self.prompt

    def take(self, token: int, stop_tokens: "set[int]") -> None:
        self.tokens.append(token)
        self.left -= 1
        if token in stop_tokens:
            self.reason = StopReason.TOKEN
        else:
            self._append(lib.rsr_detokenizer_push, token)
            self.reason = self.reason or (None if self.left else self.limit)
        if self.reason not in (None, StopReason.STRING):
            self._append(lib.rsr_detokenizer_finish)

    def _append(self, function: Any, *arguments: int) -> None:
        """Adds what a detokenizer gives. The stop string that is complete first ends the text, of several the
        longest."""
        text, n = c.POINTER(c.c_char)(), c.c_size_t()
        call(function, self.detokenizer, *arguments, text, n)
        self.text += c.string_at(text, n.value) if n.value else b""
        found = [(at + len(stop), at) for stop in self.stops for at in [self.text.find(stop)] if at >= 0]
        if found:
            self.text, self.reason = self.text[:min(found)[1]], StopReason.STRING

    def answer(self) -> Answer:
        answer = Answer(self.text.decode())
        assert self.reason is not None
        answer.tokens, answer.stop_reason, answer.prompt_tokens = self.tokens, self.reason, len(self.prompt)
        return answer


class Together:
    """At most `at_once` texts are evaluated together, and as many as the engine has memory for."""

    def __init__(self, model: "Model", running: Call, sampling: Any, at_once: int):
        self.model, self.running, self.at_once = model, running, at_once
        self.sampling, self.stop_tokens = sampling, set(model.info.stop_tokens)

    def write(self, texts: "Sequence[_Text]") -> None:
        waiting = [text for text in texts if text.reason is None][::-1]
        active: "List[_Text]" = []
        with contextlib.ExitStack() as every:
            ends = {}
            while waiting or active:
                while waiting and len(active) < self.at_once and (not active or self._fits([*active, waiting[-1]])):
                    text = waiting.pop()
                    ends[text] = every.enter_context(contextlib.ExitStack())
                    text.begin(self.model, ends[text])
                    active.append(text)
                self._step(active)
                for text in active:
                    if text.reason is not None:
                        ends[text].close()
                active = [text for text in active if text.reason is None]

    def _fits(self, texts: "Sequence[_Text]") -> bool:
        """Whether all of them can grow to their ends: what they hold is theirs already."""
        info = rsr.RSR_ENGINE_INFO_INIT()
        check(lib.rsr_engine_get_info(self.model._engine, info), None)
        page = info.kv_page_tokens
        held = sum(-(-text.position // page) for text in texts)
        return sum(-(-(len(text.prompt) + len(text.tokens) + text.left - 1) // page)
                   for text in texts) - held <= info.kv_tokens_free // page

    def _step(self, active: "Sequence[_Text]") -> None:
        from .model import _ENTRIES, _PICKS
        parts = [text.next_tokens() for text in active]
        ends = np.cumsum([len(part) for part in parts])
        entries, picks = np.zeros(ends[-1], dtype=_ENTRIES), np.zeros(len(active), dtype=_PICKS)
        picked = np.zeros(len(active), dtype=np.uint32)
        for text, part, end in zip(active, parts, ends):
            own = entries[end - len(part):end]
            assert text.session is not None
            own["sequence"], own["token"] = text.session.address, part
            own["position"] = text.position + np.arange(len(part))
            text.position += len(part)
        picks["entry"], picks["sampling"] = ends - 1, c.addressof(self.sampling)
        batch = rsr.RSR_BATCH_INIT()
        batch.picks, batch.n_picks = picks.ctypes.data_as(c.POINTER(rsr.rsr_pick)), len(picks)
        batch.picked = picked.ctypes.data_as(c.POINTER(c.c_uint32))
        self.model._evaluate(self.running, batch, entries)
        for text, token in zip(active, picked):
            text.take(int(token), self.stop_tokens)


def generate_together(model: "Model", prompts: "Sequence[np.ndarray]", max_tokens: int, stops: "Sequence[bytes]",
                      sampling: Any, at_once: int) -> "List[Answer]":
    texts = [_Text(model, prompt, max_tokens, stops) for prompt in prompts]
    with model._use() as running:
        Together(model, running, sampling, at_once).write(texts)
    return [text.answer() for text in texts]
