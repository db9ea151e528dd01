"""What changed between scenarios or saved results: in the settings, in the outcome, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymem import objectives, provenance, tunables, units
from pymem import scenario as scenarios
from pymem.errors import PymemError, ScenarioError
from pymem.objectives import OBJECTIVES
from pymem.result import MARK, Result
from pymem.saved import read_document
from pymem.scenario import Scenario
from pymem.settings import in_words
from pymem.statistics import METHOD, Difference, difference, least_p
from pymem.sweeps.design import replicate_seed
from pymem.sweeps.executors import Job, execute
from pymem.sweeps.run import MAX_REPLICATES, check_measures, follow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymem.sweeps.run import ProgressFn

SIGNIFICANT = 0.05
MISSING = "-"
#: What a comparison shows unless something else is asked for.
SHOWN = (
    "elapsed", "accesses_per_second", "p50_fault_latency", "p99_fault_latency", "p999_fault_latency", "stall",
    "stall_direct_reclaim", "stall_swap_in", "stall_file_read", "stall_dirty", "major_faults", "swap_in", "swap_out",
    "disk_in", "disk_out", "direct_reclaims", "psi_memory_some", "psi_memory_full", "kills",
)  # fmt: skip


@dataclass(frozen=True)
class Side:
    """One of those compared.

    Attributes
    ----------
    label : str
    settings : dict
        Flat, by dotted name.
    outcomes : dict of list
        One value per replicate, by measure.
    statuses : list of str
        How the runs ended.
    """

    label: str
    settings: dict[str, Any]
    outcomes: dict[str, list[float]]
    statuses: list[str]


@dataclass(frozen=True)
class Comparison:
    """The first side against each of the others.

    Attributes
    ----------
    sides : list of Side
    measures : list of str
        Those to show.
    """

    sides: list[Side]
    measures: list[str]
    tasks: list[str] = field(default_factory=list)

    @property
    def pairs(self) -> int:
        """Paired runs of every side: 1 where one of them is a saved result."""
        return min(len(side.statuses) for side in self.sides)

    def settings(self) -> dict[str, list[Any]]:
        """What is not the same on all sides: values by name, ``"-"`` where a side has no such setting."""
        names = dict.fromkeys(name for side in self.sides for name in side.settings)
        rows = {name: [side.settings.get(name, MISSING) for side in self.sides] for name in names}
        return {name: values for name, values in rows.items() if any(value != values[0] for value in values)}

    @property
    def random(self) -> bool:
        """Whether chance plays a part: the replicates of some side did not all come out the same."""
        return any(value != values[0] for side in self.sides for values in side.outcomes.values() for value in values)

    def difference(self, measure: str, other: int = 1) -> Difference:
        """Side `other` against the first."""
        n = self.pairs
        return difference(self.sides[0].outcomes[measure][:n], self.sides[other].outcomes[measure][:n])

    def objective(self, measure: str) -> objectives.Objective:
        """The measure, with its unit."""
        return objectives.find(measure, self.tasks)

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it; None stands for what one run, or runs without chance, cannot say."""
        rows = []
        for other in range(1, len(self.sides)):
            for name in self.measures:
                d, objective = self.difference(name, other), self.objective(name)
                sure = self.random and d.pairs > 1
                rows.append({
                    "measure": name, "unit": objective.unit, "a": self.sides[0].label, "b": self.sides[other].label,
                    "mean_a": d.before, "mean_b": d.after, "change": d.change,
                    "relative": d.relative, "judgement": objective.judge(d.change),
                    "low": d.low if sure else None, "high": d.high if sure else None,
                    "p": d.p if sure else None, "significant": d.p < SIGNIFICANT if sure else None,
                })  # fmt: skip
        return {
            "sides": [{"label": s.label, "statuses": s.statuses, "outcomes": s.outcomes} for s in self.sides],
            "settings": self.settings(), "differences": rows, "replicates": self.pairs, "random": self.random,
            "method": METHOD,
        }  # fmt: skip

    def words(self, other: int = 1) -> list[str]:
        """What changed, in sentences: the settings, then what is significant or, with one run, what is large."""
        label = self.sides[other].label
        said = []
        changed = {k: v for k, v in self.settings().items() if v[0] != v[other]}
        texts = [f"{name} {_short(v[0])} → {_short(v[other])}" for name, v in list(changed.items())[:6]]
        more = f", and {len(changed) - 6} more" if len(changed) > 6 else ""
        said.append(f"Settings of {label}: {', '.join(texts)}{more}." if texts else f"Settings of {label}: the same.")
        found = [(name, self.difference(name, other)) for name in self.measures]
        found = [(name, d) for name, d in found if d.change]
        found.sort(key=lambda item: _factor(item[1]), reverse=True)
        if not found:
            return [*said, "The outcome is the same in everything that was measured."]
        if self.pairs == 1:
            said.append("One run of each: the differences below are real for these runs, and say nothing about others.")
        elif not self.random:
            said.append("All runs of a side came out the same: no chance in it, the differences below are exact.")
        for name, d in found:
            if not self.random or self.pairs == 1 or d.p < SIGNIFICANT:
                said.append(self._sentence(name, d))
        if self.random and self.pairs > 1:
            unsure = [name for name, d in found if d.p >= SIGNIFICANT]
            if unsure:
                said.append(f"May be chance (p ≥ {SIGNIFICANT}): {', '.join(unsure)}.")
            if least_p(self.pairs) >= SIGNIFICANT:
                said.append(
                    f"{self.pairs} replicates cannot show more than p = {least_p(self.pairs):.2g}; 6 or more can."
                )
        return said

    def _sentence(self, name: str, d: Difference) -> str:
        objective = self.objective(name)
        size = f"{d.relative:+.1%}" if d.relative is not None else "from nothing"
        judged = objective.judge(d.change).capitalize()
        text = f"{judged}: {name} {objective.format(d.before)} → {objective.format(d.after)}"
        sure = f", p = {d.p:.2g}" if self.random and d.pairs > 1 else ""
        return f"{text} ({size}{sure})."


