#!/usr/bin/env python3
"""usage: louver_workloads.py BUILD [--keys N] [--queries N] [--workloads "NAME ..."] [--seed N]

Compares the KV index with approximate indices (faiss: HNSW, IVF, PQ), and its rules with each other, in Markdown tables of
what their worst queries lose, not only the mean ones. BUILD has lib/librsr.so. Needs numpy; without faiss-cpu, the other
indices are left out. All figures are of one head: its keys are not shared, as a group's would be.

Workloads: sigma:S draws keys and values of 128 dimensions from N(0, 1), and queries whose logits have a spread of S over
the keys; needles:S has 8 keys besides that every query asks for, each as heavy in the softmax as the haystack.

"read": keys that were compared with the query, by all of their stored bits (of the KV index: keys read themselves).
"relevant": part of the 20 keys with the largest products that was found. "mass": part of the softmax on the found keys.
"error": distance of attention over the found keys from attention over all, in spreads of the values.
"""
import argparse
import ctypes
import pathlib
import subprocess
import sys
import tempfile

import numpy

try:
    import faiss
except ImportError:
    faiss = None

DIM, RELEVANT, NEEDLES = 128, 20, 8
# What the code of the Louver paper calls oracles takes T from a sample; budget, mass and error are exact.
RULES = ("topk:20", "budget:0.01", "sample_max:1", "sample_topk:8", "sample_mean_max", "sample_gap:0.5,1", "mass:0.1",
         "mass:1e-2", "error:0.1")


# ---- Workloads ----

def draw(name, n_keys, n_queries, seed):
    """Keys, values and queries."""
    kind, _, sigma = name.partition(":")
    random = numpy.random.default_rng(seed)
    keys, values, queries = (random.standard_normal((n, DIM)) for n in (n_keys, n_keys, n_queries))
    if kind == "needles":
        directions = numpy.linalg.qr(random.standard_normal((DIM, NEEDLES)))[0].T
        keys, queries = (rows - rows @ directions.T @ directions for rows in (keys, queries))
    queries *= float(sigma) / (queries @ keys.T / DIM ** 0.5).std(axis=1, keepdims=True)
    if kind == "needles":
        heaps = numpy.log(numpy.exp(queries @ keys.T / DIM ** 0.5).sum(axis=1, keepdims=True))
        keys[random.choice(n_keys, NEEDLES, replace=False)] = directions * DIM ** 0.5
        queries += heaps * directions.sum(axis=0)
    return tuple(numpy.ascontiguousarray(rows, dtype=numpy.float32) for rows in (keys, values, queries))


class Exact:
    """Attention over all keys, in float64, and what a set of found keys lacks."""

    def __init__(self, keys, values, queries):
        self.values = values.astype(float)
        self.products = queries.astype(float) @ keys.astype(float).T
        logits = self.products / DIM ** 0.5
        weights = numpy.exp(logits - logits.max(axis=1, keepdims=True))
        self.weights = weights / weights.sum(axis=1, keepdims=True)
        self.outputs = self.weights @ self.values
        self.relevant = numpy.argpartition(-self.products, RELEVANT, axis=1)[:, :RELEVANT]
        self.spread = ((self.values - self.values.mean(axis=0)) ** 2).sum(axis=1).mean() ** 0.5

    def found(self, query, keys):
        """The part of the relevant keys, of the mass, and the output's error."""
        weights = self.weights[query, keys]
        output = weights @ self.values[keys] / weights.sum() if len(keys) and weights.sum() > 0 else 0.0 * self.outputs[query]
        return (numpy.isin(self.relevant[query], keys).mean(), weights.sum(),
                numpy.linalg.norm(output - self.outputs[query]) / self.spread)


# ---- The KV index ----

def bindings(build):
    """The functions of rsr_louver.h."""
    root = pathlib.Path(__file__).resolve().parents[2]
    headers = [root / "runtime/include" / name for name in ("rsr.h", "rsr_louver.h")]
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run([sys.executable, root / "runtime/python/make_rsr.py", *headers], check=True, capture_output=True)
        pathlib.Path(folder, "louver_bindings.py").write_bytes(made.stdout)
        sys.path.insert(0, folder)
        import louver_bindings as rsr
        sys.path.pop(0)
    return rsr, rsr.load(str(build / "lib/librsr.so"))


class Louver:
    def __init__(self, rsr, library, keys, values):
        self.rsr, self.library, self.n_keys = rsr, library, len(keys)
        self.error, self.index = rsr.RSR_ERROR_INIT(), ctypes.POINTER(rsr.rsr_louver)()
        options, info = rsr.RSR_LOUVER_OPTIONS_INIT(), rsr.RSR_LOUVER_INFO_INIT()
        options.head_dim = DIM
        self.check(library.rsr_louver_create(options, self.index, self.error))
        self.check(library.rsr_louver_append(self.index, self.floats(keys), self.floats(values), len(keys), self.error))
        self.check(library.rsr_louver_get_info(self.index, info))
        self.bytes = info.index_bytes / len(keys)

    def check(self, status):
        if status != self.rsr.RSR_OK:
            raise SystemExit(f"louver_workloads.py: {self.error.message.decode()}")

    @staticmethod
    def floats(array):
        return array.ctypes.data_as(ctypes.POINTER(ctypes.c_float))

    def ask(self, query, rule):
        """Found keys, keys read, T, the certified error."""
        indices, stats = numpy.empty(self.n_keys, dtype=numpy.uint32), self.rsr.RSR_LOUVER_STATS_INIT()
        head, request = self.rsr.rsr_louver_head(), self.rsr.RSR_LOUVER_QUERY_INIT()
        self.check(self.library.rsr_louver_threshold_parse(rule.encode(), request.threshold, self.error))
        request.q, request.capacity = self.floats(query), self.n_keys
        request.indices, request.heads = indices.ctypes.data_as(ctypes.POINTER(ctypes.c_uint32)), ctypes.pointer(head)
        self.check(self.library.rsr_louver_attend(self.index, request, stats, self.error))
        return indices[:head.n_attended], stats.exact, head.threshold, head.certified_error

    def close(self):
        self.library.rsr_louver_destroy(self.index)


