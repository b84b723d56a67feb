#!/usr/bin/env python3
"""Train the bundled example model: a small ternary language model of the King James Bible.

Needs
    apt:  bible-kjv bible-kjv-text      (the text, and the program that decompresses it)
    pip:  torch numpy tokenizers safetensors                        to train and export
          transformers accelerate jinja2                            to evaluate
Nothing here is needed to build or to run the compiler; this script only records how the
checkpoint next to it was made.

Steps, all in one process:
    1. dump the text and write the held-out book to heldout.txt;
    2. train a byte-level BPE tokenizer (Llama-3's pre-tokenizer) without the held-out book;
    3. train a BitNet b1.58 model, quantisation-aware: every linear layer rounds its weights to
       {-1, 0, 1} x mean|W| and its input to int8 per token, with a straight-through gradient;
    4. export a packed Hugging Face checkpoint of the architecture BitNetForCausalLM.

The learning rate follows the clock, not a step count: --minutes is the whole budget.  Training
state is saved in --work every few minutes, and a second call with the same --work goes on from
there.

    python train.py --work /tmp/kjv --minutes 60        # train, then export to ./kjv
    python train.py --work /tmp/kjv --export-only       # export what has been trained so far
    python train.py --evaluate kjv                      # bits per byte of the held-out book
    python train.py --reference kjv                     # also write reference.json
"""
import argparse
import json
import math
import os
import random
import re
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
HELD_OUT = "Daniel"  # never seen by the weights or the tokenizer; its score is the published one
WATCHED = "Ruth"     # not trained on either; its loss is printed while training

SHAPE = dict(vocab=2560, hidden=256, layers=6, heads=4, kv_heads=2, ffn=704, context=512,
             theta=10000.0, eps=1e-5)
SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]  # the last ids of the vocabulary
PRE_TOKENIZER = (  # Llama-3's
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+")
CHAT_TEMPLATE = (  # renders what the template of BitNet b1.58 2B4T renders
    "{% for message in messages %}"
    "{% set turn = message['role'] | capitalize + ': ' + message['content'] | trim %}"
    "{{ turn + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}")


# ---------------------------------------------------------------------------------------- text

def read_books():
    """The text by book, as prose: the title, then for each chapter a heading and one paragraph."""
    dump = subprocess.run(["bible", "-l", "100000", "Genesis1:1-Revelation22:21"], check=True,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
    verses = {}  # book -> chapter -> list of verses
    for line in dump.splitlines():
        if heading := re.fullmatch(r"(\S.*) (\d+)", line):
            chapter = verses.setdefault(heading[1], {}).setdefault(int(heading[2]), [])
        elif verse := re.fullmatch(r"\s+\d+ (.*)", line):
            chapter.append(" ".join(verse[1].split()))
        elif line.strip():
            raise SystemExit(f"train.py: bible printed a line that is not understood: {line!r}")
    if len(verses) != 66 or sum(len(c) for c in verses.values()) != 1189:
        raise SystemExit("train.py: expected 66 books and 1189 chapters from the bible program")
    return {book: f"{book}\n\n" + "\n\n".join(
                f"Chapter {n}\n\n{' '.join(chapter)}" for n, chapter in chapters.items()) + "\n"
            for book, chapters in verses.items()}


def train_tokenizer(texts, path):
    """Byte-level BPE in the form of Llama-3's tokenizer.json; the special tokens come last."""
    from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers,
                            processors, trainers)
    tok = Tokenizer(models.BPE(ignore_merges=True))
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PRE_TOKENIZER), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=SHAPE["vocab"] - len(SPECIAL), show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    tok.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIAL])
    bos = SPECIAL[0]
    tok.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1",
                                      special_tokens=[(bos, tok.token_to_id(bos))])])
    if tok.get_vocab_size() != SHAPE["vocab"]:
        raise SystemExit("train.py: the text is too small for this vocabulary")
    data = json.loads(tok.to_str())
    # Merges as "left right": what Llama-3's file holds, and what older readers understand.
    data["model"]["merges"] = [m if isinstance(m, str) else " ".join(m)
                               for m in data["model"]["merges"]]
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