def compare(
    *what: Scenario | Result | str | Path, replicates: int = 8, measures: Sequence[str] = (),
    executor: str = "threads", jobs: int | None = None, progress: bool | ProgressFn = False,
) -> Comparison:  # fmt: skip
    """Compare two or more scenarios or results; the first is the one the others are compared with.

    Parameters
    ----------
    *what : Scenario, Result or path
        A path is a TOML file, or the folder of a saved result.
    replicates : int
        Runs of each scenario; the n-th ones of all scenarios have the same seed, drawn from that of the first scenario.
        A result is one run, and then one pair is all there is.
    measures : sequence of str
        To show, instead of the usual ones; also ``name@task`` and ``vmstat.counter``, for scenarios and `Result`
        objects.
    executor : {"threads", "processes"}
        Where the runs are done, see `pymem.sweep`.
    jobs : int, optional
        Runs at a time.
    progress : bool or function
        True shows a bar.

    Raises
    ------
    PymemError
        Fewer than two, something that cannot be read, an unknown measure, or a run that fails.
    """
    if len(what) < 2:
        raise ScenarioError(f"compare: {len(what)} given; accepted are two and more scenarios or results")
    if isinstance(replicates, bool) or not isinstance(replicates, int) or not 1 <= replicates <= MAX_REPLICATES:
        raise ScenarioError(f"replicates: {replicates!r}; accepted is 1 to {MAX_REPLICATES}")
    loaded = [_load(item) for item in what]
    labels = _labels(what, [item["name"] if isinstance(item, dict) else item.name for item in loaded])
    runnable = [item for item in loaded if isinstance(item, Scenario)]
    for scenario in runnable:
        check_measures(scenario, measures)
    count = replicates if len(runnable) == len(loaded) else 1
    runs = _run(runnable, count, [m for m in measures if m not in OBJECTIVES], executor, jobs, progress)
    sides = [
        replace(runs.pop(0), label=label) if isinstance(item, Scenario) else _saved(item, label, measures)
        for item, label in zip(loaded, labels, strict=True)
    ]
    tasks = {name for scenario in runnable for name in (task.name for task in scenario.tasks)}
    tasks |= {name for item in loaded if isinstance(item, Result) for name in item.tasks}
    return Comparison(sides, list(measures or SHOWN), sorted(tasks))


def _load(item: Any) -> Scenario | Result | dict[str, Any]:
    if isinstance(item, (Scenario, Result)):
        return item
    path = Path(item)
    if not path.is_dir():
        return scenarios.load(path)
    document = read_document(path)
    if not isinstance(document, dict) or not isinstance(document.get("outcomes"), dict):
        raise PymemError(f"{path / MARK}: was written by an older version of pymem; run the scenario again")
    return document


