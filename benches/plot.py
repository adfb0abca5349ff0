#!/usr/bin/env python3
"""Draws docs/performance.svg from docs/performance.json, which `cargo bench -- --write` makes.

    python3 benches/plot.py [IN.json [OUT.svg]]

Left: orders per second on one hot sale, by connections (both axes logarithmic; the line joins
medians, the whisker is lowest to highest). Right: each bar of the table, as measured / bar, so that
everything right of the line is met. Only the standard library is used.
"""

import json
import math
import sys
from html import escape
from pathlib import Path
from statistics import median

WIDTH, HEIGHT = 1280, 640
LEFT = {"x": 70, "y": 56, "w": 470, "h": 500}
RIGHT = {"x": 990, "y": 56, "w": 250, "h": 500}
# Colours that differ for the colour-blind too (Okabe and Ito).
LINES = [
    ("grouped", "#d55e00"),
    ("groups of 256 without HTTP", "#e69f00"),
    ("pgbench, one function call", "#0072b2"),
    ("pgbench, same statements", "#56b4e9"),
    ("pessimistic", "#009e73"),
    ("optimistic", "#cc79a7"),
    ("echo", "#777777"),
]


def text(x, y, words, size=12, anchor="start", weight="normal", fill="#222"):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'font-weight="{weight}" fill="{fill}">{escape(words)}</text>'
    )


def line(x1, y1, x2, y2, stroke="#ddd", width=1.0, dash=""):
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}" '
        f'stroke-width="{width}"{dashed}/>'
    )


def by_connections(rows, who):
    """Connections to the rates of all rounds."""
    found = {}
    for row in rows:
        rate = row["per_second"]
        if row["section"] == "hot" and row["who"] == who and rate:
            found.setdefault(row["connections"], []).append(rate)
    return dict(sorted(found.items()))


def rates(rows):
    """The left half."""
    series = [(who, colour, by_connections(rows, who)) for who, colour in LINES]
    series = [entry for entry in series if entry[2]]
    if not series:
        return [text(LEFT["x"], LEFT["y"], "The section hot was not measured.")]
    every = [rate for _, _, points in series for some in points.values() for rate in some]
    low = 10 ** math.floor(math.log10(min(every)))
    high = 10 ** math.ceil(math.log10(max(every)))

    def across(connections):
        return LEFT["x"] + LEFT["w"] * math.log2(connections) / 10

    def up(rate):
        share = (math.log10(rate) - math.log10(low)) / (math.log10(high) - math.log10(low))
        return LEFT["y"] + LEFT["h"] * (1 - share)

    out = [text(LEFT["x"], 30, "Orders per second on one hot sale", 15, weight="bold")]
    step = low
    while step <= high:
        out.append(line(LEFT["x"], up(step), LEFT["x"] + LEFT["w"], up(step)))
        out.append(text(LEFT["x"] - 8, up(step) + 4, f"{step:,.0f}", anchor="end"))
        step *= 10
    for connections in (1, 4, 16, 64, 256, 1024):
        out.append(text(across(connections), LEFT["y"] + LEFT["h"] + 20, f"{connections:,}",
                        anchor="middle"))
    out.append(text(LEFT["x"] + LEFT["w"] / 2, LEFT["y"] + LEFT["h"] + 42,
                    "connections (sessions, where there is no HTTP)", anchor="middle"))
    ends = []
    for who, colour, points in series:
        middles = [(across(count), up(median(some)), some) for count, some in points.items()]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in middles)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y, some in middles:
            out.append(line(x, up(min(some)), x, up(max(some)), colour, 1.5))
            out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>')
        ends.append((middles[-1][1], middles[-1][0], who, colour))
    return out + names(sorted(ends))


