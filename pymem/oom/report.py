"""The OOM report in the kernel's layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pymem.topology import ZONE_NAMES

if TYPE_CHECKING:
    from pymem.oom.facts import OomFacts


def oom_report(
    facts: OomFacts, choice: int | None, *, asker: tuple[str, int], node_stats: Mapping[str, int],
    zones: Sequence[Mapping[str, Any]], swap: Mapping[str, Any], panic_on_oom: int = 0, by_allocating: bool = False,
) -> str:  # fmt: skip
    """The report in the kernel's layout (dump_header and oom_kill_process of 6.12).

    Parameters
    ----------
    facts, choice
        As given to and chosen by the policy; a choice of None reports the panic.
    asker : (str, int)
        Name and ``oom_score_adj`` of the task whose allocation failed.
    node_stats, zones, swap
        As `memcore.engine.Engine` gives them.
    panic_on_oom : {0, 1, 2}
        The tunable, where it is the reason of the panic; 0: there was nobody to kill.
    by_allocating : bool
        Whether the victim was chosen for having asked (oom_kill_allocating_task).
    """
    n = node_stats
    free = sum(z["free"] for z in zones)
    pcp = sum(p["count"] for z in zones for p in z["pcp"])
    lines = [
        f"{asker[0]} invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0, "
        f"oom_score_adj={asker[1]}",
        "Mem-Info:",
        f"active_anon:{n['nr_active_anon']} inactive_anon:{n['nr_inactive_anon']} "
        f"isolated_anon:{n['nr_isolated_anon']}",
        f" active_file:{n['nr_active_file']} inactive_file:{n['nr_inactive_file']} "
        f"isolated_file:{n['nr_isolated_file']}",
        f" unevictable:{n['nr_unevictable']} dirty:{n['nr_dirty']} writeback:{n['nr_writeback']}",
        f" slab_reclaimable:{n['nr_slab_reclaimable']} slab_unreclaimable:{n['nr_slab_unreclaimable']}",
        f" mapped:{n['nr_mapped']} shmem:{n['nr_shmem']} pagetables:{n['nr_page_table_pages']}",
        f" free:{free} free_pcp:{pcp} free_cma:0",
    ]
    for z in zones:
        label = f"Node {z['node']} {ZONE_NAMES[z['idx']]}"
        kb = {key: 4 * z[key] for key in ("free", "boost", "min", "low", "high", "present", "managed")}
        lru = dict(zip(("inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable"), z["lru"],
                       strict=True))  # fmt: skip
        lines += [
            f"{label} free:{kb['free']}kB boost:{kb['boost']}kB min:{kb['min']}kB low:{kb['low']}kB "
            f"high:{kb['high']}kB active_anon:{4 * lru['active_anon']}kB inactive_anon:{4 * lru['inactive_anon']}kB "
            f"active_file:{4 * lru['active_file']}kB inactive_file:{4 * lru['inactive_file']}kB "
            f"unevictable:{4 * lru['unevictable']}kB writepending:{4 * z['write_pending']}kB "
            f"present:{kb['present']}kB managed:{kb['managed']}kB free_pcp:{4 * sum(p['count'] for p in z['pcp'])}kB",
            f"lowmem_reserve[]: {' '.join(map(str, z['protection']))}",
        ]
    for z in zones:
        label = f"Node {z['node']} {ZONE_NAMES[z['idx']]}"
        blocks = " ".join(f"{count}*{4 << order}kB" for order, count in enumerate(z["free_area"]))
        total = sum(count << order for order, count in enumerate(z["free_area"]))
        lines.append(f"{label}: {blocks} = {4 * total}kB")
    lines += [
        f"{n['nr_file_pages']} total pagecache pages",
        f"{n['nr_swapcached']} pages in swap cache",
        f"Free swap  = {4 * swap['free']}kB",
        f"Total swap = {4 * swap['total']}kB",
        f"{sum(z['present'] for z in zones)} pages RAM",
        f"{sum(z['present'] - z['managed'] for z in zones)} pages reserved",
        "Tasks state (memory values in pages):",
        "[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents "
        "oom_score_adj name",
    ]
    lines += _task_lines(facts)
    everywhere = ",".join(map(str, sorted({z["node"] for z in zones})))
    if choice is None and panic_on_oom:
        kind = "compulsory" if panic_on_oom == 2 else "system-wide"
        lines.append(f"Kernel panic - not syncing: Out of memory: {kind} panic_on_oom is enabled")
    elif choice is None:
        lines += [
            "Out of memory and no killable processes...",
            "Kernel panic - not syncing: System is deadlocked on memory",
        ]
    else:
        f, c = facts, choice
        nodemask = ",".join(map(str, f.nodes)) or "(null)"
        reason = "Out of memory (oom_kill_allocating_task)" if by_allocating else "Out of memory"
        lines += [
            f"oom-kill:constraint={f.constraint},nodemask={nodemask},cpuset=/,mems_allowed={everywhere},global_oom,"
            f"task_memcg=/,task={f.name[c]},pid={f.pid[c]},uid=0",
            f"{reason}: Killed process {f.pid[c]} ({f.name[c]}) total-vm:{4 * f.total_vm[c]}kB, "
            f"anon-rss:{4 * f.rss_anon[c]}kB, file-rss:{4 * f.rss_file[c]}kB, shmem-rss:{4 * f.rss_shmem[c]}kB, "
            f"UID:0 pgtables:{4 * f.page_tables[c]}kB oom_score_adj:{f.oom_score_adj[c]}",
        ]
    return "\n".join(lines) + "\n"


def _task_lines(f: OomFacts) -> list[str]:
    """One line per task that could have been chosen as far as its nodes go (dump_task)."""
    columns = (f.pid, f.total_vm, f.rss, f.rss_anon, f.rss_file, f.rss_shmem, 4096 * f.page_tables, f.swapents,
               f.oom_score_adj, f.name)  # fmt: skip
    shown = slice(None) if f.eligible is None else f.eligible
    return [
        f"[{pid:7d}] {0:5d} {pid:5d} {vm:8d} {rss:8d} {anon:8d} {file:8d} {shmem:9d} {tables:8d} {swap:8d}         "
        f"{adj:5d} {name}"
        for pid, vm, rss, anon, file, shmem, tables, swap, adj, name in zip(
            *(column[shown].tolist() for column in columns), strict=True
        )
    ]
