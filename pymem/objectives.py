"""Outcomes with a name: what a run came to, in one number each; shared by sweeps, comparisons and tuning.

A measure is one of `OBJECTIVES` (``p99_fault_latency``), one of them for one task (``p99_fault_latency@app``), or a
counter of ``/proc/vmstat`` (``vmstat.pgscan_kswapd``).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pymem.errors import ScenarioError
from pymem.units import format_bytes, format_pages, format_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pymem.result import Latency, Result, TaskResult

#: Latency kinds that are page faults; the other kind is whole system calls.
FAULT_KINDS = ("minor", "file_major", "swap_in", "direct_reclaim")
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9}
#: What a summary shows unless something else is asked for.
KEY = ("elapsed", "p99_fault_latency", "stall", "major_faults", "swap_traffic", "psi_memory_some", "kills")
VMSTAT = "vmstat."

_Compute = Callable[["Result", "Sequence[TaskResult]"], float]


@dataclass(frozen=True)
class Objective:
    """One measure.

    Attributes
    ----------
    name, meaning : str
    unit : {"ns", "pages", "KiB", "events", "percent", "1/s"}
    compute : function
        From the result and the task results it is about to a number.
    per_task : bool or function
        Whether ``name@task`` is accepted; a function computes it in another way.
    more_is_better : bool or None
        True of work done, False of what costs; None: neither, of plain counters.
    task : str
        The task it is about; ``""``: all of them.
    """

    name: str
    unit: str
    meaning: str
    compute: _Compute
    per_task: bool | _Compute = False
    more_is_better: bool | None = False
    task: str = ""

    def value(self, result: Result) -> float:
        """Of one run; an int, or a float for percent and rates."""
        if not self.task:
            return self.compute(result, list(result.tasks.values()))
        compute = self.compute if isinstance(self.per_task, bool) else self.per_task
        return compute(result, [result.tasks[self.task]])

    def judge(self, change: float) -> str:
        """``"better"``, ``"worse"``, or ``"changed"`` where nobody can say; ``"same"`` without a change."""
        if not change:
            return "same"
        if self.more_is_better is None:
            return "changed"
        return "better" if (change > 0) == self.more_is_better else "worse"

    def format(self, value: float) -> str:
        """A value for people."""
        if self.unit == "ns":
            return format_time(value)
        if self.unit == "pages":
            return format_pages(value)
        if self.unit == "KiB":
            return format_bytes(value * 1024)
        if self.unit == "percent":
            return f"{value:.2f} %"
        return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:,.2f}"


def fault_latency(tasks: Iterable[TaskResult]) -> Latency | None:
    """All page faults of some tasks in one histogram; None without tasks."""
    parts = [task.latency[kind] for task in tasks for kind in FAULT_KINDS]
    if not parts:
        return None
    counts = np.sum([part.counts for part in parts], axis=0)
    return replace(parts[0], counts=counts, total_ns=sum(part.total_ns for part in parts))


def _percentile(p: float) -> _Compute:
    def compute(_: Result, tasks: Sequence[TaskResult]) -> float:
        faults = fault_latency(tasks)
        return faults.percentile(p) if faults is not None else 0

    return compute


def _mean(_: Result, tasks: Sequence[TaskResult]) -> float:
    faults = fault_latency(tasks)
    return faults.mean_ns if faults is not None else 0.0


def _span(result: Result, tasks: Sequence[TaskResult]) -> int:
    """From the first start to the last end."""
    ends = [result.time_ns if task.end_ns is None else task.end_ns for task in tasks]
    return max(max(ends) - min(task.start_ns for task in tasks), 0)


def _rate(ns: int, tasks: Sequence[TaskResult]) -> float:
    return sum(task.accesses for task in tasks) * 1e9 / ns if ns else 0.0


def _stall(*causes: str) -> _Compute:
    def compute(_: Result, tasks: Sequence[TaskResult]) -> float:
        return sum(sum(t.stalls[c] for c in causes) if causes else t.stall_ns for t in tasks)

    return compute


def _counters(*names: str) -> _Compute:
    return lambda result, _: sum(result.vmstat.get(name, 0) for name in names)


def _stalls_of_zones(result: Result, _: Sequence[TaskResult]) -> float:
    return sum(n for name, n in result.vmstat.items() if name.startswith("allocstall_"))


def _psi(which: str) -> _Compute:
    return lambda r, _: 100 * r.psi[which]["total"] / r.time_ns if r.time_ns else 0.0


def _kills(result: Result, tasks: Sequence[TaskResult]) -> float:
    return sum(task.state == "killed" for task in tasks)


_ALL = [
    Objective("elapsed", "ns", "simulated time until the last task has ended; of a task, from its start to its end",
              lambda result, _: result.time_ns, _span),
    Objective("accesses_per_second", "1/s", "accesses per simulated second",
              lambda result, tasks: _rate(result.time_ns, tasks),
              lambda result, tasks: _rate(_span(result, tasks), tasks), True),
    *(
        Objective(f"{name}_fault_latency", "ns",
                  f"page faults of all kinds: so long or shorter were {p:g} % of them, in steps of 12.5 %",
                  _percentile(p), True)
        for name, p in PERCENTILES.items()
    ),
    Objective("mean_fault_latency", "ns", "page faults of all kinds, mean", _mean, True),
    Objective("stall", "ns", "waiting time of all tasks together, all causes", _stall(), True),
    Objective("stall_direct_reclaim", "ns", "time in which tasks reclaimed memory for themselves, throttling included",
              _stall("direct_reclaim", "throttle"), True),
    Objective("stall_swap_in", "ns", "time in which tasks waited for pages from swap", _stall("swap_in"), True),
    Objective("stall_file_read", "ns", "time in which tasks waited for pages of files", _stall("file_read"), True),
    Objective("stall_dirty", "ns", "time in which writers were slowed down or waited in fsync",
              _stall("dirty", "fsync"), True),
    Objective("major_faults", "events", "faults that waited for a device",
              lambda _, tasks: sum(task.maj_flt for task in tasks), True),
    Objective("minor_faults", "events", "faults that did not",
              lambda _, tasks: sum(task.min_flt for task in tasks), True),
    Objective("swap_out", "pages", "pages written to swap devices (pswpout)", _counters("pswpout")),
    Objective("swap_in", "pages", "pages read from swap devices (pswpin)", _counters("pswpin")),
    Objective("swap_traffic", "pages", "both together", _counters("pswpin", "pswpout")),
    Objective("disk_in", "KiB", "read from all devices (pgpgin)", _counters("pgpgin")),
    Objective("disk_out", "KiB", "written to all devices (pgpgout)", _counters("pgpgout")),
    Objective("refaults", "pages", "evicted pages that were needed again",
              _counters("workingset_refault_anon", "workingset_refault_file")),
    Objective("direct_reclaims", "events", "times a task had to reclaim memory itself (allocstall_*)",
              _stalls_of_zones),
    Objective("scanned", "pages", "pages that reclaim looked at",
              _counters("pgscan_kswapd", "pgscan_direct")),
    Objective("psi_memory_some", "percent", "share of the time in which some task was stalled on memory",
              _psi("memory_some")),
    Objective("psi_memory_full", "percent", "share of the time in which all of them were", _psi("memory_full")),
    Objective("psi_io_some", "percent", "share of the time in which some task waited for a device", _psi("io_some")),
    Objective("kills", "events", "tasks killed, by the kernel or by a daemon", _kills, True),
]  # fmt: skip
OBJECTIVES: dict[str, Objective] = {objective.name: objective for objective in _ALL}


def find(text: str, tasks: Iterable[str] = (), counters: Iterable[str] | None = None) -> Objective:
    """The measure of a name, as people write it.

    Parameters
    ----------
    text : str
        ``NAME``, ``NAME@TASK`` or ``vmstat.COUNTER``.
    tasks : iterable of str
        Names of the tasks there are.
    counters : iterable of str, optional
        Counters there are; None: not checked.

    Raises
    ------
    ScenarioError
        No such measure, task or counter; the message lists what is accepted.
    """
    if text.startswith(VMSTAT):
        counter = text.removeprefix(VMSTAT)
        if counters is not None and counter not in (known := list(counters)):
            near = difflib.get_close_matches(counter, known, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else "; accepted are the names of /proc/vmstat"
            raise ScenarioError(f"measure {text!r}: no such counter{hint}")
        return Objective(text, "events", f"{counter} of /proc/vmstat", _counters(counter), more_is_better=None)
    name, at, task = text.partition("@")
    if name not in OBJECTIVES:
        near = difflib.get_close_matches(name, OBJECTIVES, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"accepted are {', '.join(OBJECTIVES)}"
        raise ScenarioError(f"measure {text!r}: unknown; {hint}")
    objective = OBJECTIVES[name]
    if not at:
        return objective
    if not objective.per_task:
        accepted = ", ".join(n for n, o in OBJECTIVES.items() if o.per_task)
        raise ScenarioError(f"measure {text!r}: {name} is of the whole machine; of one task there are {accepted}")
    known = list(tasks)
    if task not in known:
        raise ScenarioError(f"measure {text!r}: no such task; accepted are {', '.join(known[:20])}")
    return replace(objective, name=text, task=task)


def outcomes(result: Result) -> dict[str, float]:
    """All of `OBJECTIVES` of one run."""
    return {name: objective.value(result) for name, objective in OBJECTIVES.items()}
