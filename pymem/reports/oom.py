"""The same scenario under several OOM policies, side by side: who died, what that cost, what it gave back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymem.reports.summary import short
from pymem.units import format_pages, format_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

    from pymem.result import Result

NO_COUNT = "-"


def outcome(result: Result) -> dict[str, Any]:
    """What one run came to, as JSON takes it.

    Returns
    -------
    dict
        ``status``, ``time_ns``; ``kills``: one object per decision; ``lost_accesses`` and ``lost_cpu_ns``: what the
        victims had done; ``others_accesses`` and ``others_stall_ns``: what the others did, and how long they waited,
        all causes together; ``freed_pages`` and ``freed_swap``: memory and swap slots that the kills gave back.
    """
    victims = [task for task in result.tasks.values() if task.state == "killed"]
    others = [task for task in result.tasks.values() if task.state != "killed"]
    kills = [
        {
            "time_ns": kill.time_ns, "task": kill.task, "by": kill.by, "signal": kill.signal, "reason": kill.reason,
            "allocating": kill.allocating, "freed_pages": kill.freed_pages, "freed_swap": kill.freed_swap,
            "oom_score": result.tasks[kill.task].oom_score if kill.task else None,
        }
        for kill in result.oom_kills
    ]  # fmt: skip
    return {
        "status": result.status, "time_ns": result.time_ns, "kills": kills,
        "lost_accesses": sum(task.accesses for task in victims), "lost_cpu_ns": sum(task.cpu_ns for task in victims),
        "others_accesses": sum(task.accesses for task in others),
        "others_stall_ns": sum(task.stall_ns for task in others),
        "freed_pages": sum(kill.freed_pages for kill in result.oom_kills),
        "freed_swap": sum(kill.freed_swap for kill in result.oom_kills),
    }  # fmt: skip


def render(results: Mapping[str, Result]) -> list[RenderableType]:
    """Two tables for `rich.console.Console.print`: one row per policy, and one per kill."""
    from rich.table import Table
    from rich.text import Text

    policies = Table(box=None, pad_edge=False, header_style="bold")
    kills = Table(box=None, pad_edge=False, header_style="bold")
    for table, left, right in (
        (policies, ("policy", "status", "killed"), ("end", "lost accesses", "lost CPU", "others did", "others stalled",
                                                   "freed", "swap freed")),
        (kills, ("policy", "killed", "by"), ("at", "oom_score", "freed", "swap freed")),
    ):  # fmt: skip
        for name in left:
            table.add_column(name)
        for name in right:
            table.add_column(name, justify="right")
    kills.add_column("why")
    for name, result in results.items():
        row = outcome(result)
        died = ", ".join(kill["task"] for kill in row["kills"] if kill["task"])
        policies.add_row(
            name, row["status"], Text(died or NO_COUNT), format_time(row["time_ns"]), short(row["lost_accesses"]),
            format_time(row["lost_cpu_ns"]), short(row["others_accesses"]), format_time(row["others_stall_ns"]),
            format_pages(row["freed_pages"]), format_pages(row["freed_swap"]),
        )  # fmt: skip
        for kill in row["kills"]:
            why = f"{kill['signal']}: {kill['reason']}" if kill["reason"] else f"{kill['allocating']} asked for memory"
            score = NO_COUNT if kill["oom_score"] is None else str(kill["oom_score"])
            kills.add_row(
                name, Text(kill["task"] or "nobody: panic"), kill["by"], format_time(kill["time_ns"]), score,
                format_pages(kill["freed_pages"]), format_pages(kill["freed_swap"]), Text(why),
            )  # fmt: skip
    return [policies, Text(), kills] if kills.row_count else [policies, Text("\nMemory never ran out.")]
