"""What an experiment of a guide is, and what it may show and change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pymem

FOLDER = Path(__file__).resolve().parent

Results = Mapping[str, pymem.Result]
Finding = tuple[str, bool]  # a sentence with figures of the run, and whether it is true


@dataclass(frozen=True)
class Row:
    """One run: a scenario of this folder, and what is changed in it."""

    label: str
    scenario: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    change: Callable[[pymem.Scenario], pymem.Scenario] = lambda scenario: scenario

    def run(self, **settings: Any) -> pymem.Result:
        """The result, with further `settings` such as another seed."""
        settings = {**self.settings, "sample_interval": "50ms", **settings}
        return pymem.simulate(self.change(pymem.load(FOLDER / f"{self.scenario}.toml").with_settings(settings)))


@dataclass(frozen=True)
class Experiment:
    """A table of a guide: `columns` say what is shown of each row, `findings` what follows from all of them."""

    guide: str
    name: str
    head: str
    rows: tuple[Row, ...]
    columns: Mapping[str, Callable[[pymem.Result], str]]
    findings: Callable[[Results], Iterator[Finding]]

    def run(self, **settings: Any) -> dict[str, pymem.Result]:
        """The results by label, all of them with further `settings`."""
        return {row.label: row.run(**settings) for row in self.rows}

    def markdown(self, results: Results) -> str:
        """The table, and the findings as a list."""
        lines = [f"| {' | '.join([self.head, *self.columns])} |", f"|{'---|' * (len(self.columns) + 1)}"]
        for label, result in results.items():
            lines.append(f"| {' | '.join([label, *(show(result) for show in self.columns.values())])} |")
        return "\n".join([*lines, "", *(f"- {sentence}" for sentence, _ in self.findings(results))]) + "\n"


# ---- what is shown ----------------------------------------------------------------------------------------


def count(name: str) -> Callable[[pymem.Result], str]:
    """A counter of /proc/vmstat; the sum of its zones where the name ends in `_`."""
    return lambda result: f"{total(result, name):,}"


def total(result: pymem.Result, name: str) -> int:
    return sum(n for key, n in result.vmstat.items() if key == name or (name.endswith("_") and key.startswith(name)))


def took(result: pymem.Result, task: str) -> float:
    """Seconds from the begin of a task to its end, or to that of the run."""
    row = result.tasks[task]
    return ((result.time_ns if row.end_ns is None else row.end_ns) - row.start_ns) / 1e9


def waited(result: pymem.Result, task: str, cause: str) -> float:
    """Seconds a task waited for one cause."""
    return result.tasks[task].stalls[cause] / 1e9


def cpu(result: pymem.Result, task: str) -> float:
    return result.tasks[task].cpu_ns / 1e9


def pages(n: float) -> str:
    """Pages as MiB."""
    return f"{n / 256:.0f} MiB"


def percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"


def seconds(figure: Callable[..., float], *arguments: str) -> Callable[[pymem.Result], str]:
    return lambda result: f"{figure(result, *arguments):.2f} s"


def deaths(result: pymem.Result) -> str:
    """Who was killed, in order, the first three by name."""
    names = [kill.task or "the kernel panics" for kill in result.oom_kills]
    more = [f"{len(names) - 3} more"] if len(names) > 3 else []
    return ", ".join(names[:3] + more) or "nobody"


# ---- what is changed --------------------------------------------------------------------------------------


def adjusted(**adj: int) -> Callable[[pymem.Scenario], pymem.Scenario]:
    """Another `oom_score_adj` for tasks by name."""

    def change(scenario: pymem.Scenario) -> pymem.Scenario:
        tasks = [replace(task, oom_score_adj=adj.get(task.name, task.oom_score_adj)) for task in scenario.tasks]
        return replace(scenario, tasks=tasks)

    return change


def swap(size: str, kind: str = "nvme") -> Callable[[pymem.Scenario], pymem.Scenario]:
    """Another swap area; a size of `"0"` is none."""

    def change(scenario: pymem.Scenario) -> pymem.Scenario:
        areas = [] if size == "0" else [pymem.SwapDevice(size, kind=kind)]
        return replace(scenario, machine=replace(scenario.machine, swap=areas))

    return change
