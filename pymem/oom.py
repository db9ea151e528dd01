"""Who dies when memory runs out: policies against one small protocol.

A policy is asked when an allocation has failed for good.  It receives facts about every task that could be
killed, as arrays with one element per task in order of creation, and gives each a score; the highest one is
killed, of equals the later one, and a score of minus infinity means never.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pymem.errors import ScenarioError
from pymem.topology import ZONE_NAMES

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEVER = -math.inf
ADJ_MIN = -1000


@dataclass(frozen=True)
class OomFacts:
    """What is known when memory has run out; arrays have one element per living task.

    Attributes
    ----------
    name, pid : array
    rss_anon, rss_file, rss_shmem, swapents, page_tables, total_vm : array of int64
        Pages.
    oom_score_adj, nice : array of int64
    start_ns, cpu_ns : array of int64
        Simulated time at which the task began, and CPU time it has had.
    total_pages : int
        Memory and swap.
    allocating : int
        Index of the task that asked for memory, -1 if it is not among them.
    now_ns : int
    """

    name: NDArray[Any]
    pid: NDArray[np.int64]
    rss_anon: NDArray[np.int64]
    rss_file: NDArray[np.int64]
    rss_shmem: NDArray[np.int64]
    swapents: NDArray[np.int64]
    page_tables: NDArray[np.int64]
    total_vm: NDArray[np.int64]
    oom_score_adj: NDArray[np.int64]
    nice: NDArray[np.int64]
    start_ns: NDArray[np.int64]
    cpu_ns: NDArray[np.int64]
    total_pages: int
    allocating: int
    now_ns: int

    @property
    def rss(self) -> NDArray[np.int64]:
        """Resident pages of all kinds."""
        return self.rss_anon + self.rss_file + self.rss_shmem

    @property
    def killable(self) -> NDArray[np.bool_]:
        """Not protected by ``oom_score_adj`` -1000."""
        return np.asarray(self.oom_score_adj != ADJ_MIN)


def facts_from(
    tasks: Sequence[tuple[str, int, Mapping[str, Any]]], *, allocating: int, total_pages: int, now_ns: int
) -> OomFacts:
    """Facts from (name, nice, what `Engine.task` says) of every living task."""
    columns = ("pid", "rss_anon", "rss_file", "rss_shmem", "swapents", "page_tables", "total_vm", "oom_score_adj",
               "start_ns", "cpu_ns")  # fmt: skip
    arrays = {c: np.array([facts[c] for _, _, facts in tasks], np.int64) for c in columns}
    return OomFacts(
        name=np.array([name for name, _, _ in tasks], dtype=object),
        nice=np.array([nice for _, nice, _ in tasks], np.int64),
        total_pages=total_pages, allocating=allocating, now_ns=now_ns, **arrays,
    )  # fmt: skip


class Policy(Protocol):
    """What the simulation asks of a policy."""

    def scores(self, facts: OomFacts) -> NDArray[np.float64]:
        """One score per task; minus infinity: never kill it."""

    def choose(self, facts: OomFacts) -> int | None:
        """Index of the victim; None: nobody, the kernel panics."""


class Scored:
    """A policy that kills the highest score; of equal ones the later task, as the kernel does."""

    def scores(self, facts: OomFacts) -> NDArray[np.float64]:
        """One score per task, see `Policy`."""
        return np.where(facts.killable, self.points(facts), NEVER)

    def points(self, facts: OomFacts) -> NDArray[np.float64]:
        """The score of tasks that may be killed."""
        raise AssertionError("a policy defines points")

    def choose(self, facts: OomFacts) -> int | None:
        """The index of the highest score, None where every score is minus infinity."""
        scores = self.scores(facts)
        if not len(scores) or np.all(scores == NEVER):
            return None
        return int(len(scores) - 1 - np.argmax(scores[::-1]))


def badness(facts: OomFacts) -> NDArray[np.int64]:
    """The kernel's points in pages: rss + swap + page tables + adj * (total // 1000) (oom_badness, since 4.17)."""
    points = facts.rss + facts.swapents + facts.page_tables
    return np.asarray(points + facts.oom_score_adj * (facts.total_pages // 1000), np.int64)


def oom_score(facts: OomFacts) -> NDArray[np.int64]:
    """``/proc/PID/oom_score``, 0 to 2000: (1000 + points*1000/total) * 2/3, divisions truncating towards zero."""

    def quotient(a: NDArray[np.int64], b: int) -> NDArray[np.int64]:
        return np.asarray(np.sign(a) * (np.abs(a) // b), np.int64)

    score = quotient((1000 + quotient(badness(facts) * 1000, facts.total_pages)) * 2, 3)
    return np.asarray(np.where(facts.killable, np.maximum(score, 0), 0), np.int64)


class KernelBadness(Scored):
    """What Linux 6.x does."""

    def points(self, facts: OomFacts) -> NDArray[np.float64]:
        """`badness`."""
        return badness(facts).astype(np.float64)


class Historical(Scored):
    """Linux up to 2.6.35: virtual size, divided by the roots of CPU time and run time, doubled for niced tasks."""

    def points(self, facts: OomFacts) -> NDArray[np.float64]:
        """The points of 2.6.24; ``oom_adj`` is derived from ``oom_score_adj``."""
        out = []
        for i in range(len(facts.pid)):
            points = int(facts.total_vm[i])
            cpu_jiffies = int(facts.cpu_ns[i]) // 10_000_000  # HZ=100
            run_s = max(int(facts.now_ns - facts.start_ns[i]), 0) // 10**9
            for root in (math.isqrt(cpu_jiffies >> 10), math.isqrt(math.isqrt(run_s >> 10))):
                points //= root or 1
            if facts.nice[i] > 0:
                points *= 2
            adj = min(int(facts.oom_score_adj[i] * 17 / 1000), 15)  # as /proc/PID/oom_adj: towards zero, at most 15
            out.append(max(points, 1) << adj if adj > 0 else points >> -adj)
        return np.array(out, np.float64)


class Largest(Scored):
    """Most memory, resident and swapped; ``oom_score_adj`` matters only at -1000."""

    def points(self, facts: OomFacts) -> NDArray[np.float64]:
        """Pages."""
        return (facts.rss + facts.swapents).astype(np.float64)


class Oldest(Scored):
    """Who runs longest."""

    def points(self, facts: OomFacts) -> NDArray[np.float64]:
        """Age in ns."""
        return (facts.now_ns - facts.start_ns).astype(np.float64)


class KillAllocating(KernelBadness):
    """Who asked for memory; the kernel's choice where that one may not be killed (oom_kill_allocating_task)."""

    def choose(self, facts: OomFacts) -> int | None:
        """The allocating task if it may be killed."""
        asker = facts.allocating
        if asker >= 0 and facts.killable[asker]:
            return asker
        return super().choose(facts)


class Panic(KernelBadness):
    """Nobody: the kernel panics (panic_on_oom)."""

    def choose(self, facts: OomFacts) -> int | None:
        """Always None."""
        return None


class Custom(Scored):
    """A function of your own: from `OomFacts` to one score per task.

    Raises
    ------
    ScenarioError
        When the function gives another number of scores, or one that is not a number.
    """

    def __init__(self, function: Callable[[OomFacts], Any]) -> None:
        self.function = function

    def points(self, facts: OomFacts) -> NDArray[np.float64]:
        """What the function says."""
        found = self.function(facts)
        try:
            scores = np.asarray(found, np.float64)
        except (TypeError, ValueError):
            scores = np.array(np.nan)
        if scores.shape != facts.pid.shape or np.isnan(scores).any():
            raise ScenarioError(
                f"oom_policy: the function gave {found!r}; accepted are {len(facts.pid)} numbers, one per task"
            )
        return scores


POLICIES: dict[str, type[Scored]] = {
    "kernel": KernelBadness,
    "historical": Historical,
    "largest": Largest,
    "oldest": Oldest,
    "allocating": KillAllocating,
    "panic": Panic,
}


def by_name(policy: Any) -> Policy:
    """The policy of that name; a function becomes a `Custom` policy, a policy is returned as it is."""
    if isinstance(policy, str):
        if policy not in POLICIES:
            raise ScenarioError(f"oom_policy: {policy!r}; accepted are {', '.join(POLICIES)}")
        return POLICIES[policy]()
    if hasattr(policy, "scores") and hasattr(policy, "choose"):
        chosen: Policy = policy
        return chosen
    if callable(policy):
        return Custom(policy)
    raise ScenarioError(f"oom_policy: {policy!r}; accepted are a name, a function or a policy of pymem.oom")


def oom_report(
    facts: OomFacts, choice: int | None, *, asker: tuple[str, int], node_stats: Mapping[str, int],
    zones: Sequence[Mapping[str, Any]], swap: Mapping[str, Any],
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
    f = facts
    for i in range(len(f.pid)):
        lines.append(
            f"[{f.pid[i]:7d}] {0:5d} {f.pid[i]:5d} {f.total_vm[i]:8d} {f.rss[i]:8d} {f.rss_anon[i]:8d} "
            f"{f.rss_file[i]:8d} {f.rss_shmem[i]:9d} {4096 * f.page_tables[i]:8d} {f.swapents[i]:8d}         "
            f"{f.oom_score_adj[i]:5d} {f.name[i]}"
        )
    if choice is None:
        lines.append("Kernel panic - not syncing: System is deadlocked on memory")
    else:
        c = choice
        lines += [
            f"oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/,"
            f"task={f.name[c]},pid={f.pid[c]},uid=0",
            f"Out of memory: Killed process {f.pid[c]} ({f.name[c]}) total-vm:{4 * f.total_vm[c]}kB, "
            f"anon-rss:{4 * f.rss_anon[c]}kB, file-rss:{4 * f.rss_file[c]}kB, shmem-rss:{4 * f.rss_shmem[c]}kB, "
            f"UID:0 pgtables:{4 * f.page_tables[c]}kB oom_score_adj:{f.oom_score_adj[c]}",
        ]
    return "\n".join(lines) + "\n"
