"""earlyoom: too little memory available and too little swap free, so the task with the highest oom_score goes.

Follows ``main.c`` and ``kill.c`` of earlyoom (commit 5c3e3ea, 1.8 and later) with its default options.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pymem.oom.daemon import MS, Daemon, Kill, System
from pymem.oom.facts import NEVER, oom_score

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymem.oom.facts import OomFacts

MEM_FILL_RATE, SWAP_FILL_RATE = 6000, 800  # KiB per ms: as fast as memory and swap are expected to fill
SHORTEST, LONGEST = 100 * MS, 1000 * MS
POLL, MAX_POLLS = 100 * MS, 100  # how long it waits for a victim to exit


@dataclass
class EarlyOom(Daemon):
    """Settings, in percent: ``-m`` and ``-s``, each with the limit for SIGTERM and the one for SIGKILL.

    Parameters
    ----------
    mem_term, mem_kill : float
        Available memory.
    swap_term, swap_kill : float
        Free swap.
    """

    mem_term: float = 10
    mem_kill: float = 5
    swap_term: float = 10
    swap_kill: float = 5

    name = "earlyoom"

    def __post_init__(self) -> None:
        self._settings(mem_term=(0, 100), mem_kill=(0, 100), swap_term=(0, 100), swap_kill=(0, 100))
        self._sleep = SHORTEST
        self._victim = -1  # pid it waits for
        self._signal = ""
        self._polls = 0

    def interval_ns(self) -> int:
        """100 ms while a victim exits, otherwise by how far away the limits are."""
        return self._sleep

    def check(self, facts: OomFacts, system: System) -> Kill | None:
        """SIGTERM at the first limits, SIGKILL at the second ones; both memory and swap have to be below."""
        mem, swap = percentages(system.meminfo)
        signal = self._limit(mem, swap)
        if self._victim >= 0:
            return self._wait(facts, system, signal)
        self._sleep = self._headroom(mem, swap, system.meminfo)
        candidates = facts.reachable
        if not signal or not candidates.any():
            return None
        scores = np.where(candidates, oom_score(facts), NEVER)
        # of equal scores the larger one, of those the lower pid
        victim = int(np.lexsort((-facts.pid, facts.rss, scores))[-1])
        self._victim, self._signal, self._polls, self._sleep = int(facts.pid[victim]), signal, 0, POLL
        return Kill(victim, signal, f"memory available {mem:.2f} %, swap free {swap:.2f} %", scores)

    def _wait(self, facts: OomFacts, system: System, signal: str) -> Kill | None:
        """A victim has been sent a signal: escalate if it gets worse, until it is gone or 10 s are over."""
        found = np.flatnonzero(facts.pid == self._victim)
        self._polls += 1
        if not len(found) or self._polls == MAX_POLLS:
            self._victim = -1
            self._sleep = self._headroom(*percentages(system.meminfo), system.meminfo)
            return None
        if signal == "SIGKILL" and self._signal == "SIGTERM":
            self._signal = signal
            scores = np.where(facts.pid == self._victim, 1.0, NEVER)
            return Kill(int(found[0]), signal, "it got worse while the victim was exiting", scores)
        return None

    def _limit(self, mem: float, swap: float) -> str:
        if mem <= self.mem_kill and swap <= self.swap_kill:
            return "SIGKILL"
        return "SIGTERM" if mem <= self.mem_term and swap <= self.swap_term else ""

    def _headroom(self, mem: float, swap: float, meminfo: Mapping[str, int]) -> int:
        """How long memory and swap cannot run out, in whole ms, 100 ms to 1 s."""
        user = meminfo["MemAvailable"] + meminfo["AnonPages"]
        memory_kib = max(int((mem - self.mem_term) * user / 100), 0)
        swap_kib = max(int((swap - self.swap_term) * meminfo["SwapTotal"] / 100), 0)
        ns = (memory_kib // MEM_FILL_RATE + swap_kib // SWAP_FILL_RATE) * MS
        return min(max(ns, SHORTEST), LONGEST)


def percentages(meminfo: Mapping[str, int]) -> tuple[float, float]:
    """Memory available, of what user space could have; swap free, 0 without swap. Percent."""
    user = meminfo["MemAvailable"] + meminfo["AnonPages"]
    mem = 100 * meminfo["MemAvailable"] / user if user else 0.0
    total = meminfo["SwapTotal"]
    return mem, 100 * meminfo["SwapFree"] / total if total else 0.0
