#!/usr/bin/env python3
"""usage: ranks.py [--svg FILE] [--kernel-gbps G] [--dollars D]

Simulates rsr-mpi, with rows shared out and with layers (--pipeline): tokens per second and cost over ranks, latency
and bandwidth, for models of 2 to 100 billion weights and up to a thousand machines. Prints tables; --svg draws those
of rows (needs matplotlib).

Assumptions:
 1. A token reads every weight once, at 1.6 bits. A machine's kernels read 33 GB/s, as those of two cores of a Zen 4
    were measured to (RESULTS.md; --kernel-gbps). Picks read a sketch of the head's rows, 4.5 bits a weight.
 2. What every rank computes itself (norms, quantisation, activations) takes 2 ns an element of the residual stream and
    0.7 ns an element of the FFN in each layer: together 10 us with 2048 and 8192 elements, where 9.6 us were measured,
    by one thread on a busy machine.
 3. Rows are shared out in tiles of 384, so the slowest rank has ceil(tiles / N) of them. KV heads are whole, too.
 4. An exchange among N ranks takes ceil(log2 N) times the latency, and the time in which a link carries the other ranks'
    parts. A token has 4 gathers a layer, one message, and two small ones for its pick.
 5. Nothing else delays a rank: no jitter. With N ranks the slowest of N decides, so real clusters are slower.
 6. Attention is left out (short contexts). With long ones, each rank attends with its KV heads alone.
 7. In a pipeline of N ranks, a token passes N - 1 times one row of the residual stream on, and takes 4 small exchanges:
    rank 0's message and the answer. Texts in flight wait for the busiest rank alone; the head counts as layers of the
    last one.
 8. A machine costs --dollars an hour (0.20), busy or not. Replicas: N machines give N texts at the speed of one.
"""
import argparse
import math
import sys

# Billions of weights: layers, hidden size, FFN, KV heads, vocabulary. Up to 10 B they are published shapes.
SHAPES = {
    "2B": (30, 2560, 6912, 5, 128256),
    "8B": (32, 4096, 14336, 8, 128256),
    "10B": (40, 3072, 23040, 4, 131072),
    "30B": (60, 6144, 20480, 8, 128256),
    "100B": (96, 9216, 32768, 16, 128256),
}
# Latency in us of a message, and GB/s of a link.
NETWORKS = {"shared memory": (1.5, 20.0), "InfiniBand": (3.0, 12.0), "10 GbE": (20.0, 1.2), "1 GbE": (100.0, 0.12)}
RANKS = [1, 2, 4, 8, 16, 64, 256, 1000]
TILE_ROWS = 384


def layer_matrices(shape):
    """Rows and columns of a layer: q, k and v, o, gate and up, down."""
    _, hidden, ffn, kv_heads, _ = shape
    return [(hidden, hidden), (2 * kv_heads * 128, hidden), (hidden, hidden), (2 * ffn, hidden), (hidden, ffn)]


def weights(shape):
    return shape[0] * sum(rows * cols for rows, cols in layer_matrices(shape))


def slowest_part(rows, ranks):
    tiles = math.ceil(rows / TILE_ROWS)
    return math.ceil(tiles / ranks) / tiles


def exchange(total_bytes, ranks, network):
    """Seconds of a gather, or of a message."""
    latency, gbps = NETWORKS[network]
    if ranks == 1:
        return 0.0
    return math.ceil(math.log2(ranks)) * latency * 1e-6 + total_bytes * (ranks - 1) / ranks / (gbps * 1e9)


def token_seconds(shape, ranks, network, kernel_gbps):
    layers, hidden, ffn, _, vocab = shape
    read = sum(rows * cols * 1.6 / 8 * slowest_part(rows, ranks) for rows, cols in layer_matrices(shape))
    head = vocab * hidden * 4.5 / 8 / ranks
    own = (hidden * 2.0 + ffn * 0.7) * 1e-9
    gathers = sum(exchange(4 * n, ranks, network) for n in (hidden, hidden, 2 * ffn, hidden))
    return (layers * (read / (kernel_gbps * 1e9) + own + gathers) + head / (kernel_gbps * 1e9) +
            3 * exchange(1024, ranks, network))


