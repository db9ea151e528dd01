"""systemd-oomd: everybody stalled by memory for too long, or memory and swap nearly full.

Follows ``src/oom/oomd-manager.c`` and ``oomd-util.c`` of systemd.  There are no cgroups here, so every task stands for
a service of its own below one slice that has ``ManagedOOMSwap=kill`` and ``ManagedOOMMemoryPressure=kill``; pressure
of that slice is that of the system.  ``oom_score_adj`` -1000 stands for ``ManagedOOMPreference=omit``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pymem.oom.daemon import MS, SECOND, Daemon, Kill, System
from pymem.oom.facts import NEVER

if TYPE_CHECKING:
    from pymem.oom.facts import OomFacts

SWAP_INTERVAL = 150 * MS
PRESSURE_INTERVAL = SECOND
POST_ACTION_DELAY = 15 * SECOND  # averages lag behind: no second kill by pressure before
RECLAIM_DURATION = 30 * SECOND  # pressure without reclaim for so long is not worth a kill
MIN_SWAP_PERCENT = 5  # of all swap: who uses less is not killed for swap


@dataclass
class SystemdOomd(Daemon):
    """Settings as in ``oomd.conf``.

    Parameters
    ----------
    swap_used_limit, pressure_limit : float
        SwapUsedLimit and DefaultMemoryPressureLimit, in percent.
    pressure_duration : int or str
        DefaultMemoryPressureDurationSec: how long the pressure has to be above its limit.
    """

    swap_used_limit: float = 90
    pressure_limit: float = 60
    pressure_duration: int | str = 30 * SECOND

    name = "systemd-oomd"

    def __post_init__(self) -> None:
        self._settings(("pressure_duration",), swap_used_limit=(0, 100), pressure_limit=(0, 100))
        self._now = 0
        self._next_swap, self._next_pressure = SWAP_INTERVAL, PRESSURE_INTERVAL
        self._above_since = self._acted = self._reclaimed = -1
        self._pgscan = 0

    def interval_ns(self) -> int:
        """Swap every 150 ms, pressure every second."""
        return max(min(self._next_swap, self._next_pressure) - self._now, 1)

    def check(self, facts: OomFacts, system: System) -> Kill | None:
        """Whichever of the two looks is due; swap first."""
        self._now = system.now_ns
        kill = None
        if self._now >= self._next_swap:
            self._next_swap = self._now + SWAP_INTERVAL
            kill = self._swap(facts, system)
        if self._now >= self._next_pressure:
            self._next_pressure = self._now + PRESSURE_INTERVAL
            kill = kill or self._pressure(facts, system)
        return kill

    def _swap(self, facts: OomFacts, system: System) -> Kill | None:
        """Less than 10 % of memory available and of swap free: the largest user of swap, if that is above 5 %."""
        m, spare = system.meminfo, round((100 - self.swap_used_limit) * 100)  # permyriad, of bytes
        for total, left in (("MemTotal", "MemAvailable"), ("SwapTotal", "SwapFree")):
            if m[left] * 1024 >= m[total] * 1024 * spare // 10_000:
                return None
        swapped = facts.swapents * 4  # KiB
        candidates = facts.reachable & (swapped > m["SwapTotal"] * MIN_SWAP_PERCENT // 100)
        used = 100 - 100 * m["SwapFree"] / m["SwapTotal"]
        return _largest(facts.swapents, candidates, f"memory nearly full and {used:.2f} % of swap used")

    def _pressure(self, facts: OomFacts, system: System) -> Kill | None:
        """Full memory pressure above the limit all the time: who was scanned most by reclaim, here the largest."""
        now = system.now_ns
        pgscan = system.vmstat["pgscan_kswapd"] + system.vmstat["pgscan_direct"]
        if pgscan > self._pgscan:
            self._pgscan, self._reclaimed = pgscan, now
        full = system.psi["memory_full"]["avg"][0]
        if full <= self.pressure_limit:
            self._above_since = -1
            return None
        if self._above_since < 0:
            self._above_since = now
        if now - self._above_since < int(self.pressure_duration):
            return None
        if self._acted >= 0 and now < self._acted + POST_ACTION_DELAY:
            return None
        if self._reclaimed < 0 or now - self._reclaimed > RECLAIM_DURATION:
            return None
        memory = facts.rss + facts.page_tables
        kill = _largest(memory, facts.reachable & (memory > 0), f"full memory pressure {full:.2f} %")
        if kill:
            self._acted = now
        return kill


def _largest(amount: np.ndarray, candidates: np.ndarray, reason: str) -> Kill | None:
    """The candidate with the largest amount, of equals the earlier."""
    if not candidates.any():
        return None
    scores = np.where(candidates, amount, NEVER)
    return Kill(int(np.argmax(scores)), "SIGKILL", reason, scores)
