"""The model `rsr` for lm-eval 0.4: evaluates a compiled model in this process, many requests at once.

    python -m rsrc.lm_eval run --model rsr --model_args path=model.so --tasks hellaswag     # lm-eval's command line
    import rsrc.lm_eval; lm_eval.simple_evaluate(model="rsr", model_args={"path": "model.so"}, tasks=[...])

lm-eval 0.4 finds models that were registered before it looks for one, which importing this module does. Numbers are
those of lm-eval's local-completions before rsr-serve, and the log-probabilities those of `rsr-run --perplexity`.
"""
from __future__ import annotations

import contextlib
from typing import Any, Iterator, List, Optional, Sequence, Tuple

try:
    from lm_eval.api.model import TemplateLM
    from lm_eval.api.registry import register_model
    from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
except ImportError as error:
    raise ImportError(f"rsrc.lm_eval needs lm-eval: pip install 'rsrc[lm-eval]' ({error})") from error
from tqdm import tqdm

from .._library import Error, Status, refuse
from ..model import Model

_SAMPLING = ("top_k", "top_p", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty")


@register_model("rsr")
class RsrLM(TemplateLM):
    """Arguments, as --model_args gives them:

    path           of the model.so; `pretrained` is another name of it
    batch_size     texts that are evaluated together; "auto": 64
    max_length     tokens of a window or of prompt and answer together; 0: the model's context
    max_gen_toks   tokens of an answer for which a task states no number
    add_bos_token  begin every text with the tokenizer's special tokens
    seed           of sampling, for tasks that sample
    threads, kv_type, attention, target   those of rsrc.Model

    lm-eval's command line gives every model a device, cuda:0 unless told: compiled models run on the CPU.
    """

    def __init__(self, path: str = "", *, pretrained: str = "", batch_size: "int | str" = "auto",
                 max_batch_size: Optional[int] = None, device: Optional[str] = None, max_length: int = 0,
                 max_gen_toks: int = 256, add_bos_token: bool = False, seed: int = 1234, threads: int = 0,
                 **options: Any):
        super().__init__()
        if bool(path) == bool(pretrained):
            raise refuse("the model rsr takes path=MODEL.so")
        automatic = str(batch_size).startswith("auto")
        self.batch_size = (max_batch_size or 64) if automatic else int(batch_size)
        if self.batch_size < 1:
            raise refuse(f"batch_size is {batch_size}, and must be 1 or more")
        self.model = _open(path or pretrained, self.batch_size, int(max_length), threads, options)
        info = self.model.info
        self.max_length = int(max_length) or info.context
        self.max_gen_toks, self.add_bos_token, self.seed = int(max_gen_toks), bool(add_bos_token), int(seed)
        self._name, self._stops = info.name, list(info.stop_tokens)
        has_eos = info.eos_token != 0xFFFFFFFF
        self._eos = info.eos_token if has_eos else None
        self._prefix = info.bos_token if info.bos_token != 0xFFFFFFFF else self._eos

    # ---- Tokens --------------------------------------------------------------------------------------------------

    @property
    def eot_token_id(self) -> Optional[int]:
        return self._eos

    @property
    def prefix_token_id(self) -> int:
        if self._prefix is None:
            raise refuse("the model has no token that begins or ends a text")
        return self._prefix

    @property
    def tokenizer_name(self) -> str:
        return self._name

    def tok_encode(self, string: str, add_special_tokens: Optional[bool] = None, **_: Any) -> "List[int]":
        special = self.add_bos_token if add_special_tokens is None else add_special_tokens
        tokens = self.model.tokenize(string, special=False, parse_special=True)
        begun = tokens[:1] == [self._prefix]  # as many chat templates do
        return self.model.tokenize(string, parse_special=True) if special and not begun else tokens

    def apply_chat_template(self, chat_history: "List[dict[str, str]]", add_generation_prompt: bool = True) -> str:
        if not add_generation_prompt:
            raise refuse("the model rsr does not continue an answer that has begun")
        return self.model.detokenize(self.model.chat_tokens(chat_history), skip_special=False)

    # ---- Log-probabilities ---------------------------------------------------------------------------------------

    def _loglikelihood_tokens(self, requests: "Sequence[Tuple[Any, List[int], List[int]]]", disable_tqdm: bool = False,
                              **_: Any) -> "List[Tuple[float, bool]]":
        """Contexts lose their beginning where a request has more than max_length + 1 tokens; the last is scored and
        not evaluated."""
        found: "List[Tuple[float, bool]]" = [(0.0, True)] * len(requests)
        longest_first = sorted(range(len(requests)), key=lambda i: -len(requests[i][1]) - len(requests[i][2]))
        for some in self._parts(longest_first, disable_tqdm):
            pairs = []
            for i in some:
                _, context, continuation = requests[i]
                kept = self.max_length + 1 - len(continuation)
                if kept < 1:
                    raise refuse(f"a continuation has {len(continuation)} tokens, and max_length is {self.max_length}")
                pairs.append((context[-kept:], continuation))
            for i, result in zip(some, self.model.loglikelihoods(pairs)):
                found[i] = result
                if requests[i][0] is not None:
                    self.cache_hook.add_partial("loglikelihood", requests[i][0], result)
        return found

    def loglikelihood_rolling(self, requests: "Sequence[Any]", disable_tqdm: bool = False) -> "List[float]":
        windows: "List[Tuple[Any, List[int], List[int]]]" = []
        ends = []
        for request in requests:
            (text,) = request.args
            windows += [(None, *make_disjoint_window(window)) for window in get_rolling_token_windows(
                token_list=self.tok_encode(text), prefix_token=self.prefix_token_id, max_seq_len=self.max_length,
                context_len=1)]
            ends.append(len(windows))
        scores = [log_p for log_p, _ in self._loglikelihood_tokens(windows, disable_tqdm)]
        found = [sum(scores[begin:end]) for begin, end in zip([0, *ends], ends)]
        for request, result in zip(requests, found):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, result)
        return found

    # ---- Generation ----------------------------------------------------------------------------------------------

    def generate_until(self, requests: "Sequence[Any]", disable_tqdm: bool = False) -> "List[str]":
        found = [""] * len(requests)
        alike: "dict[str, List[int]]" = {}  # requests of one task have the same options
        for i, request in enumerate(requests):
            alike.setdefault(repr(request.args[1]), []).append(i)
        for same in alike.values():
            options = requests[same[0]].args[1]
            n_new, stops, sampling = self._options(options)
            for some in self._parts(same, disable_tqdm):
                prompts = [self.tok_encode(requests[i].args[0])[-(self.max_length - n_new):] for i in some]
                answers = self.model.generate_all(prompts, n_new, seed=self.seed, stop=stops, at_once=self.batch_size,
                                                  **sampling)
                for i, answer in zip(some, answers):
                    found[i] = str(answer)
                    self.cache_hook.add_partial("generate_until", requests[i].args, found[i])
        return found

    def _options(self, options: "dict[str, Any]") -> "Tuple[int, List[str], dict[str, Any]]":
        """The number of tokens, stop strings and members of rsr_sampling. What is not understood is refused."""
        rest = dict(normalize_gen_kwargs(options, self.max_gen_toks))
        rest.pop("do_sample", None)
        n_new, stops = rest.pop("max_gen_toks"), handle_stop_sequences(rest.pop("until"), None)
        if not 0 < n_new < self.max_length:
            raise refuse(f"max_gen_toks is {n_new}, and must be 1 .. {self.max_length - 1}")
        sampling = {"temperature": float(rest.pop("temperature", 0.0) or 0.0)}
        sampling.update({name: rest.pop(name) for name in _SAMPLING if name in rest})
        if rest:
            raise refuse(f"the model rsr has no option {', '.join(sorted(rest))} for generation")
        return n_new, [stop for stop in stops if stop], sampling

    def _parts(self, order: "Sequence[int]", disable_tqdm: bool) -> "Iterator[Sequence[int]]":
        """Parts that show progress; the library divides them further."""
        n = 4 * self.batch_size
        with contextlib.closing(tqdm(total=len(order), desc="rsr", disable=disable_tqdm)) as shown:
            for begin in range(0, len(order), n):
                part = order[begin:begin + n]
                yield part
                shown.update(len(part))


def _open(path: str, batch_size: int, context: int, threads: int, options: "dict[str, Any]") -> Model:
    """With memory for `batch_size` whole contexts, or for as many of them as the machine has room for."""
    if not context:
        with Model(path, threads=1) as model:
            context = model.info.context
    while True:
        try:
            return Model(path, threads, context, kv_tokens=batch_size * context, **options)
        except Error as error:
            if error.status != Status.MEMORY or batch_size == 1:
                raise
            batch_size = (batch_size + 1) // 2
