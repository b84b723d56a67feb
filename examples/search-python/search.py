#!/usr/bin/env python3
"""Searches binary embeddings by inner product, and compares with NumPy and, where it is installed, with faiss:

    ./search.py [EMBEDDINGS [DIMENSIONS]]         1,000,000 embeddings of 1,024 dimensions need 4 GB of memory

Queries are binary embeddings, too, or int8 ones: products are exact."""
import sys
import time

import numpy as np
import rsrc

K, QUERIES = 10, 16


def best_of_3(what, function):
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        found = function()
        times.append(time.perf_counter() - begun)
    print(f"{what:32} {min(times) / QUERIES * 1e3:9.3f} ms a query")
    return found


def largest(scores):
    """The K largest of each row; of equal ones, those that come first."""
    keys = scores.astype(np.int64) * scores.shape[1] - np.arange(scores.shape[1])
    found = np.argpartition(-keys, K, axis=1)[:, :K]
    return np.take_along_axis(found, np.argsort(-np.take_along_axis(keys, found, 1), axis=1), 1)


def main():
    n, dimensions = (int(text) for text in [*sys.argv[1:], *("1000000", "1024")[len(sys.argv) - 1:]])
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 256, size=(n, dimensions // 8), dtype=np.uint8)
    signs = np.unpackbits(bits, axis=1).view(np.int8)
    signs *= 2
    signs -= 1  # -1 and 1
    queries = rng.choice(np.array([-1, 1], np.int8), size=(QUERIES, dimensions))

    begun = time.perf_counter()
    index = rsrc.matrix(signs)
    print(f"{'compiled in':32} {time.perf_counter() - begun:9.1f} s")
    scores = best_of_3("rsrc, 1 query a call", lambda: np.stack([index @ query for query in queries]))
    together = best_of_3(f"rsrc, {QUERIES} queries a call", lambda: (index @ queries.T).T)
    assert (scores == together).all()
    wide = signs.astype(np.float32)
    want = best_of_3("NumPy, float32", lambda: queries.astype(np.float32) @ wide.T)
    print("scores equal NumPy's:", bool((scores == want).all()))
    try:
        import faiss
    except ImportError:
        print("faiss is not there: pip install faiss-cpu")
        return
    faiss.omp_set_num_threads(1)
    other = faiss.IndexBinaryFlat(dimensions)
    other.add(bits)
    distances, _ = best_of_3("faiss, IndexBinaryFlat", lambda: other.search(np.packbits(queries > 0, axis=1), K))
    best = np.take_along_axis(scores, largest(scores), 1)
    print(f"the {K} best scores equal faiss's:", bool((dimensions - 2 * distances == best).all()))


if __name__ == "__main__":
    main()
