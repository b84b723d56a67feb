"""Records what transformers computes for a checkpoint, stage by stage: the tensors of
golden.safetensors.

The record is taken by hooks that change nothing, and every derived quantity in it (codes, ternary
weights, integer sums) is first shown to reproduce the tensors that transformers really computed; a
doubt is an exception, not a fixture.
"""
import os

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # before torch: the quantisers are wrapped in torch.compile

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from random_model import LINEARS, is_qwen3_5, linears_of, norms_of  # noqa: E402

TIE_RECORDED = 1e-3     # codes this near to a rounding tie are recorded; golden_check decides
TIE_CLEAR = 1e-4        # if codes are further than this from every tie, none may differ
TOLERANCE = 1e-5        # relative to a layer's largest: our sums against transformers' output

# The order of golden_pass.h: those of a gated delta rule come last.
LINEAR_NUMBERS = [*LINEARS, "qkv", "z", "beta", "decay"]

# Linears that may share an input, which is recorded under the first one's name.
INPUTS = (("q", "k", "v"), ("qkv", "z", "beta", "decay"), ("o",), ("gate", "up"), ("down",))


def load(folder, embeds):
    """The model in float32, eager attention. Tensors stored as bfloat16 are widened exactly."""
    from transformers import AutoModel, AutoModelForCausalLM
    kind = AutoModel if embeds else AutoModelForCausalLM
    model, report = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                         output_loading_info=True)
    if any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")):
        raise SystemExit(f"make_golden.py: {folder} is not what transformers expects: {report}")
    model.eval()
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_floating_point():
            tensor.data = tensor.data.float()   # some versions leave weight_scale in bfloat16
    assert model.config._attn_implementation == "eager"
    return model


def same(ours, theirs, what):
    if not torch.equal(ours, theirs):
        raise SystemExit(f"make_golden.py: {what} is not what transformers computed")


def is_quantised(linear):
    from transformers.integrations.bitnet import AutoBitLinear, BitLinear
    return isinstance(linear, (AutoBitLinear, BitLinear))


def quantised_input(linear, x):
    """(codes, s, x * s) of a linear's input, shown to be the ones that the linear itself uses."""
    from transformers.integrations.bitnet import ActQuant, BitLinear
    s = 127 / x.abs().max(dim=-1, keepdim=True).values.clamp(min=1e-5)
    product = x * s
    codes = product.round().clamp(-128, 127)
    if isinstance(linear, BitLinear):
        used, used_s = linear.activation_quant(x)
        same(codes.to(torch.int8), used, "an activation code")
        same(s, used_s, "an activation scale")
    else:
        same(codes / s, ActQuant.apply(x), "an activation")
    return codes, s, product


def ternary_weight(linear):
    """(ternary weights, multiplier) of a linear, shown to be the ones that it uses."""
    from transformers.integrations.bitnet import BitLinear, WeightQuant, unpack_weights
    if isinstance(linear, BitLinear):
        ternary, multiplier = unpack_weights(linear.weight, torch.float32), 1 / linear.weight_scale
    elif linear.online_quant:
        scale = 1.0 / linear.weight.abs().mean().clamp_(min=1e-5)
        ternary = (linear.weight * scale).round().clamp(-1, 1)
        same(ternary / scale, WeightQuant.apply(linear.weight), "an online weight")
        multiplier = (1 / scale).view(1)
    else:
        ternary, multiplier = linear.weight, linear.weight_scale
    if not torch.isin(ternary, torch.tensor([-1.0, 0.0, 1.0])).all():
        raise SystemExit("make_golden.py: a weight is not ternary")
    return ternary, multiplier


def exact_sums(linear, codes, s, output):
    """(integer sums, multiplier) of one linear, shown to give transformers' float output."""
    from transformers.integrations.bitnet import BitLinear
    ternary, multiplier = ternary_weight(linear)
    sums = codes.long() @ ternary.long().T
    if isinstance(linear, BitLinear):   # multiplies integers held in floats: exact below 2^24
        same(sums.float(), F.linear(codes, ternary), "an integer sum")
    worst = (sums.double() / s.double() * multiplier.double() - output.double()).abs().max()
    if not worst <= TOLERANCE * output.abs().max():
        raise SystemExit("make_golden.py: sums and scales do not give transformers' output")
    return sums, multiplier


def tie_distance(codes, product):
    """The distance of products from k + 1/2; product - codes is exact."""
    return 0.5 - (product - codes).abs()


class Recorder:
    """Hooks on every linear and norm of a model: inputs and outputs of the next forward pass."""

    def __init__(self, model):
        self.inputs, self.outputs, self.handles = {}, {}, []
        base = getattr(model, "model", model)
        self.modules = {"final_norm": base.norm}
        self.norms = norms_of(model.config.to_dict())
        for block, layer in enumerate(base.layers):
            modules = dict(layer.named_modules())
            linears = linears_of(model.config.to_dict(), block)
            for role, path in {**linears, **self.norms}.items():
                if path in modules:
                    self.modules[f"block.{block}.{role}"] = modules[path]
                if path + ".rms_norm" in modules:
                    self.modules[f"block.{block}.{role}.proj_norm"] = modules[path + ".rms_norm"]
        for name, module in self.modules.items():
            self.handles.append(module.register_forward_hook(self.hook(name)))

    def hook(self, name):
        def keep(_module, args, output):
            self.inputs[name] = args[0][0].detach().clone()
            self.outputs[name] = output[0].detach().clone()
        return keep

    def input_of(self, linear):
        """The weights of a linear before quantisation."""
        return self.outputs.get(linear + ".proj_norm", self.inputs[linear])

    def close(self):
        for handle in self.handles:
            handle.remove()


