"""Validation as a page: one self-contained HTML file with the tables and the course of the main counters."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from pymem.validation.table import by_recording, by_sweep, error_text, in_order, share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymem.validation.recording import Recording
    from pymem.validation.runner import Replay
    from pymem.validation.score import Pair
    from pymem.validation.sweeps import Order

#: Counters whose course is drawn; counts from the first access, levels (nr_*) as they are.
DRAWN = (
    "pgmajfault", "pswpout", "pgsteal_anon", "pgsteal_file", "workingset_refault_anon", "workingset_refault_file",
    "pgactivate", "nr_free_pages", "nr_active_anon", "nr_inactive_anon", "nr_active_file", "nr_inactive_file",
)  # fmt: skip
WIDTH, HEIGHT, LEFT, BOTTOM = 300, 120, 44, 18

STYLE = """
:root { color-scheme: light dark; --fg: #1b1f24; --bg: #fff; --dim: #667; --line: #d5d9de; --kernel: #888;
  --sim: #0b66c3; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --fg: #e6e8eb; --bg: #14171a; --dim: #9aa3ad; --line: #363c43;
  --kernel: #8b949e; --sim: #5aa9ff; --bad: #ff7b72; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--fg); background: var(--bg); margin: 0 auto;
  max-width: 72rem; padding: 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .15rem .6rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
tr.wrong td { color: var(--bad); font-weight: 600; }
details { border-bottom: 1px solid var(--line); padding: .4rem 0; }
summary { cursor: pointer; } summary b { margin-right: .8rem; }
.plots { display: flex; flex-wrap: wrap; gap: .6rem 1rem; margin: .6rem 0; }
.scroll { overflow-x: auto; } figure { margin: 0; } figcaption { font-size: .85rem; color: var(--dim); }
svg text { font-size: 10px; fill: var(--dim); } svg .axis { stroke: var(--line); }
svg .kernel { stroke: var(--kernel); stroke-width: 4; opacity: .55; fill: none; }
svg .sim { stroke: var(--sim); stroke-width: 1.6; fill: none; }
.key span { display: inline-block; width: 1.6rem; height: 0; vertical-align: middle; margin: 0 .3rem 0 1rem; }
"""


def plot(counter: str, kernel: dict[str, list[float]], simulated: dict[str, list[float]]) -> str:
    """One small figure: the recorded course, thick, and the simulated one over it; empty if there is nothing."""
    if counter not in kernel or counter not in simulated:
        return ""

    def course(series: dict[str, list[float]]) -> list[tuple[float, float]]:
        base = 0 if counter.startswith("nr_") else series[counter][0]
        return [(a, y - base) for a, y in zip(series["access"], series[counter], strict=False)]

    lines = {"kernel": course(kernel), "sim": course(simulated)}
    right = max(x for line in lines.values() for x, _ in line) or 1
    top = max(y for line in lines.values() for _, y in line)
    if top <= 0:
        return ""
    paths = []
    for name, line in lines.items():
        points = " ".join(
            f"{LEFT + x / right * (WIDTH - LEFT - 4):.1f},{4 + (1 - y / top) * (HEIGHT - BOTTOM - 4):.1f}"
            for x, y in line
        )
        paths.append(f'<polyline class="{name}" points="{points}"/>')
    floor = HEIGHT - BOTTOM
    return (
        f'<figure><figcaption>{counter}</figcaption>'
        f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{counter} over the accesses">'
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH}" y1="{floor}" y2="{floor}"/>'
        f'<text x="{LEFT - 4}" y="12" text-anchor="end">{top:,.0f}</text>'
        f'<text x="{LEFT - 4}" y="{floor}" text-anchor="end">0</text>'
        f'<text x="{WIDTH}" y="{HEIGHT - 4}" text-anchor="end">{right:,.0f} accesses</text>'
        f"{''.join(paths)}</svg></figure>"
    )


def sweep_section(orders: Sequence[Order]) -> str:
    """What differs between settings, by sweep, and what lies otherwise than in the kernel; empty without a sweep."""
    if not orders:
        return ""
    parts = [
        f"<h2>Sweeps</h2><p><b>{in_order(orders)}</b> clear differences between two settings for the same accesses "
        "have the direction they have in the kernel.</p>"
    ]
    for sweep, mine in by_sweep(orders).items():
        rows = "".join(
            f"<tr{'' if o.right else ' class=wrong'}><td>{o.counter}<td>{escape(o.lower)}<td>{o.kernel[0]:,.0f}"
            f"<td>{o.simulated[0]:,.0f}<td>{escape(o.higher)}<td>{o.kernel[1]:,.0f}<td>{o.simulated[1]:,.0f}</tr>"
            for o in sorted(mine, key=lambda o: o.right)
        )
        parts.append(
            f"<details><summary><b>as {escape(sweep)}</b>{in_order(mine)}</summary><div class='scroll'><table>"
            "<tr><th>counter<th>less in<th>kernel, most<th>simulated<th>more in<th>kernel, least<th>simulated</tr>"
            f"{rows}</table></div></details>"
        )
    return "\n".join(parts)


def page(
    pairs: Sequence[Pair], replays: Sequence[Replay], recordings: Sequence[Recording], orders: Sequence[Order] = ()
) -> str:
    """The page as text."""
    recorded = {r.label: r for r in recordings}
    simulated = {r.label: r for r in replays}
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'><title>pymem validation</title>"
        f"<style>{STYLE}</style><h1>The simulator against recorded kernel runs</h1>"
        f"<p><b>{share(pairs)}.</b> Policy counters are right inside the kernel's own range over the runs of a "
        "scenario widened by 3&nbsp;%, timing counters inside it widened by a factor of 2, both within 64 events.</p>"
        "<p class='key'><span style='border-top:4px solid var(--kernel)'></span>recorded kernel"
        "<span style='border-top:2px solid var(--sim)'></span>simulated</p>"
    ]  # fmt: skip
    for label, mine in by_recording(pairs).items():
        rows = "".join(
            f"<tr{'' if p.right else ' class=wrong'}><td>{p.counter}<td>{p.kind}<td>{p.kernel[0]:,.0f}"
            f"<td>{p.kernel[1]:,.0f}<td>{p.simulated:,.0f}<td>{escape(error_text(p))}</tr>"
            for p in mine
        )
        course = recorded[label].data.get("series", {}) if label in recorded else {}
        plots = "".join(plot(c, course, simulated[label].series) for c in DRAWN) if label in simulated else ""
        parts.append(
            f"<details><summary><b>{escape(label)}</b>{share(mine)}</summary><div class='plots'>{plots}</div>"
            "<div class='scroll'><table><tr><th>counter<th>kind<th>kernel, lowest<th>highest<th>simulated"
            f"<th>outside by</tr>{rows}</table></div></details>"
        )
    parts.append(sweep_section(orders))
    left = [r for r in replays if r.left_out]
    parts += [f"<p>{escape(r.label)}: left out, {escape(r.left_out)}.</p>" for r in left]
    return "\n".join(parts) + "\n</html>\n"
