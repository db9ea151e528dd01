"""lmkd of Android: the kernel reports stalls, then the least important task goes if memory is really short.

Follows ``mp_event_psi`` of ``lmkd.cpp``, and with `minfree` its older strategy ``use_minfree_levels``.  Tasks count as
registered in the order of the scenario; those with a negative ``oom_score_adj`` are never killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pymem.errors import ScenarioError
from pymem.oom.daemon import MS, SECOND, Daemon, Kill, System
from pymem.oom.facts import NEVER
from pymem.units import parse_pages

if TYPE_CHECKING:
    from pymem.oom.facts import OomFacts

WINDOW = SECOND  # of a PSI trigger; stalls are summed up ten times in it
POLL_SHORT, POLL_LONG = 10 * MS, 100 * MS
KILL_TIMEOUT = 100 * MS  # no further kill while a victim exits, for so long
THRASHING_RESET = SECOND
PERCEPTIBLE = 200  # oom_score_adj of apps that the user notices, or less
BELOW_MIN, BELOW_LOW, BELOW_HIGH, ABOVE = range(4)


class PsiTrigger:
    """A trigger of ``/proc/pressure``: more than `threshold` ns of stall in a window of a second (psi.c)."""

    def __init__(self, threshold: int) -> None:
        self.threshold = threshold
        self._start = self._value = self._previous = 0
        self._fired = -WINDOW

    def update(self, now: int, total: int) -> bool:
        """Whether it fires, given the total so far; at most once in a window."""
        elapsed = now - self._start
        growth = total - self._value
        if elapsed > WINDOW:
            self._start, self._value, self._previous = now, total, growth
        else:
            # what the window before this one still covers, if its stall was spread evenly
            growth += self._previous * (WINDOW - elapsed) // WINDOW
        if growth < self.threshold or now < self._fired + WINDOW:
            return False
        self._fired = now
        return True


class _Verdict(NamedTuple):
    """Why to kill ("": do not), and down to which oom_score_adj; what follows for the limit and for polling."""

    reason: str = ""
    lowest: int = 0
    cut_limit: bool = False
    swap_low: bool = False
    direct: bool = False


@dataclass
class Lmkd(Daemon):
    """Settings as the properties ``ro.lmk.*``; stalls are times in each second, the rest percent.

    Parameters
    ----------
    some_stall, full_stall : int or str
        ``psi_partial_stall_ms``, ``psi_complete_stall_ms``.
    swap_free_low, thrashing_limit, thrashing_limit_decay, thrashing_critical, stall_limit_critical : float
        ``swap_free_low_percentage`` and so on.  Thrashing is refaults of file pages in percent of the page cache.
    kill_heaviest_task : bool
        The largest task of a level, not the one that was registered first.
    minfree : sequence of (oom_score_adj, size)
        Kill down to that ``oom_score_adj`` where both free memory and page cache are below the size.  Replaces
        everything above but the stalls.
    """

    some_stall: int | str = 70 * MS
    full_stall: int | str = 700 * MS
    swap_free_low: float = 10
    thrashing_limit: float = 100
    thrashing_limit_decay: float = 10
    thrashing_critical: float = 300
    stall_limit_critical: float = 100
    kill_heaviest_task: bool = False
    minfree: Sequence[Any] = ()

    name = "lmkd"

    def __post_init__(self) -> None:
        self._settings(
            ("some_stall", "full_stall"), swap_free_low=(0, 100), thrashing_limit=(0, 1e9),
            thrashing_limit_decay=(0, 100), thrashing_critical=(0, 1e9), stall_limit_critical=(0, 100),
        )  # fmt: skip
        self._levels = sorted(_level(entry) for entry in self.minfree)
        self._some, self._full = PsiTrigger(int(self.some_stall)), PsiTrigger(int(self.full_stall))
        self._now = 0
        self._next_sum = POLL_LONG
        self._next_poll = self._poll_until = -1
        self._victim, self._killed_at, self._killing = -1, -KILL_TIMEOUT, False
        self._pgscan_direct = self._pgscan_kswapd = self._last_refault = 0
        self._limit = self.thrashing_limit
        self._base_refault = self._base_cache = self._reset_at = 0
        self._earlier_thrashing = 0

    def interval_ns(self) -> int:
        """100 ms, and 10 ms for a second after an event where swap is low or a task was killed."""
        polling = self._next_poll >= 0
        return max(min(self._next_sum, self._next_poll if polling else self._next_sum) - self._now, 1)

    def check(self, facts: OomFacts, system: System) -> Kill | None:
        """Triggers first; then the decision, if one fired or it polls."""
        now = self._now = system.now_ns
        some = full = False
        if now >= self._next_sum:
            self._next_sum = now + WINDOW // 10
            some = self._some.update(now, system.psi["memory_some"]["total"])
            full = self._full.update(now, system.psi["memory_full"]["total"])
        if not (some or full) and not 0 <= self._next_poll <= now:
            return None
        pending = bool((facts.pid == self._victim).any())
        kill, verdict = None, _Verdict()
        if not pending or now - self._killed_at >= KILL_TIMEOUT:
            verdict = self._minfree(system) if self._levels else self._decide(system, full)
            kill = self._choose(facts, verdict) if verdict.reason else None
        if kill:
            self._victim, self._killed_at, self._killing = int(facts.pid[kill.victim]), now, True
            if verdict.cut_limit:
                self._limit = self._limit * (100 - self.thrashing_limit_decay) // 100
        if some or full or verdict.direct or kill or pending:
            self._poll_until = now + WINDOW
        self._next_poll = now + (POLL_SHORT if verdict.swap_low or kill or pending or self._levels else POLL_LONG)
        if self._next_poll > self._poll_until:
            self._next_poll = -1
        return kill

    def _choose(self, facts: OomFacts, verdict: _Verdict) -> Kill | None:
        """Of the highest oom_score_adj, down to the lowest that may go."""
        adj = facts.oom_score_adj
        candidates = facts.reachable & (adj >= verdict.lowest)
        if not candidates.any():
            return None
        scores = np.where(candidates, adj, NEVER)
        level = np.flatnonzero(scores == scores.max())
        if self.kill_heaviest_task or adj[level[0]] <= PERCEPTIBLE:
            victim = level[::-1][np.argmax(facts.rss[level[::-1]])]
        else:
            victim = level[0]
        return Kill(int(victim), "SIGKILL", verdict.reason, scores)

    def _minfree(self, system: System) -> _Verdict:
        """The first level that both free memory and page cache fall short of."""
        m = system.meminfo
        reserve = sum(min(z["managed"], z["high"] + max(z["protection"])) for z in system.zones)
        free = m["MemFree"] // 4 - reserve
        cache = max(m["Cached"] + m["Buffers"] - m["Shmem"] - m["Unevictable"], 0) // 4
        for adj, pages in self._levels:
            if free < pages and cache < pages:
                return _Verdict(f"free memory and page cache are below the level of {adj}", adj)
        return _Verdict()

    def _decide(self, system: System, critical: bool) -> _Verdict:
        """The first rule that holds."""
        v, m = system.vmstat, system.meminfo
        after_kill, self._killing = self._killing, False
        refault, cache = v["workingset_refault_file"], v["nr_inactive_file"] + v["nr_active_file"]
        if after_kill:
            self._base_cache, self._base_refault, self._reset_at = cache, refault, system.now_ns
            self._earlier_thrashing = 0
        swap_low = m["SwapFree"] // 4 < m["SwapTotal"] // 4 * self.swap_free_low // 100
        direct = v["pgscan_direct"] > self._pgscan_direct
        if not direct and v["pgscan_kswapd"] <= self._pgscan_kswapd and refault == self._last_refault:
            return _Verdict(swap_low=swap_low)  # neither reclaim nor refaults since the last look
        self._pgscan_direct, self._pgscan_kswapd = v["pgscan_direct"], v["pgscan_kswapd"]
        self._last_refault = refault
        thrashing, limit = self._thrashing(system.now_ns, refault, cache), self._limit
        mark = watermark(system)
        # perceptible apps are spared unless it is very bad
        spared = 0 if thrashing >= self.thrashing_critical else PERCEPTIBLE + 1
        unless_min = 0 if mark == BELOW_MIN else spared
        reason, lowest, cut = "", 0, False
        if after_kill and mark == BELOW_MIN:
            reason = "free memory is below min even after a kill"
        elif critical:
            reason = "nobody gets on"
        elif swap_low and thrashing > self.thrashing_limit:
            reason, lowest = f"swap is low and the page cache thrashes ({thrashing} %)", unless_min
        elif swap_low and mark <= BELOW_LOW:
            reason, lowest = "free memory is below low and swap is low", unless_min
        elif mark <= BELOW_LOW and thrashing > limit:
            reason, lowest = f"free memory is below low and the page cache thrashes ({thrashing} %)", spared
            cut = True
        elif direct and thrashing > limit:
            reason, lowest, cut = f"direct reclaim and the page cache thrashes ({thrashing} %)", spared, True
        if system.psi["memory_full"]["avg"][0] > self.stall_limit_critical:
            lowest = 0
        return _Verdict(reason, lowest, cut, swap_low, direct)

    def _thrashing(self, now: int, refault: int, cache: int) -> int:
        """Refaults of file pages since the last reset, in percent of the page cache then, and what is left of before.

        A reset every second; what was counted before is halved for every second gone by.
        """
        percent = (refault - self._base_refault) * 100 // (self._base_cache + 1)
        if now - self._reset_at <= THRASHING_RESET:
            return percent + self._earlier_thrashing
        windows = (now - self._reset_at) // THRASHING_RESET
        # over the limit and nobody could be killed: kept, for somebody who can may come
        kept = windows == 1 and percent >= self._limit
        self._earlier_thrashing = percent if kept else percent >> windows
        self._base_cache, self._base_refault, self._reset_at = cache, refault, now
        self._limit = self.thrashing_limit
        return self._earlier_thrashing


def watermark(system: System) -> int:
    """The lowest mark that free memory is below, the reserves of all zones included."""
    free = sum(z["free"] for z in system.zones)
    for level, name in enumerate(("min", "low", "high")):
        if free < sum(z[name] + max(z["protection"]) for z in system.zones):
            return level
    return ABOVE


def _level(entry: Any) -> tuple[int, int]:
    """One entry of `minfree` in pages."""
    if not isinstance(entry, (list, tuple)) or len(entry) != 2:
        raise ScenarioError(f"oom_policy.minfree: {entry!r}; accepted are pairs of an oom_score_adj and a size")
    adj, size = entry
    if isinstance(adj, bool) or not isinstance(adj, int) or not 0 <= adj <= 1000:
        raise ScenarioError(f"oom_policy.minfree: {adj!r}; accepted is 0 to 1000")
    return adj, parse_pages(size, "oom_policy.minfree")
