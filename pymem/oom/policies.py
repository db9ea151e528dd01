"""Whom the kernel kills: policies that give every task a score and are asked when an allocation has failed for good.

The highest score is killed, of equals the later task, and a score of minus infinity means never.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pymem.errors import ScenarioError
from pymem.oom.facts import NEVER, OomFacts, badness

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Policy(Protocol):
    """What the simulation asks of a policy."""

    def scores(self, facts: OomFacts) -> NDArray[np.float64]:
        """One score per task of `facts`; minus infinity: never kill it."""

    def choose(self, facts: OomFacts) -> int | None:
        """Index of the victim in `facts`; None: nobody, the kernel panics."""


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


class KernelBadness(Scored):
    """What Linux 6.x does."""

    def points(self, facts: OomFacts) -> NDArray[np.float64]:
        """`badness`."""
        return badness(facts).astype(np.float64)


class Historical(Scored):
    """Linux up to 2.6.35: virtual size, divided by the roots of CPU time and run time, doubled for niced tasks."""

    def points(self, facts: OomFacts) -> NDArray[np.float64]:
        """The points of 2.6.24; ``oom_adj`` is derived from ``oom_score_adj``."""
        cpu_jiffies = facts.cpu_ns // 10_000_000  # HZ=100
        run_s = np.maximum(facts.now_ns - facts.start_ns, 0) // 10**9
        points = facts.total_vm // np.maximum(_root(cpu_jiffies >> 10), 1)
        points = points // np.maximum(_root(_root(run_s >> 10)), 1) << (facts.nice > 0)
        # as /proc/PID/oom_adj: towards zero, at most 15
        adj = np.minimum(np.sign(facts.oom_score_adj) * (np.abs(facts.oom_score_adj) * 17 // 1000), 15)
        up, down = np.maximum(adj, 0), np.maximum(-adj, 0)
        return np.asarray(np.where(adj > 0, np.maximum(points, 1) << up, points >> down), np.float64)


def _root(n: NDArray[np.int64]) -> NDArray[np.int64]:
    """Integer square root; exact below 2^52."""
    return np.asarray(np.sqrt(n), np.int64)


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
