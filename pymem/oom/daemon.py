"""Killers in user space that act before the kernel does: one small protocol.

A daemon looks at the machine at simulated times of its own choice and names a victim or nobody.  It costs no time
and no memory of the simulated machine.  Where it is too late, the kernel kills by its own rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pymem.errors import ScenarioError
from pymem.oom.policies import KernelBadness
from pymem.units import parse_time

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pymem.oom.facts import OomFacts

MS = 1_000_000
SECOND = 1000 * MS


@dataclass(frozen=True)
class System:
    """What a daemon can read of the machine.

    Attributes
    ----------
    now_ns : int
    meminfo : mapping
        ``/proc/meminfo``, KiB.
    vmstat : mapping
        ``/proc/vmstat``.
    psi : mapping
        ``memory_some``, ``memory_full``, ...: ``total`` in ns, ``avg`` in percent over 10, 60 and 300 s.
    zones : sequence of mapping
        ``/proc/zoneinfo``: ``free``, ``min``, ``low``, ``high``, ``protection`` in pages.
    """

    now_ns: int
    meminfo: Mapping[str, int]
    vmstat: Mapping[str, int]
    psi: Mapping[str, Mapping[str, Any]]
    zones: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Kill:
    """A decision.

    Attributes
    ----------
    victim : int
        Index of the task in the facts.
    signal, reason : str
        SIGKILL or SIGTERM; why.
    scores : array of float
        Of every task; minus infinity: was no candidate.
    """

    victim: int
    signal: str
    reason: str
    scores: NDArray[np.float64]


class Daemon(KernelBadness):
    """What the simulation asks of a daemon; as a policy of the kernel it is the kernel's own.

    Subclasses are dataclasses whose fields are the daemon's settings; what it remembers is made anew in
    ``__post_init__``, so that a copy made by `dataclasses.replace` begins from the start.
    """

    #: As in ``oom_policy`` and `pymem.result.OomKill.by`.
    name = ""

    def interval_ns(self) -> int:
        """Time from the last check (or the begin of the run) to the next, at least 1."""
        raise AssertionError("a daemon defines interval_ns")

    def check(self, facts: OomFacts, system: System) -> Kill | None:
        """Look at the tasks (`facts`) and at the machine (`system`): whom to kill now, or None."""
        raise AssertionError("a daemon defines check")

    def _settings(self, times: tuple[str, ...] = (), **bounds: tuple[float, float]) -> None:
        """Parse the settings that are times and hold numbers against (lowest, highest)."""
        for name in times:
            setattr(self, name, parse_time(getattr(self, name), f"oom_policy.{name}"))
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise ScenarioError(f"oom_policy.{name}: {value!r}; accepted is {low:g} to {high:g}")