# --------------------------------------------------------------------------------------- model
# Plain PyTorch, with the tensors' Hugging Face names.  The straight-through estimator is the
# usual x + (q(x) - x).detach(): q forwards, the identity backwards.

def build_model():
    import torch
    import torch.nn.functional as F
    from torch import nn

    def quantise_weight(w):
        scale = w.abs().mean().clamp(min=1e-5)
        return w + ((w / scale).round().clamp(-1, 1) * scale - w).detach()

    def quantise_input(x):
        scale = 127 / x.detach().abs().amax(-1, keepdim=True).clamp(min=1e-5)
        return x + ((x * scale).round().clamp(-128, 127) / scale - x).detach()

    def linear(x, *layers):
        """Several ternary layers with one input: quantise it once, multiply once."""
        weight = torch.cat([quantise_weight(layer.weight) for layer in layers])
        out = F.linear(quantise_input(x), weight)
        return out.split([layer.out_features for layer in layers], dim=-1)

    class Norm(nn.Module):
        def __init__(self, size):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(size))

        def forward(self, x):
            return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + SHAPE["eps"]))

    def projection(n_in, n_out, std=0.02):
        layer = nn.Linear(n_in, n_out, bias=False)
        nn.init.normal_(layer.weight, std=std)
        return layer

    hidden, ffn, heads, kv_heads = (SHAPE[k] for k in ("hidden", "ffn", "heads", "kv_heads"))
    head_dim = hidden // heads
    residual_std = 0.02 / math.sqrt(2 * SHAPE["layers"])

    def rotate(x, cos, sin):
        low, high = x.chunk(2, dim=-1)
        return torch.cat([low * cos - high * sin, high * cos + low * sin], dim=-1)

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q_proj = projection(hidden, heads * head_dim)
            self.k_proj = projection(hidden, kv_heads * head_dim)
            self.v_proj = projection(hidden, kv_heads * head_dim)
            self.o_proj = projection(heads * head_dim, hidden, residual_std)
            self.attn_sub_norm = Norm(hidden)

        def forward(self, x, cos, sin):
            batch, length, _ = x.shape
            q, k, v = (t.view(batch, length, -1, head_dim).transpose(1, 2)
                       for t in linear(x, self.q_proj, self.k_proj, self.v_proj))
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
            k, v = (t.repeat_interleave(heads // kv_heads, dim=1) for t in (k, v))
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            out = out.transpose(1, 2).reshape(batch, length, hidden)
            return linear(self.attn_sub_norm(out), self.o_proj)[0]

    class Mlp(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate_proj = projection(hidden, ffn)
            self.up_proj = projection(hidden, ffn)
            self.down_proj = projection(ffn, hidden, residual_std)
            self.ffn_sub_norm = Norm(ffn)

        def forward(self, x):
            gate, up = linear(x, self.gate_proj, self.up_proj)
            return linear(self.ffn_sub_norm(F.relu(gate).square() * up), self.down_proj)[0]

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.self_attn = Attention()
            self.mlp = Mlp()
            self.input_layernorm = Norm(hidden)
            self.post_attention_layernorm = Norm(hidden)

        def forward(self, x, cos, sin):
            x = x + self.self_attn(self.input_layernorm(x), cos, sin)
            return x + self.mlp(self.post_attention_layernorm(x))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed_tokens = nn.Embedding(SHAPE["vocab"], hidden)
            nn.init.normal_(self.embed_tokens.weight, std=0.05)
            self.layers = nn.ModuleList(Block() for _ in range(SHAPE["layers"]))
            self.norm = Norm(hidden)
            steps = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
            angles = torch.outer(torch.arange(SHAPE["context"]).float(),
                                 SHAPE["theta"] ** -steps)
            self.register_buffer("cos", angles.cos(), persistent=False)
            self.register_buffer("sin", angles.sin(), persistent=False)

        def forward(self, ids, targets):
            """Mean negative log likelihood (nats) of targets; targets < 0 do not count."""
            cos, sin = self.cos[:ids.shape[1]], self.sin[:ids.shape[1]]
            x = self.embed_tokens(ids)
            for block in self.layers:
                x = block(x, cos, sin)
            logits = F.linear(self.norm(x), self.embed_tokens.weight)
            return F.cross_entropy(logits.view(-1, SHAPE["vocab"]), targets.reshape(-1),
                                   ignore_index=-1)

    return Model()


# ------------------------------------------------------------------------------------ training

def make_muon(params, momentum=0.95, weight_decay=0.1):
    """Muon: momentum whose matrices are orthogonalised by Newton-Schulz, same shapes together."""
    import torch

    class Muon(torch.optim.Optimizer):
        def __init__(self):
            super().__init__(params, dict(lr=0.0))

        @torch.no_grad()
        def step(self):
            lr = self.param_groups[0]["lr"]
            by_shape = {}
            for p in self.param_groups[0]["params"]:
                by_shape.setdefault(p.shape, []).append(p)
            for shape, group in by_shape.items():
                updates = []
                for p in group:
                    mean = self.state[p].setdefault("momentum", torch.zeros_like(p))
                    mean.lerp_(p.grad, 1 - momentum)
                    updates.append(p.grad.lerp(mean, momentum))
                x = torch.stack(updates)
                tall = shape[0] > shape[1]
                x = x.mT.contiguous() if tall else x
                x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
                for _ in range(5):
                    gram = x @ x.mT
                    x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
                x = x.mT if tall else x
                step = lr * max(1.0, shape[0] / shape[1]) ** 0.5
                for p, update in zip(group, x):
                    p.mul_(1 - lr * weight_decay).sub_(update, alpha=step)

    return Muon()


class Windows:
    """Endless training windows, each <|begin_of_text|> and then context tokens of the stream.

    Each pass over the stream cuts it at a new phase and shuffles the pieces.  Besides, the share
    `openings` of the windows begin where a chapter's text does: a prompt usually begins so too.
    """

    def __init__(self, stream, chapters, bos, seed, openings):
        self.stream, self.bos, self.rng = stream, bos, random.Random(seed)
        self.chapters = [c for c in chapters if c + SHAPE["context"] <= len(stream)]
        self.openings = openings
        self.queues = {"pass": [], "chapters": []}  # shuffled starts not used yet

    def next_start(self):
        n = SHAPE["context"]
        name = "chapters" if self.rng.random() < self.openings else "pass"
        queue = self.queues[name]
        if not queue:
            queue.extend(self.chapters if name == "chapters" else
                         range(self.rng.randrange(n), len(self.stream) - n, n))
            self.rng.shuffle(queue)
        return queue.pop()

    def next_batch(self, batch):
        import torch
        starts = [self.next_start() for _ in range(batch)]
        rows = torch.tensor([[self.bos] + self.stream[s:s + SHAPE["context"]] for s in starts])
        return rows[:, :-1], rows[:, 1:]


def windows_of_text(ids, bos):
    """The evaluation convention: see README.md.  ids is the text, without <|begin_of_text|>."""
    n = SHAPE["context"] - 1
    return [[bos] + ids[i:i + n] for i in range(0, len(ids), n)]


def bits_of_text(loss_of, ids, bos):
    """Total bits of the text tokens ids; loss_of(inputs, targets) is a mean in nats."""
    import torch
    bits = 0.0
    for window in windows_of_text(ids, bos):
        row = torch.tensor([window])
        bits += float(loss_of(row[:, :-1], row[:, 1:])) * (len(window) - 1) / math.log(2)
    return bits


def train(args, model, stream, chapters, watched, bos):
    """Train until the clock has used --minutes, going on from the saved state if there is one."""
    import torch
    matrices = [p for name, p in model.named_parameters() if name.endswith("_proj.weight")]
    vectors = [p for name, p in model.named_parameters() if not name.endswith("_proj.weight")]
    muon = make_muon(matrices)
    adam = torch.optim.AdamW(vectors, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0)
    data = Windows(stream, chapters, bos, args.seed, args.openings)
    step, used = 0, 0.0
    state_path = args.work / "state.pt"
    if state_path.exists():
        state = torch.load(state_path, weights_only=False)
        model.load_state_dict(state["model"])
        muon.load_state_dict(state["muon"])
        adam.load_state_dict(state["adam"])
        data.queues, step, used = state["queues"], state["step"], state["used"]
        data.rng.setstate(state["rng"])
        print(f"going on from step {step}, {used / 60:.1f} minutes", flush=True)

    def save():
        state = dict(model=model.state_dict(), muon=muon.state_dict(), adam=adam.state_dict(),
                     queues=data.queues, rng=data.rng.getstate(), step=step, used=used)
        torch.save(state, state_path.with_suffix(".new"))
        os.replace(state_path.with_suffix(".new"), state_path)

    if args.compile:
        for block in model.layers:
            block.compile()
    watched_ids, watched_bytes = watched
    budget = args.minutes * 60
    mean_loss, saved, printed = None, used, step
    last = time.monotonic()
    while used < budget:
        done = used / budget
        warm = min(1.0, (step + 1) / args.warmup)
        rate = warm * (1 - done)
        muon.param_groups[0]["lr"] = args.lr * rate
        adam.param_groups[0]["lr"] = args.lr_vectors * rate
        loss = model(*data.next_batch(args.batch))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vectors, 1.0)
        muon.step()
        adam.step()
        muon.zero_grad()
        adam.zero_grad()
        mean_loss = loss.item() if mean_loss is None else 0.95 * mean_loss + 0.05 * loss.item()
        step += 1
        now = time.monotonic()
        # The compiler's one-off time is not training time.
        used += min(now - last, 10.0)
        last = now
        if step % 20 == 0:
            line = f"step {step} {used / 60:.1f} min loss {mean_loss:.3f}"
            if step % 200 == 0:
                with torch.no_grad(), torch.compiler.set_stance("force_eager"):
                    bits = bits_of_text(model, watched_ids, bos)
                line += f" {WATCHED} {bits / watched_bytes:.4f} bits/byte"
            print(line, flush=True)
        if used - saved > args.save_every * 60:
            save()
            saved = used
    save()


# -------------------------------------------------------------------------------------- export

def pack(weight):
    """Ternary codes plus one, four to a byte: bits 2i of byte (r, c) hold row i * rows / 4 + r."""
    import torch
    codes = (weight + 1).to(torch.uint8).view(4, weight.shape[0] // 4, weight.shape[1])
    return codes[0] | codes[1] << 2 | codes[2] << 4 | codes[3] << 6


def export(model, tokenizer_path, out):
    import torch
    from safetensors.torch import save_file
    out.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, value in model.state_dict().items():
        name = "model." + name
        if name.endswith("_proj.weight"):
            scale = value.abs().mean().clamp(min=1e-5)
            ternary = (value / scale).round().clamp(-1, 1)
            zeros = (ternary == 0).float().mean().item()
            if not 0.05 < zeros < 0.95 or (ternary == 1).sum() == 0 or (ternary == -1).sum() == 0:
                raise SystemExit(f"train.py: {name} is degenerate ({zeros:.0%} zeros)")
            tensors[name] = pack(ternary)
            tensors[name.replace(".weight", ".weight_scale")] = scale.view(1).to(torch.bfloat16)
        else:
            tensors[name] = value.to(torch.bfloat16)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})

    first = SHAPE["vocab"] - len(SPECIAL)
    bos, eos, eot = first, first + 1, first + 2
    write_json(out / "config.json", {
        "architectures": ["BitNetForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": bos,
        "eos_token_id": eos,
        "hidden_act": "relu2",
        "hidden_size": SHAPE["hidden"],
        "initializer_range": 0.02,
        "intermediate_size": SHAPE["ffn"],
        "max_position_embeddings": SHAPE["context"],
        "model_type": "bitnet",
        "num_attention_heads": SHAPE["heads"],
        "num_hidden_layers": SHAPE["layers"],
        "num_key_value_heads": SHAPE["kv_heads"],
        "quantization_config": {
            "linear_class": "autobitlinear",
            "modules_to_not_convert": ["lm_head"],
            "quant_method": "bitnet",
            "quantization_mode": "offline",
        },
        "rms_norm_eps": SHAPE["eps"],
        "rope_theta": SHAPE["theta"],
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": SHAPE["vocab"],
    })
    write_json(out / "generation_config.json", {
        "bos_token_id": bos,
        "do_sample": True,
        "eos_token_id": [eos, eot],
        "repetition_penalty": 1.05,
        "temperature": 0.7,
        "top_k": 40,
    })
    write_json(out / "tokenizer_config.json", {
        "added_tokens_decoder": {str(first + i): {
            "content": content, "lstrip": False, "normalized": False, "rstrip": False,
            "single_word": False, "special": True} for i, content in enumerate(SPECIAL)},
        "bos_token": SPECIAL[0],
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": SPECIAL[1],
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": SHAPE["context"],
        "tokenizer_class": "PreTrainedTokenizerFast",
    })
    write_json(out / "special_tokens_map.json", {
        name: {"content": content, "lstrip": False, "normalized": False, "rstrip": False,
               "single_word": False}
        for name, content in (("bos_token", SPECIAL[0]), ("eos_token", SPECIAL[1]))})
    (out / "tokenizer.json").write_bytes(tokenizer_path.read_bytes())
    print(f"wrote {out}: {sum(f.stat().st_size for f in out.iterdir())} bytes")


def write_json(path, value):
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # Lists of numbers on one line.
    text = re.sub(r"\[[\d,\s]+\]", lambda found: " ".join(found[0].split()), text)
    path.write_text(text.replace("[ ", "[").replace(" ]", "]") + "\n", encoding="utf-8")


# ---------------------------------------------------------------------------------- evaluation

def load_with_transformers(folder):
    import torch
    torch._dynamo.config.disable = True  # plain float32, in the order the source says
    from transformers import AutoTokenizer, BitNetForCausalLM
    model = BitNetForCausalLM.from_pretrained(folder, dtype=torch.float32)
    # Some versions leave what is stored as bfloat16 in bfloat16, and refuse model.float().
    for tensor in [*model.parameters(), *model.buffers()]:
        tensor.data = tensor.data.float()
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def evaluate(folder):
    """Bits per byte of heldout.txt through transformers in float32."""
    import torch
    import torch.nn.functional as F
    model, tokenizer = load_with_transformers(folder)
    text = (HERE / "heldout.txt").read_bytes()
    bos, *ids = tokenizer(text.decode("utf-8"), verbose=False)["input_ids"]
    if bos != tokenizer.bos_token_id or model.config.max_position_embeddings != SHAPE["context"]:
        raise SystemExit("train.py: not a checkpoint of this script")
    with torch.no_grad():
        bits = bits_of_text(
            lambda x, y: F.cross_entropy(model(x).logits[0].float(), y[0]), ids, bos)
    print(f"{len(text)} bytes, {len(ids)} tokens, {len(windows_of_text(ids, bos))} windows: "
          f"{bits / len(text):.6f} bits per byte")
    return bits / len(text)


def write_reference(folder, prompt="In the beginning", count=48):
    """reference.json: the held-out figure and the first greedy tokens after the prompt."""
    import torch
    bits_per_byte = evaluate(folder)
    model, tokenizer = load_with_transformers(folder)
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False,
                             repetition_penalty=1.0, max_new_tokens=count)[0]
    new = out[ids.shape[1]:].tolist()
    write_json(HERE / "reference.json", {
        "heldout_bits_per_byte": round(bits_per_byte, 6),
        "prompt": prompt,
        "prompt_tokens": ids[0].tolist(),
        "greedy_tokens": new,
        "text": tokenizer.decode(out, skip_special_tokens=True),
    })
    print((HERE / "reference.json").read_text())


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "kjv",
                        help="folder of the training state (kjv in the temporary folder)")
    parser.add_argument("--out", type=Path, default=HERE / "kjv", help="checkpoint folder (kjv)")
    parser.add_argument("--minutes", type=float, default=60, help="time to train (60)")
    parser.add_argument("--batch", type=int, default=8, help="windows a step (8)")
    parser.add_argument("--openings", type=float, default=0.25,
                        help="share of windows that begin where a chapter does (0.25)")
    parser.add_argument("--lr", type=float, default=0.02, help="peak rate, ternary layers (0.02)")
    parser.add_argument("--lr-vectors", type=float, default=0.004,
                        help="peak rate, embedding and norms (0.004)")
    parser.add_argument("--warmup", type=int, default=50, help="steps to the peak rate (50)")
    parser.add_argument("--save-every", type=float, default=5, help="minutes (5)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="torch threads (all)")
    parser.add_argument("--seed", type=int, default=1, help="seed (1)")
    parser.add_argument("--compile", action="store_true",
                        help="torch.compile the layers (needs a C++ compiler; 1.2 times as fast)")
    parser.add_argument("--export-only", action="store_true", help="export the saved state")
    parser.add_argument("--evaluate", metavar="DIR", type=Path, help="score a checkpoint")
    parser.add_argument("--reference", metavar="DIR", type=Path,
                        help="score a checkpoint and write reference.json")
    args = parser.parse_args()
    import torch
    torch.set_num_threads(args.threads)
    if args.evaluate:
        evaluate(args.evaluate)
        return
    if args.reference:
        write_reference(args.reference)
        return

    from tokenizers import Tokenizer
    torch.manual_seed(args.seed)
    args.work.mkdir(parents=True, exist_ok=True)
    model = build_model()
    tokenizer_path = args.work / "tokenizer.json"
    if args.export_only:
        state = torch.load(args.work / "state.pt", weights_only=False)
        model.load_state_dict(state["model"])
        print(f"step {state['step']}, {state['used'] / 60:.1f} minutes of training")
        export(model, tokenizer_path, args.out)
        return

    books = read_books()
    (HERE / "heldout.txt").write_text(books[HELD_OUT], encoding="utf-8")
    seen = [text for book, text in books.items() if book not in (HELD_OUT, WATCHED)]
    if not tokenizer_path.exists():
        train_tokenizer(seen, tokenizer_path)
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    bos, eos = tokenizer.token_to_id(SPECIAL[0]), tokenizer.token_to_id(SPECIAL[1])
    stream, chapters = [], []  # the tokens of all books; where the text of each chapter begins
    for text in seen:
        encoded = tokenizer.encode(text)
        chapters += [len(stream) + encoded.char_to_token(heading.end())
                     for heading in re.finditer(r"^Chapter \d+\n\n", text, re.MULTILINE)]
        stream += encoded.ids + [eos]
    watched = books[WATCHED]
    watched = tokenizer.encode(watched, add_special_tokens=False).ids, len(watched.encode())
    ternary = sum(p.numel() for n, p in model.named_parameters() if n.endswith("_proj.weight"))
    print(f"{ternary} ternary weights, {len(stream)} training tokens, "
          f"{sum(len(t.encode()) for t in seen) / len(stream):.2f} bytes each", flush=True)
    train(args, model, stream, chapters, watched, bos)
    export(model, tokenizer_path, args.out)


if __name__ == "__main__":
    main()
