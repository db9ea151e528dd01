"""Validation in the terminal and as JSON: pairs, scores, and what was left out."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from pymem.validation.runner import Replay
    from pymem.validation.score import Pair
    from pymem.validation.sweeps import Order


def scored(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs that count."""
    return [pair for pair in pairs if not pair.empty]


def by_recording(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """Pairs that say something, by the label of their recording, in order."""
    out: dict[str, list[Pair]] = {}
    for pair in scored(pairs):
        out.setdefault(pair.recording, []).append(pair)
    return out


def share(pairs: Sequence[Pair]) -> str:
    """``"33 of 34 right (97.1 %)"``."""
    pairs = scored(pairs)
    right = sum(pair.right for pair in pairs)
    return f"{right} of {len(pairs)} right ({100 * right / len(pairs):.1f} %)" if pairs else "nothing to compare"


def error_text(pair: Pair) -> str:
    """How far outside the kernel's range, or nothing."""
    if not pair.error:
        return ""
    return f"{pair.error:+.1%}" if abs(pair.error) < 10 else f"x{pair.error + 1:.0f}"


def in_order(orders: Sequence[Order]) -> str:
    """``"227 of 229"``: differences between settings that lie as in the kernel."""
    return f"{sum(order.right for order in orders)} of {len(orders)}"


def by_sweep(orders: Sequence[Order]) -> dict[str, list[Order]]:
    """The differences by sweep."""
    out: dict[str, list[Order]] = {}
    for order in orders:
        out.setdefault(order.sweep, []).append(order)
    return out


def render(
    pairs: Sequence[Pair], replays: Sequence[Replay], every: bool = True, orders: Sequence[Order] = ()
) -> list[RenderableType]:
    """Tables per recording, then the scores and sweeps. With `every` false only the pairs that are wrong are listed."""
    from rich.table import Table
    from rich.text import Text

    out: list[RenderableType] = []
    for label, mine in by_recording(pairs).items():
        out.append(Text.assemble((f"\n{label}", "bold"), f"  {share(mine)}"))
        shown = [pair for pair in mine if every or not pair.right]
        if not shown:
            continue
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("counter")
        for title in ("kernel, lowest", "highest", "simulated", "outside by", ""):
            table.add_column(title, justify="right")
        for pair in shown:
            table.add_row(
                pair.counter, f"{pair.kernel[0]:,.0f}", f"{pair.kernel[1]:,.0f}", f"{pair.simulated:,.0f}",
                error_text(pair), "" if pair.right else "wrong", style=None if pair.right else "red",
            )  # fmt: skip
        out.append(table)
    out.append(Text("\nScores", style="bold"))
    scores = Table(box=None, pad_edge=False, header_style="bold")
    scores.add_column("what")
    scores.add_column("right", justify="right")
    for label, mine in by_recording(pairs).items():
        scores.add_row(label, share(mine))
    for kind in ("policy", "timing", "exact"):
        mine = [pair for pair in pairs if pair.kind == kind]
        if mine:
            scores.add_row(f"all {kind} counters", share(mine), style="bold")
    scores.add_row("everything", share(pairs), style="bold")
    out.append(scores)
    if orders:
        out += _sweep_table(orders)
    missing = Counter(replay.left_out for replay in replays if replay.left_out)
    out += [Text(f"{n} recordings left out: {why}.", style="dim") for why, n in missing.items()]
    return out


def _sweep_table(orders: Sequence[Order]) -> list[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    sums = Table(box=None, pad_edge=False, header_style="bold")
    sums.add_column("same accesses as")
    sums.add_column("differences between settings as recorded", justify="right")
    for sweep, mine in by_sweep(orders).items():
        sums.add_row(sweep, in_order(mine))
    sums.add_row("every sweep", in_order(orders), style="bold")
    wrong = [
        Text(
            f"{o.counter}: the kernel counts less in {o.lower} ({o.kernel[0]:,.0f}) than in {o.higher} "
            f"({o.kernel[1]:,.0f}), simulated {o.simulated[0]:,.0f} and {o.simulated[1]:,.0f}", style="red",
        )
        for o in orders if not o.right
    ]  # fmt: skip
    return [Text("\nSweeps", style="bold"), sums, *wrong]


def to_json(pairs: Sequence[Pair]) -> str:
    """A JSON array with one object per pair."""
    return "[\n" + ",\n".join(json.dumps(pair.to_dict()) for pair in pairs) + "\n]\n"
