"""What is known about every task when somebody has to go, and the kernel's two figures that follow from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEVER = -math.inf
ADJ_MIN = -1000
#: Rows of `memcore.engine.Engine.oom_facts`.
COLUMNS = (
    "thread pid rss_anon rss_file rss_shmem swapents page_tables total_vm oom_score_adj start_ns cpu_ns killed "
    "oom_skip nodes"
).split()


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
        Memory and swap that the request may use.
    allocating : int
        Index of the task that asked for memory, -1 if it is not among them.
    now_ns : int
    dying, eligible : array of bool, optional
        Has been killed and will exit; may be chosen by the kernel (not reaped, and not bound to other nodes than the
        request).  By default nobody is dying and everybody is eligible.
    constraint : {"CONSTRAINT_NONE", "CONSTRAINT_MEMORY_POLICY"}
        Whether a memory policy confines the request to `nodes`.
    nodes : tuple of int
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
    dying: NDArray[np.bool_] | None = None
    eligible: NDArray[np.bool_] | None = None
    constraint: str = "CONSTRAINT_NONE"
    nodes: tuple[int, ...] = ()

    @property
    def rss(self) -> NDArray[np.int64]:
        """Resident pages of all kinds."""
        return self.rss_anon + self.rss_file + self.rss_shmem

    @property
    def killable(self) -> NDArray[np.bool_]:
        """May be chosen by the kernel: eligible, and not protected by ``oom_score_adj`` -1000."""
        free = self.oom_score_adj != ADJ_MIN
        return np.asarray(free if self.eligible is None else free & self.eligible, bool)

    @property
    def reachable(self) -> NDArray[np.bool_]:
        """May be chosen by a daemon: neither dying nor protected by ``oom_score_adj`` -1000."""
        free = self.oom_score_adj != ADJ_MIN
        return np.asarray(free if self.dying is None else free & ~self.dying, bool)


def facts_from(
    table: NDArray[np.int64], names: NDArray[Any], nice: NDArray[np.int64], *, allocating: int, total_pages: int,
    now_ns: int, constraint: str = "CONSTRAINT_NONE", nodes: tuple[int, ...] = (),
) -> OomFacts:  # fmt: skip
    """Facts from what `Engine.oom_facts` gives.

    Parameters
    ----------
    table : array of int64
        One row per name of `COLUMNS`, one column per task.
    names, nice : array
        Of every thread number of the engine; threads that are not in the table do not matter.
    allocating : int
        Thread number of the task that asked for memory, 0 for nobody.
    total_pages, now_ns, constraint, nodes
        As in `OomFacts`.
    """
    column = dict(zip(COLUMNS, table, strict=True))
    thread, killed, skip, bound = (column.pop(name) for name in ("thread", "killed", "oom_skip", "nodes"))
    asked = sum(1 << n for n in nodes) or -1
    asking = np.flatnonzero(thread == allocating)
    return OomFacts(
        name=names[thread], nice=nice[thread], total_pages=total_pages,
        allocating=int(asking[0]) if len(asking) else -1, now_ns=now_ns, dying=killed != 0,
        eligible=(skip == 0) & (bound & asked != 0), constraint=constraint, nodes=nodes, **column,
    )  # fmt: skip


def badness(facts: OomFacts) -> NDArray[np.int64]:
    """The kernel's points of the tasks of `facts`: rss + swap + page tables + adj * (total // 1000), in pages.

    As ``oom_badness`` since Linux 4.17.
    """
    points = facts.rss + facts.swapents + facts.page_tables
    return np.asarray(points + facts.oom_score_adj * (facts.total_pages // 1000), np.int64)


def oom_score(facts: OomFacts) -> NDArray[np.int64]:
    """``/proc/PID/oom_score`` of the tasks of `facts`, 0 to 2000.

    (1000 + points * 1000 / total) * 2 / 3, divisions truncating towards zero.
    """

    def quotient(a: NDArray[np.int64], b: int) -> NDArray[np.int64]:
        return np.asarray(np.sign(a) * (np.abs(a) // b), np.int64)

    score = quotient((1000 + quotient(badness(facts) * 1000, facts.total_pages)) * 2, 3)
    return np.asarray(np.where(facts.oom_score_adj != ADJ_MIN, np.maximum(score, 0), 0), np.int64)