# ---- Others ----

def other_indices(keys):
    """Name, bytes a key besides the key itself, and a search: queries to found keys and the mean number of keys read."""
    n_lists = int(4 * len(keys) ** 0.5)
    graph = faiss.IndexHNSWFlat(DIM, 32, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = 200
    lists = faiss.IndexIVFFlat(faiss.IndexFlatIP(DIM), DIM, n_lists, faiss.METRIC_INNER_PRODUCT)
    codes = faiss.IndexPQ(DIM, 32, 8, faiss.METRIC_INNER_PRODUCT)
    for index in (graph, lists, codes):
        index.train(keys)
        index.add(keys)

    def search_graph(queries):
        faiss.cvar.hnsw_stats.reset()
        found = graph.search(queries, RELEVANT)[1]
        return found, faiss.cvar.hnsw_stats.ndis / len(queries)

    def search_lists(queries):
        faiss.cvar.indexIVF_stats.reset()
        found = lists.search(queries, RELEVANT)[1]
        return found, faiss.cvar.indexIVF_stats.ndis / len(queries)

    for wide in (64, 512):
        graph.hnsw.efSearch = wide
        yield f"HNSW, 32 links, ef {wide}", 2 * 32 * 4, search_graph
    for n_probes in (n_lists // 32, n_lists // 4):
        lists.nprobe = n_probes
        yield f"IVF, {n_lists} lists, {n_probes} read", 8 + DIM * 4 * n_lists / len(keys), search_lists
    yield "PQ, 32 bytes", 32, lambda queries: (codes.search(queries, RELEVANT)[1], len(keys))


# ---- Tables ----

def tail(name, found, digits):
    """Cells: the median query, the 99th in a hundred, and the worst. Large errors are bad, and so are small parts."""
    values = numpy.array([one["relevant mass error".split().index(name)] for one in found])
    bad = -1 if name == "error" else 1
    values = bad * numpy.sort(bad * values)  # the worst first
    return [f"{value:.{digits}f}" for value in (values[len(values) // 2], values[len(values) // 100], values[0])]


def row(name, read, bytes_, found, certified=None):
    cells = [name, f"{read:.2%}".replace("%", " %"), f"{bytes_:.0f}", *tail("relevant", found, 2), *tail("mass", found, 3),
             *tail("error", found, 3), "none" if certified is None else f"{certified:.2f}"]
    print("| " + " | ".join(cells) + " |", flush=True)


def louver_row(index, rule, queries, exact):
    """Also checks the promise: no key that was left out has a product of T, in float64, or more."""
    found, read, certified = [], 0, 0.0
    for i, query in enumerate(queries):
        keys, n_read, threshold, error = index.ask(query, rule)
        left_out = numpy.ones(index.n_keys, dtype=bool)
        left_out[keys] = False
        if (exact.products[i, left_out] >= threshold).any():
            raise SystemExit(f"louver_workloads.py: {rule}: a key was missed: a bug")
        found.append(exact.found(i, keys))
        read, certified = read + n_read, max(certified, error / exact.spread)
    row(f"Louver, {rule}", read / len(queries) / index.n_keys, index.bytes, found, certified)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[2].replace("%", "%%"))
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--keys", type=int, default=16384)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--workloads", default="sigma:2.25 sigma:3.5 sigma:5 needles:3.5")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.keys < 1000 or args.queries < 1:
        parser.error("--keys is at least 1000, --queries at least 1")
    rsr, library = bindings(args.build)
    if faiss is None:
        print("SKIPPED: other indices: there is no faiss", file=sys.stderr)
    for workload in args.workloads.split():
        keys, values, queries = draw(workload, args.keys, args.queries, args.seed)
        exact, index = Exact(keys, values, queries), Louver(rsr, library, keys, values)
        print(f"\n{workload}, {args.keys:,} keys, {args.queries} queries; median, 99th of 100 and worst query\n")
        print("| index | read | bytes a key | relevant | 99th | worst | mass | 99th | worst | error | 99th | worst | certified |\n"
              "|" + "---|" * 13)
        for rule in RULES:
            louver_row(index, rule, queries, exact)
        for name, bytes_, search in other_indices(keys) if faiss else ():
            lists, read = search(queries)
            row(name, read / args.keys, bytes_, [exact.found(i, found[found >= 0]) for i, found in enumerate(lists)])
        index.close()


if __name__ == "__main__":
    main()
