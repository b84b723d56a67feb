"""usage: louver_picture.py COUNTS.csv OUT.svg: draws the part of keys that the KV index reads over the spread of a head's
logits, and the bytes beside dense attention's. README's picture is

    python3 tests/bench/louver_picture.py tests/bench/louver_counts.csv examples/louver.svg
"""
import sys

from louver_sweep import load, sigma_of

CONTEXT = "16384"
WIDTH, HEIGHT, GAP = 330, 250, 90  # of a panel
LEFT, TOP = 52, 46
LOW, HIGH = 1.0, 6.0  # sigma
FORMS = "rope,outliers=4,topics=16"

# Colours as in the pages of reports; light and dark.
STYLE = """
svg { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color-scheme: light dark;
    --paper: #ffffff; --ink: #1c2127; --soft: #5a6470; --line: #dfe2e6; --band: #f0f2f4;
    --a: #2468b0; --b: #cf7a1c; --c: #1a8a6a; --d: #a04d86; }
@media (prefers-color-scheme: dark) { svg { --paper: #171a1f; --ink: #e9ebee; --soft: #9ba5b0; --line: #31373f;
    --band: #20252b; --a: #68abec; --b: #eda254; --c: #4fc3a1; --d: #d58cc0; } }
text { fill: var(--ink); } .quiet { fill: var(--soft); } .title { font-weight: 600; }
.grid { stroke: var(--line); } .band { fill: var(--band); } .paper { fill: var(--paper); }
polyline { fill: none; stroke-width: 2; } .dashed { stroke-dasharray: 5 4; stroke-width: 1.5; }
"""


class Panel:
    """Sigma to the right, 0 to 110 % upwards."""

    def __init__(self, column, title):
        self.left, self.n_labels = LEFT + column * (WIDTH + GAP), 0
        bottom = TOP + HEIGHT
        self.parts = [f'<rect class="band" x="{self.x(3.5):.1f}" y="{TOP}" width="{self.x(5) - self.x(3.5):.1f}" '
                      f'height="{HEIGHT}"/>',
                      f'<text class="title" x="{self.left}" y="{TOP - 24}">{title}</text>',
                      f'<line class="grid" x1="{self.x(2.25):.1f}" x2="{self.x(2.25):.1f}" y1="{TOP}" y2="{bottom}"/>']
        for text, sigma, anchor in (("N(0, 1)", 1, "start"), ("mean head", 2.25, "middle"), ("sharp heads", 4.25, "middle")):
            self.parts.append(f'<text class="quiet" x="{self.x(sigma):.1f}" y="{TOP - 6}" text-anchor="{anchor}">{text}</text>')
        for sigma in range(1, 7):
            self.parts.append(f'<text class="quiet" x="{self.x(sigma):.1f}" y="{bottom + 16}" text-anchor="middle">{sigma}</text>')
        self.parts.append(f'<text class="quiet" x="{self.left + WIDTH}" y="{bottom + 32}" text-anchor="end">'
                          "spread of a head's logits, sigma</text>")
        for part in range(0, 101, 25):
            y = self.y(part / 100)
            self.parts.append(f'<line class="grid" x1="{self.left}" x2="{self.left + WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
                              f'<text class="quiet" x="{self.left - 6}" y="{y + 4:.1f}" text-anchor="end">{part} %</text>')

    def x(self, sigma):
        return self.left + WIDTH * (sigma - LOW) / (HIGH - LOW)

    def y(self, part):
        return TOP + HEIGHT * (1 - part / 1.1)

    def line(self, rows, name, colour, label=None, dashed=False):
        """Labels are a list at the right end of the panel's top, in the colour of their lines."""
        points = sorted((sigma_of(row["data"])[0], float(row[name])) for row in rows)
        path = " ".join(f"{self.x(sigma):.1f},{self.y(min(part, 1.1)):.1f}" for sigma, part in points)
        kind = ' class="dashed"' if dashed else ""
        self.parts.append(f'<polyline{kind} points="{path}" style="stroke: var(--{colour})"/>')
        if label:
            y = TOP + 36 + 16 * self.n_labels
            self.parts.append(f'<text x="{self.left + WIDTH - 6}" y="{y}" text-anchor="end" style="fill: var(--{colour})">'
                              f'{label}</text>')
            self.n_labels += 1


def draw(rows):
    def of(threshold, kv_type, forms=""):
        return [row for row in rows if (row["context"], row["threshold"], row["kv_type"]) == (CONTEXT, threshold, kv_type)
                and sigma_of(row["data"])[1] == forms]

    read = Panel(0, f"Keys read, of {int(CONTEXT):,}; dashed: an oracle")
    for threshold, colour in (("mass:1e-2", "a"), ("mass:0.1", "b"), ("error:0.1", "c")):
        read.line(of(threshold, "bf16"), "keys_read", colour, threshold)
        read.line(of(threshold, "bf16"), "oracle", colour, dashed=True)
    read.line(of("mass:0.1", "bf16", FORMS), "keys_read", "d", "mass:0.1, RoPE")
    size = Panel(1, "Bytes read beside dense, mass:0.1")
    for kv_type, colour in (("int8", "a"), ("bf16", "b"), ("f32", "c")):
        size.line(of("mass:0.1", kv_type), "bytes", colour, kv_type)
    width, height = LEFT + 2 * WIDTH + GAP + 14, TOP + HEIGHT + 44
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            f'role="img" aria-label="What the KV index reads"><style>{STYLE}</style>\n'
            f'<rect class="paper" width="{width}" height="{height}"/>\n' + "\n".join(read.parts + size.parts) + "\n</svg>\n")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(draw(load(sys.argv[1])))


if __name__ == "__main__":
    main()
