"""What the summary says of machines with several NUMA nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymem.units import PAGE_SIZE, format_pages, format_time

if TYPE_CHECKING:
    from rich.table import Table

    from pymem.result import Result

KIB_PER_PAGE = PAGE_SIZE // 1024


def story(result: Result) -> list[str]:
    """Sentences about remote memory, node reclaim and pages that moved; none on a machine with one node."""
    if len(result.nodes) < 2:
        return []
    v = result.vmstat
    accesses = sum(task.local + task.remote for task in result.tasks.values())
    remote = sum(task.remote for task in result.tasks.values())
    lines = ["NUMA: every access found its page on the node of its CPU."]
    if remote:
        spent = sum(task.remote_ns for task in result.tasks.values())
        total = spent + sum(task.local_ns for task in result.tasks.values())
        worst = max(result.tasks.values(), key=lambda task: task.remote_share)
        lines = [
            f"NUMA: {100 * remote / accesses:.1f} % of the accesses went to memory of other nodes and took "
            f"{100 * spent / total:.1f} % of the time of all accesses ({format_time(spent)}); the largest share had "
            f"{worst.name}, {100 * worst.remote_share:.1f} %."
        ]
    tidied, failed = (v.get(f"zone_reclaim_{how}", 0) for how in ("success", "failed"))
    if tidied or failed or len(result.events_of("node_reclaim")):
        freed = format_pages(int(result.events_of("node_reclaim")["value"].sum()))
        count = len(result.events_of("node_reclaim"))
        lines.append(f"Node reclaim: {count:,} times a task tidied its node instead of going further ({freed} freed).")
    demoted = v.get("pgdemote_kswapd", 0) + v.get("pgdemote_direct", 0)
    if demoted or v.get("pgpromote_success", 0):
        lines.append(
            f"Tiers: {format_pages(demoted)} demoted to slower nodes, {format_pages(v.get('pgpromote_success', 0))} "
            "promoted back."
        )
    if v.get("numa_hint_faults", 0):
        lines.append(
            f"NUMA balancing: {v['numa_hint_faults']:,} hint faults moved {format_pages(v['numa_pages_migrated'])}."
        )
    return lines


def accesses_table(result: Result) -> Table:
    """Loads and stores of each task by where the memory was, and the time they took."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("task")
    for name in ("own node", "time", "other nodes", "time", "share"):
        table.add_column(name, justify="right")
    for task in result.tasks.values():
        table.add_row(
            Text(task.name), f"{task.local:,}", format_time(task.local_ns), f"{task.remote:,}",
            format_time(task.remote_ns), f"{100 * task.remote_share:.1f} %",
        )  # fmt: skip
    return table


def nodes_table(result: Result) -> Table:
    """One row per node."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("node", "CPUs", "tier", "memory", "free", "anonymous", "page cache", "hit", "miss", "foreign",
                 "interleaved"):  # fmt: skip
        table.add_column(name, justify="left" if name == "node" else "right")
    for node in result.nodes:
        pages = {name: kib // KIB_PER_PAGE for name, kib in node["meminfo"].items()}
        stat = node["numastat"]
        table.add_row(
            str(node["node"]), str(node["cpus"]), str(node["tier"]),
            *(format_pages(pages[name]) for name in ("MemTotal", "MemFree", "AnonPages", "FilePages")),
            *(f"{stat[name]:,}" for name in ("numa_hit", "numa_miss", "numa_foreign", "interleave_hit")),
        )  # fmt: skip
    return table