def names(ends):
    """Names beside the lines' ends, moved apart where they would meet."""
    out, lowest = [], 0.0
    x = LEFT["x"] + LEFT["w"] + 14
    for y, end, who, colour in ends:
        place = max(y, lowest + 16)
        lowest = place
        out.append(line(end + 5, y, x - 3, place, colour, 0.6, "2 3"))
        out.append(text(x, place + 4, who, 11, fill=colour))
    return out


def kept(bar):
    """How far a value is beyond its bar: 1 is the bar itself, more is better."""
    value, bound = bar["value"], bar["bar"]
    if value is None or bound is None:
        return None
    if "at_least" in bound:
        return value / bound["at_least"]
    # None failed of none allowed is as good as it gets.
    return bound["at_most"] / value if value and bound["at_most"] else (0.1 if value else 4.0)


def bars(found):
    """The right half."""
    out = [text(RIGHT["x"], 30, "Measured / bar (right of the line: met)", 15, "middle", "bold")]
    shown = [(bar, kept(bar)) for bar in found]
    shown = [(bar, share) for bar, share in shown if share is not None]
    if not shown:
        return out + [text(RIGHT["x"], RIGHT["y"], "Nothing with a bar was measured.")]

    def across(share):
        place = math.log2(min(max(share, 0.25), 4.0))
        return RIGHT["x"] + RIGHT["w"] * (place + 2) / 4

    for share, name in ((0.25, "¼"), (0.5, "½"), (1, "bar"), (2, "2"), (4, "4")):
        strong = share == 1
        out.append(line(across(share), RIGHT["y"], across(share), RIGHT["y"] + RIGHT["h"],
                        "#222" if strong else "#ddd", 1.5 if strong else 1))
        out.append(text(across(share), RIGHT["y"] + RIGHT["h"] + 20, name, anchor="middle"))
    height = RIGHT["h"] / len(shown)
    for at, (bar, share) in enumerate(shown):
        y = RIGHT["y"] + height * (at + 0.5)
        colour = "#009e73" if share >= 1 else "#d55e00"
        start, end = sorted((across(1), across(share)))
        out.append(f'<rect x="{start:.1f}" y="{y - height * 0.3:.1f}" '
                   f'width="{max(end - start, 1.5):.1f}" height="{height * 0.6:.1f}" '
                   f'fill="{colour}"/>')
        out.append(text(RIGHT["x"] - 8, y, short(bar["measure"]), 10.5, "end"))
        value = f'{bar["value"]:,.2f}'.rstrip("0").rstrip(".")
        out.append(text(RIGHT["x"] - 8, y + 11, f'{value} {bar["unit"]}', 9.5, "end", fill="#666"))
    return out


def short(words, most=42):
    words = words.replace("pgbench's best rate with one function call", "pgbench, one call")
    words = words.replace(", 256 connections", " × 256").replace(", 1,024 connections", " × 1,024")
    words = words.replace("`", "")
    return words if len(words) <= most else words[: most - 1] + "…"


def draw(run):
    made = dict(run["settings"])
    foot = (f'{made.get("date (UTC)", "")} UTC, commit {made.get("commit", "?")}, '
            f'PostgreSQL {made.get("PostgreSQL", "?")}, fsync {made.get("fsync", "?")}, '
            f'{made.get("cores, shared by database, service and load", "?")} cores for everything. '
            f'{run["command"]}')
    body = rates(run["rows"]) + bars(run["bars"])
    body.append(text(LEFT["x"], HEIGHT - 14, foot, 10.5, fill="#666"))
    return "\n".join(
        [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
         f'font-family="system-ui, sans-serif" role="img" '
         f'aria-label="Orders per second by connections, and what was promised">',
         f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'] + body + ["</svg>", ""]
    )


def main():
    docs = Path(__file__).resolve().parent.parent / "docs"
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else docs / "performance.json"
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else source.with_suffix(".svg")
    target.write_text(draw(json.loads(source.read_text())), encoding="utf-8")
    print(f"drawn to {target}")


if __name__ == "__main__":
    main()