def _labels(what: Sequence[Any], names: Sequence[str]) -> list[str]:
    """What to call the sides: by their files, or by the names of the scenarios; numbered where they are the same."""
    if all(isinstance(item, (str, Path)) for item in what):
        stems = [Path(item).stem for item in what]
        names = stems if len(set(stems)) == len(stems) else [str(item) for item in what]
    names = [name or "scenario" for name in names]
    return [f"{name} ({i + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def _run(
    bases: list[Scenario], count: int, extra: list[str], executor: str, jobs: int | None, progress: bool | ProgressFn
) -> list[Side]:  # fmt: skip
    work = [
        Job(number, replicate, replicate_seed(bases[0].seed, replicate) if count > 1 else base.seed, {}, number)
        for replicate in range(count)
        for number, base in enumerate(bases)
    ]
    runs = list(follow(execute(bases, work, measures=extra, executor=executor, workers=jobs), 0, len(work), progress))
    runs.sort(key=lambda run: (run.point, run.replicate))
    for run in runs:
        if run.status == "failed":
            raise PymemError(f"{bases[run.point].name or 'scenario'}: {run.error}")
    sides = []
    for number, base in enumerate(bases):
        mine = [run for run in runs if run.point == number]
        outcomes = {name: [run.outcome[name] for run in mine] for name in mine[0].outcome}
        settings = flat_settings(provenance.describe(base))
        if count > 1:
            del settings["seed"]  # all run with the seeds that follow from the first one's
        sides.append(Side("", settings, outcomes, [run.status for run in mine]))
    return sides


def _saved(item: Result | dict[str, Any], label: str, measures: Sequence[str]) -> Side:
    if isinstance(item, Result):
        outcome = objectives.outcomes(item)
        for name in measures:
            outcome[name] = objectives.find(name, item.tasks, item.vmstat).value(item)
        described = item.provenance["scenario"]
        status = item.status
    else:
        outcome = dict(item["outcomes"])
        for name in measures:
            if name.startswith(objectives.VMSTAT):
                objectives.find(name, (), item["vmstat"])
                outcome[name] = item["vmstat"][name.removeprefix(objectives.VMSTAT)]
            elif name not in outcome:
                objectives.find(name, item["tasks"])
                raise ScenarioError(f"measure {name!r}: the saved result {label} does not have it; give its scenario")
        described = item["provenance"]["scenario"]
        status = item["status"]
    return Side(label, flat_settings(described), {k: [v] for k, v in outcome.items()}, [status])


def flat_settings(described: Mapping[str, Any]) -> dict[str, Any]:
    """Everything a described scenario says, by dotted name; tunables and costs with their defaults.

    Tasks go by their names, so that a task more does not make all others differ.
    """
    out: dict[str, Any] = {}
    resolved = tunables.resolve(described.get("vm", {}), described.get("kernel", "6.12"))
    out |= {f"vm.{name}": in_words(name, number) for name, number in resolved.items()}
    given = {str(name).removeprefix("c_"): value for name, value in described.get("costs", {}).items()}
    for name, cost in tunables.COSTS.items():
        short = name.removeprefix("c_")
        out[f"costs.{short}"] = units.parse_time(given.get(short, cost.default))
    for key, value in described.items():
        if key == "tasks":
            for task in value:
                _flatten(f"tasks.{task['name']}", {k: v for k, v in task.items() if k not in ("name", "type")}, out)
        elif key not in ("vm", "costs", "name", "type"):
            _flatten(key, value, out)
    if out.get("machine.memory"):
        out["machine.memory"] = units.format_bytes(units.parse_bytes(out["machine.memory"]))
    return out


def _flatten(prefix: str, value: Any, out: dict[str, Any]) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _flatten(f"{prefix}.{key}" if key != "type" or len(value) == 1 else f"{prefix}.type", inner, out)
    elif isinstance(value, list) and any(isinstance(inner, (dict, list)) for inner in value):
        for number, inner in enumerate(value):
            _flatten(f"{prefix}[{number}]", inner, out)
    else:
        out[prefix] = value


def _factor(d: Difference) -> float:
    """How many times more or less: half as much weighs as much as twice as much."""
    if d.before <= 0 or d.after <= 0:
        return math.inf
    return max(d.after / d.before, d.before / d.after)


def _short(value: Any) -> str:
    text = MISSING if value is None else str(value)
    return text if len(text) <= 30 else text[:27] + "..."