def pipeline_seconds(shape, ranks, network, kernel_gbps):
    """Seconds of a token of one text, and of the busiest rank."""
    layers, hidden, ffn, _, vocab = shape
    layer = weights(shape) / layers * 1.6 / 8 / (kernel_gbps * 1e9) + (hidden * 2.0 + ffn * 0.7) * 1e-9
    head = vocab * hidden * 4.5 / 8 / (kernel_gbps * 1e9)
    head_layers = min(int(head / layer), layers)
    of_last = (layers + head_layers) // ranks - head_layers  # of equal shares, the last one of which has the head
    if ranks == 1:
        busiest = layers * layer + head
    elif of_last >= 1:
        busiest = max(math.ceil((layers + head_layers) / ranks) * layer, of_last * layer + head)
    else:
        busiest = max(math.ceil((layers - 1) / (ranks - 1)) * layer, layer + head)
    passed = (ranks - 1) * exchange(4 * hidden, ranks, network) + 4 * exchange(1024, ranks, network)
    return layers * layer + head + passed, busiest


def best(shape, network, kernel_gbps):
    return min(range(1, 1001), key=lambda n: token_seconds(shape, n, network, kernel_gbps))


def pipeline_cell(shape, ranks, network, options):
    token, busiest = pipeline_seconds(shape, ranks, network, options.kernel_gbps)
    layers = math.ceil(shape[0] / ranks) / shape[0]
    return (f"{ranks} ranks {1 / token:.1f}, {1 / busiest:.1f} ({ranks * options.dollars / 3600 * busiest * 1e6:.0f}; "
            f"{weights(shape) * 1.6 / 8 * layers * 1e-9:.1f})")


def print_tables(options):
    print(__doc__.split("\n\n", 2)[2])
    for network in NETWORKS:
        latency, gbps = NETWORKS[network]
        print(f"\n{network}: {latency:g} us, {gbps:g} GB/s: tokens/s of one text (dollars for a million tokens)")
        print("      " + "".join(f"{n:>16} " for n in RANKS) + "   best")
        for name, shape in SHAPES.items():
            cells = ""
            for n in RANKS:
                speed = 1 / token_seconds(shape, n, network, options.kernel_gbps)
                cells += f"{speed:8.1f} ({n * options.dollars / 3600 / speed * 1e6:5.0f})  "
            n = best(shape, network, options.kernel_gbps)
            gain = token_seconds(shape, 1, network, options.kernel_gbps) / \
                token_seconds(shape, n, network, options.kernel_gbps)
            print(f"{name:>5} {cells} {n} ranks: {gain:.1f} x")
    for network in NETWORKS:
        print(f"\nPipeline, {network}: tokens/s of one text, of all texts when all ranks are busy "
              "(dollars for a million tokens; GB of layers a machine)")
        for name, shape in SHAPES.items():
            print(f"{name:>5} " + "  ".join(pipeline_cell(shape, n, network, options) for n in RANKS if n <= shape[0]))
    print("\nReplicas: N machines give N times the tokens/s of the first column in all, at its cost.")


def draw(options):
    try:
        import matplotlib
    except ImportError:
        sys.exit("ranks.py: --svg needs matplotlib (Debian: python3-matplotlib)")
    matplotlib.use("svg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(2, len(NETWORKS), figsize=(16, 7), sharex=True)
    ns = sorted({round(10 ** (e / 20)) for e in range(61)})
    for i, network in enumerate(NETWORKS):
        for name, shape in SHAPES.items():
            speeds = [1 / token_seconds(shape, n, network, options.kernel_gbps) for n in ns]
            axes[0][i].loglog(ns, speeds, label=name)
            axes[1][i].loglog(ns, [n * options.dollars / 3600 / s * 1e6 for n, s in zip(ns, speeds)])
        axes[0][i].set_title(network)
        axes[1][i].set_xlabel("ranks")
    axes[0][0].set_ylabel("tokens/s of one text")
    axes[1][0].set_ylabel("dollars for a million tokens")
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(options.svg, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--svg", metavar="FILE", help="draw the tables")
    parser.add_argument("--kernel-gbps", type=float, default=33.0, metavar="G", help="GB/s of a machine's kernels (33)")
    parser.add_argument("--dollars", type=float, default=0.20, metavar="D", help="cost of a machine's hour (0.20)")
    options = parser.parse_args()
    print_tables(options)
    if options.svg:
        draw(options)


if __name__ == "__main__":
    main()
