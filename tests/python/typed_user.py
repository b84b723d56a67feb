"""What a user of the package `rsrc` writes, for mypy --strict: every call has its types. It is not run."""
from typing import Dict, List, Tuple

import numpy as np
import rsrc


def continued(model: rsrc.Model, text: str) -> List[int]:
    answer: rsrc.Answer = model.generate(text, max_tokens=5, stop=["."])
    stream: rsrc.Stream = model.generate(text, stream=True)
    pieces: str = "".join(stream)
    said: rsrc.Answer = model.chat([{"role": "user", "content": pieces}], response_format={"type": "object"})
    reason: rsrc.StopReason = said.stop_reason
    return answer.tokens if reason is rsrc.StopReason.LENGTH else []


def measured(model: rsrc.Model) -> Tuple[float, bool]:
    vectors: np.ndarray = model.embed(["a", b"b", [1, 2]], pooling="mean")
    with model.session() as session, session.fork() as other:
        other.truncate(0)
        assert session.eval([1, 2]).shape[1] == model.info.vocab
    return model.loglikelihood("a", " b") if len(vectors) else (0.0, False)


def multiplied(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    try:
        compiled: rsrc.Matrix = rsrc.matrix(values, input="i8")
        product: np.ndarray = compiled @ x
        return product
    except rsrc.Error as error:
        if error.status is rsrc.Status.ARGUMENT:
            print(error.sentence)
        raise


def compiled() -> Dict[str, object]:
    rsrc.compile("model/", "model.so", target="native", on_progress=lambda done, total, what: print(done, total, what))
    return rsrc.report("model/")
