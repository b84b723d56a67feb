"""usage: louver_report.py RESULTS SVG: makes Markdown tables and a drawing of results of rsr-bench
attention.

RESULTS has one JSON object a line. The drawing has time over the context above, the scanned fractions below.
"""
import itertools
import json
import math
import sys

WIDTH, HEIGHT, LEFT, TOP = 420, 260, 70, 40
COLOURS = ("#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad")


def kind_of(r):
    return r["data"], r["threshold"], r["context"]


def table(title, key, rows):
    print(f"| {title} | dense ms | index ms | speed-up | search ms | all keys ms | scanned | plane 2 | exact | oracle | pages skipped "
          "| bytes read | misses | error, certified | append us | bytes a key | dense GB/s of |")
    print("|" + "---|" * 17)
    for r in rows:
        search, all_keys = (f"{r[key] / 1e3:.2f}" if key in r else "" for key in ("search_us", "all_keys_us"))
        certified = "none" if r["certified_error"] is None else f"{r['certified_error']:.2g}"
        oracle = f"{r['oracle_fraction']:.4f}" if "oracle_fraction" in r else ""
        print(f"| {r[key]} | {r['dense_us'] / 1e3:.2f} | {r['louver_us'] / 1e3:.2f} "
              f"| {r['speedup']:.2f}{'' if r['speedup_counts'] else ' (does not count)'} | {search} | {all_keys} "
              f"| {r['scanned_fraction']:.3f} | {r['plane2_fraction']:.4f} | {r['exact_fraction']:.4f} | {oracle} "
              f"| {r['page_skip_rate']:.3f} | {r['bytes_read_ratio']:.3f} | {r['misses']} "
              f"| {r['max_output_error']:.2g}, {certified} | {r['append_us']:.1f} "
              f"| {r['index_bytes_per_token']:.1f} "
              f"| {r['dense_read_gbps']:.1f} of {r['dram_gbps']:.1f} |")


class Panel:
    """Axes with both scales logarithmic; values are clipped to the range of y."""

    def __init__(self, column, row, title, contexts, low, high):
        self.x0, self.y0 = LEFT + column * (WIDTH + 110), TOP + row * (HEIGHT + 90)
        self.contexts, self.low, self.high = contexts, low, high
        self.parts = [f'<rect x="{self.x0}" y="{self.y0}" width="{WIDTH}" height="{HEIGHT}" '
                      f'fill="none" stroke="#888"/>',
                      f'<text x="{self.x0}" y="{self.y0 - 10}" font-weight="bold">{title}</text>']
        for context in contexts:
            self.parts.append(f'<text x="{self.x(context):.1f}" y="{self.y0 + HEIGHT + 18}" '
                              f'text-anchor="middle">{context // 1024}k</text>')
        for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1):
            y = self.y(10 ** power)
            self.parts.append(f'<line x1="{self.x0}" x2="{self.x0 + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" '
                              f'stroke="#ddd"/><text x="{self.x0 - 6}" y="{y + 4:.1f}" '
                              f'text-anchor="end">{10 ** power:g}</text>')

    def x(self, context):
        first, last = math.log(self.contexts[0]), math.log(self.contexts[-1])
        return self.x0 + 20 + (WIDTH - 40) * (math.log(context) - first) / ((last - first) or 1)

    def y(self, value):
        value = min(max(value, self.low), self.high)
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return self.y0 + HEIGHT - HEIGHT * part

    def line(self, rows, key, factor, colour, label, dashed=False, below=False):
        points = [(self.x(r["context"]), self.y(r[key] * factor)) for r in rows]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" '
                          f'stroke-width="2"{dash}/>')
        x, y = points[-1]
        self.parts.append(f'<text x="{x - 4:.1f}" y="{y + (16 if below else -6):.1f}" text-anchor="end" '
                          f'fill="{colour}">{label}</text>')


def draw(results, path):
    contexts = sorted({r["context"] for r in results})
    times = [r[key] / 1e3 for r in results for key in ("dense_us", "louver_us")]
    low, high = min(times) / 1.5, max(times) * 1.5
    parts = []
    for column, data in enumerate(dict.fromkeys(r["data"] for r in results)):
        time = Panel(column, 0, f"{data}: ms a layer", contexts, low, high)
        read = Panel(column, 1, f"{data}: part of the keys, first plane and (dashed) second", contexts,
                     1e-3, 2.0)
        of_data = [r for r in results if r["data"] == data]
        thresholds = list(dict.fromkeys(r["threshold"] for r in of_data))
        first = [r for r in of_data if r["threshold"] == thresholds[0]]
        time.line(first, "dense_us", 1e-3, "#555", "dense", below=True)
        for threshold, colour in zip(thresholds, itertools.cycle(COLOURS)):
            rows = [r for r in of_data if r["threshold"] == threshold]
            time.line(rows, "louver_us", 1e-3, colour, threshold)
            read.line(rows, "scanned_fraction", 1.0, colour, threshold)
            read.line(rows, "plane2_fraction", 1.0, colour, "", dashed=True)
        parts += time.parts + read.parts
    width, height = 2 * (WIDTH + 110), 2 * (HEIGHT + 90)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
                   f'font-family="sans-serif" font-size="12">\n'
                   f'<rect width="{width}" height="{height}" fill="white"/>\n' +
                   "\n".join(parts) + "\n</svg>\n")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        results = [json.loads(line) for line in file]
    cascade = sorted((r for r in results if r["index"] == "cascade"), key=lambda r: r["context"])
    if not cascade:
        sys.exit("louver_report.py: nothing was measured")
    for data, threshold in dict.fromkeys((r["data"], r["threshold"]) for r in cascade):
        print(f"\n{data}, {threshold}\n")
        table("keys", "context", [r for r in cascade if (r["data"], r["threshold"]) == (data, threshold)])
    others = [r for r in results if r["index"] != "cascade"]
    for key in dict.fromkeys(kind_of(r) for r in others):
        print(f"\n{key[0]}, {key[1]}, {key[2]} keys, by index\n")
        table("index", "index", [r for r in results if kind_of(r) == key])
    draw(cascade, sys.argv[2])


if __name__ == "__main__":
    main()