def run(model, tokens):
    """(hooks' record, logits or last hidden states [T, n]) of one pass over tokens [1, T]."""
    recorder = Recorder(model)
    with torch.no_grad():
        out = model(tokens, use_cache=False)
    recorder.close()
    return recorder, (out.logits if "logits" in out else out.last_hidden_state)[0]


def record_codes(name, number, codes, s, product, out, ties):
    """A quantised input: its codes, scales, and the codes that are close to a tie."""
    out[name + ".codes"] = codes.to(torch.int8)
    out[name + ".scale"] = s.flatten()
    block, linear = number
    offset, distance = product - codes, tie_distance(codes, product)
    # The other neighbour is one code away, on the product's side.
    for at in (distance < TIE_RECORDED).nonzero().tolist():
        position, column = at
        other = int(codes[position, column] + (1 if offset[position, column] > 0 else -1))
        ties.append((block, linear, position, column, other, float(distance[position, column])))


def record_linears(recorder, block, rows, keep_floats, out, ties):
    """Inputs of the block's linears, codes with scales and ties or floats; their sums, outputs."""
    for readers in INPUTS:
        recorded = {}   # inputs of this group: is quantised -> tensor
        for role in readers:
            linear = f"block.{block}.{role}"
            if linear not in recorder.modules:
                continue
            module, x = recorder.modules[linear], recorder.input_of(linear)
            output, quantised = recorder.outputs[linear], is_quantised(recorder.modules[linear])
            if quantised:
                codes, s, product = quantised_input(module, x)
            if quantised not in recorded or not torch.equal(recorded[quantised], x):
                recorded[quantised] = x
                if quantised:
                    number = block, LINEAR_NUMBERS.index(role)
                    record_codes(linear, number, codes, s, product, out, ties)
                else:
                    out[linear + ".input"] = x
            if not keep_floats:
                continue
            out[linear + ".output"] = output[rows]
            if quantised:
                sums, multiplier = exact_sums(module, codes, s, output)
                out[linear + ".sum"] = sums[rows].to(torch.int32)
                out[linear + ".weight_scale"] = multiplier.float()


def record_logits(logits, tokens, rows, out):
    top = logits.topk(2, dim=-1)
    out["logits"] = logits[rows]
    out["top1"] = top.indices[:, 0].to(torch.int32)
    out["margin"] = top.values[:, 0] - top.values[:, 1]
    out["range"] = logits.max(dim=-1).values - logits.min(dim=-1).values
    out["nll"] = F.cross_entropy(logits[:-1].double(), tokens[0, 1:], reduction="none").float()


def record(model, tokens, rows, blocks):
    """Every tensor of golden.safetensors for one pass over tokens [1, T]."""
    recorder, results = run(model, tokens)
    rows = torch.tensor(list(rows))
    out = {"tokens": tokens[0].to(torch.int32), "rows": rows.to(torch.int32),
           "final_norm": recorder.outputs["final_norm"][rows]}
    ties = []
    for block in range(model.config.num_hidden_layers):
        keep_floats = blocks is None or block in blocks
        with torch.no_grad():
            record_linears(recorder, block, rows, keep_floats, out, ties)
        if not keep_floats:
            continue
        norms = [f"block.{block}.{role}" for role in recorder.norms]
        norms += [f"block.{block}.{role}.proj_norm" for role in LINEAR_NUMBERS]
        out.update({name: recorder.outputs[name][rows] for name in norms
                    if name in recorder.outputs})
        # Attention ends where its output enters the sub-norm or, without one, o.
        after = f"block.{block}.attn_sub_norm"
        after = after if after in recorder.inputs else f"block.{block}.o"
        if not is_qwen3_5(model.config.to_dict()):  # there gates follow, and o's input tells
            out[f"block.{block}.attention"] = recorder.inputs[after][rows]
    if any(name.endswith(".codes") for name in out):
        if not ties:
            raise SystemExit("make_golden.py: no code is near a tie; use another seed")
        out["tie_at"] = torch.tensor([tie[:4] for tie in ties], dtype=torch.int32)
        out["tie_code"] = torch.tensor([tie[4] for tie in ties], dtype=torch.int8)
        out["tie_distance"] = torch.tensor([tie[5] for tie in ties], dtype=torch.float32)
    if hasattr(model, "lm_head"):
        record_logits(results, tokens, rows, out)
    return out


# ---------------------------------------------------------------------------------- embeddings

def is_clear(recorder):
    """Whether every code of a pass is the only one that a careful implementation can get."""
    for name, module in recorder.modules.items():
        if is_quantised(module):
            codes, _, product = quantised_input(module, recorder.input_of(name))
            if tie_distance(codes, product).min() <= TIE_CLEAR:
                return False
    return True


def record_embeddings(model, fixture, out):
    """Embeddings of token sequences, as sentence-transformers pools and normalises. The sequences
    are drawn until no code is near a rounding tie, so that nothing excuses a difference."""
    rng = torch.Generator().manual_seed(fixture["seed"])
    for number, length in enumerate(fixture["lengths"]):
        for _ in range(4000):
            tokens = torch.randint(3, model.config.vocab_size, (1, length), generator=rng)
            recorder, hidden = run(model, tokens)
            if is_clear(recorder):
                break
        else:
            raise SystemExit(f"make_golden.py: no {length} tokens stay clear of rounding ties")
        last = fixture["pooling"] == "lasttoken"
        pooled = hidden[-1] if last else hidden.mean(dim=0)
        out[f"embedding.{number}.tokens"] = tokens[0].to(torch.int32)
        out[f"embedding.{number}"] = F.normalize(pooled, dim=0).view(1, -1)
