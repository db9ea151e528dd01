"""The best settings for an aim: a search by Optuna, confirmed by runs with other random numbers.

The search is a fixed sequence: each batch of trials follows from the seed and the outcomes before it, whatever ran
where and when.  So a search that is begun again asks for the same trials, and what its store holds is not run again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymem import objectives, provenance
from pymem import scenario as scenarios
from pymem.errors import PymemError, ScenarioError
from pymem.settings import format_value, setting, settings_of
from pymem.statistics import Difference, difference
from pymem.sweeps.design import Range, range_of, replicate_seed
from pymem.sweeps.executors import Job, execute
from pymem.sweeps.run import MAX_REPLICATES, SweepProgress, check_measures
from pymem.sweeps.store import Store
from pymem.sysctl import conf_text

if TYPE_CHECKING:
    from pymem.scenario import Scenario
    from pymem.sweeps.run import ProgressFn
    from pymem.sweeps.store import Run

BATCH = 4  # trials that are asked for at once, and may run at once
CONFIRM_FIRST = 1 << 20  # replicates from here on confirm: beyond those of any search
WIDEST = 10_000  # a tunable that accepts more values than this has no range worth searching unless one is given
LOG_FROM = 100  # a range that reaches over this factor is searched on a logarithmic scale


@dataclass(frozen=True)
class Trial:
    """One point of the search: its number, its settings, the mean of the aim (None: does not count) and why."""

    number: int
    settings: dict[str, Any]
    value: float | None
    why: str = ""


@dataclass(frozen=True)
class Tuning:
    """What a search has found.

    Attributes
    ----------
    objective : Objective
    maximize : bool
    default : dict
        The searched settings as the scenario has them.
    best : dict
        The best ones found; the same as `default` where nothing was better.
    units : dict of str
    confirmed : Difference
        The aim from default to best, over paired runs that the search has not seen.
    importance : dict of float
        Share of each setting in what makes trials good (PED-ANOVA), largest first; empty where it cannot be told.
    trials : list of Trial
        Number 0 is the scenario as it is.
    random : bool
        Whether chance plays a part: the confirming runs of one setting did not all come out the same.
    resumed : int
        Runs that were there before.
    """

    objective: objectives.Objective
    maximize: bool
    default: dict[str, Any]
    best: dict[str, Any]
    units: dict[str, str]
    confirmed: Difference
    importance: dict[str, float]
    trials: list[Trial]
    random: bool = True
    resumed: int = 0

    @property
    def better(self) -> bool:
        """Whether the best is better than the default beyond chance: the 95 % interval says so."""
        return self.confirmed.low > 0 if self.maximize else self.confirmed.high < 0

    def sysctl_conf(self) -> str:
        """The best settings as a sysctl.conf that ``pymem run --sysctl`` takes."""
        changed = {k: v for k, v in self.best.items() if v != self.default[k]}
        return conf_text(changed, self.words())

    def words(self) -> list[str]:
        """What was found, and how sure it is, in sentences."""
        show, d = self.objective.format, self.confirmed
        changed = [
            f"{name} = {format_value(value, unit)} (was {format_value(self.default[name], unit)})"
            for (name, value), unit in zip(self.best.items(), self.units.values(), strict=True)
            if value != self.default[name]
        ]
        if not changed:
            return [f"None of {len(self.trials) - 1} trials was better than the scenario as it is."]
        size = f"{d.relative:+.1%}" if d.relative is not None else "from nothing"
        sure = (
            f"95 % interval of the change {show(d.low)} to {show(d.high)}, p = {d.p:.2g}; {d.pairs} paired runs that "
            "the search had not seen"
            if self.random
            else "exact: other random numbers change nothing here"
        )
        lines = [
            f"Best of {len(self.trials) - 1} trials: {', '.join(changed)}.",
            f"{self.objective.name}: {show(d.before)} by default, {show(d.after)} with it ({size}; {sure}).",
        ]
        if not self.better:
            lines.append("That may be chance: do not rely on it.")
        if self.importance:
            shares = ", ".join(f"{name} {share:.0%}" for name, share in self.importance.items())
            lines.append(f"What matters most: {shares}.")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "objective": self.objective.name, "maximize": self.maximize, "default": self.default, "best": self.best,
            "better": self.better, "random": self.random,
            "confirmed": {**vars(self.confirmed), "change": self.confirmed.change},
            "importance": self.importance, "trials": [vars(trial) for trial in self.trials],
        }  # fmt: skip


def default_range(scenario: Scenario, key: str) -> Range:
    """Where a setting is searched unless a range is given: all values it accepts.

    Raises
    ------
    ScenarioError
        There are too many, or the setting has no bounds of its own.
    """
    knob = setting(key, scenario)
    if knob.words:
        return Range(knob, 0, len(knob.words) - 1)
    if knob.minimum is None or knob.maximum is None or not knob.name.startswith("vm.") or knob.maximum > WIDEST:
        raise ScenarioError(f"over {key}: accepts too many values to search them all; accepted is {key}=LOW:HIGH[:log]")
    return Range(knob, knob.minimum, knob.maximum, log=knob.minimum >= 1 and knob.maximum >= LOG_FROM * knob.minimum)


def ranges_of(scenario: Scenario, over: Mapping[str, Any] | Sequence[str]) -> dict[str, Range]:
    """The ranges to search, by name; None as bounds, or a sequence of keys: `default_range`."""
    pairs = over.items() if isinstance(over, Mapping) else [(key, None) for key in over]
    out: dict[str, Range] = {}
    for key, bounds in pairs:
        found = default_range(scenario, key) if bounds is None else range_of(scenario, key, bounds)
        if found.setting.name in out:
            raise ScenarioError(f"over {key}: given twice")
        out[found.setting.name] = found
    if not out:
        raise ScenarioError("tune: nothing to search; accepted are one or more settings after --over")
    return out


def tune(
    scenario: Scenario | str | Path, *, over: Mapping[str, Any] | Sequence[str], minimize: str | None = None,
    maximize: str | None = None, trials: int = 40, replicates: int = 3, confirm: int = 10,
    store: str | Path | None = None, jobs: int | None = None, progress: bool | ProgressFn = False,
) -> Tuning:  # fmt: skip
    """Search the best settings.

    Parameters
    ----------
    scenario : Scenario or path of a TOML file
        Its seed decides the search; the number of threads changes nothing.
    over : sequence of str, or mapping
        Settings to search, with ranges (``(0, 100)``, ``"1:1000:log"``) or None for all a tunable accepts.
    minimize, maximize : str
        The aim, one of them: a measure of `pymem.objectives`.
    trials : int
        Points tried beside the scenario as it is.
    replicates : int
        Runs per point; the aim is their mean.
    confirm : int
        Paired runs of default and best with other random numbers, 2 or more: the search picks what was lucky, too.
    store : path, optional
        As for `pymem.sweep`; the same search goes on there, with more trials too.
    jobs : int, optional
        Threads.
    progress : bool or function

    Raises
    ------
    PymemError
        Optuna is missing, something is not accepted, or the scenario as it is cannot be simulated.

    Notes
    -----
    A trial is out of bounds if a run fails, ends by panic or gets stuck, or if more tasks are killed than by default:
    a program that is killed has short faults. Tasks lost do not count against aims that count them.
    """
    base = scenario if isinstance(scenario, scenarios.Scenario) else scenarios.load(scenario)
    if (minimize is None) == (maximize is None):
        raise ScenarioError("tune: accepted is one aim, to minimize or to maximize")
    aim = str(minimize or maximize)
    for name, value, least in (("trials", trials, 1), ("replicates", replicates, 1), ("confirm", confirm, 2)):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MAX_REPLICATES:
            raise ScenarioError(f"{name}: {value!r}; accepted is {least} to {MAX_REPLICATES}")
    check_measures(base, [aim])
    ranges = ranges_of(base, over)
    try:
        import optuna
    except ImportError:
        raise PymemError("tuning needs Optuna, which is not installed; pip install 'pymem-sim[sweep]'") from None
    with Store(store) as kept:
        kept.identify(
            {
                "scenario or seed": provenance.fingerprint(base), "aim": ["max" if maximize else "min", aim],
                "ranges": {name: found.describe() for name, found in ranges.items()}, "replicates": replicates,
                "version of pymem": provenance.version(), "version of Optuna": optuna.__version__,
            },
            kind="tune", name=base.name,
        )  # fmt: skip
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            search = _Search(base, ranges, aim, maximize is not None, replicates, kept, jobs, progress)
            return search.run(optuna, trials, confirm)
        finally:
            optuna.logging.set_verbosity(before)


class _Search:
    """One search: points are put down in the order in which they are asked for."""

    def __init__(
        self, base: Scenario, ranges: dict[str, Range], aim: str, maximize: bool, replicates: int, store: Store,
        jobs: int | None, progress: bool | ProgressFn,
    ) -> None:  # fmt: skip
        self.base, self.ranges, self.aim, self.maximize = base, ranges, aim, maximize
        self.replicates, self.store, self.jobs = replicates, store, jobs
        self.objective = objectives.find(aim, [task.name for task in base.tasks])
        everything = settings_of(base)
        self.default = {name: everything[name] for name in ranges}
        self.runs: dict[tuple[int, int], Run] = {(run.point, run.replicate): run for run in store.runs()}
        self.resumed = len(self.runs)
        self.ended, self.total = 0, 0
        self.progress = progress
        self.number: dict[str, int] = {}  # of points, by their settings

    def point(self, settings: dict[str, Any]) -> int:
        """The number of a point, a new one or that of an earlier point with the same settings."""
        key = json.dumps(settings, sort_keys=True)
        if key not in self.number:
            self.number[key] = len(self.number)
            self.store.add_points([(self.number[key], settings)])
        return self.number[key]

    def simulate(self, points: dict[int, dict[str, Any]], replicates: range) -> None:
        """Run what is not there yet."""
        work = [
            Job(point, replicate, replicate_seed(self.base.seed, replicate), settings)
            for point, settings in points.items()
            for replicate in replicates
            if (point, replicate) not in self.runs
        ]
        for run in execute([self.base], work, measures=[self.aim], workers=self.jobs):
            self.store.add(run)
            self.runs[run.point, run.replicate] = run
            self.ended += 1
            if callable(self.progress):
                self.progress(SweepProgress(self.ended, self.total, 0, None))

    def value(self, point: int) -> tuple[float | None, str]:
        """Mean of the aim at a point, or why it does not count."""
        runs = [self.runs[point, replicate] for replicate in range(self.replicates)]
        for run in runs:
            if run.status in ("failed", "panic", "stuck"):
                return None, run.error or f"ended by {run.status}"
        kills = sum(run.outcome["kills"] for run in runs)
        usual = sum(self.runs[0, replicate].outcome["kills"] for replicate in range(self.replicates))
        if kills > usual and self.objective.name.partition("@")[0] != "kills":
            return None, "more tasks were killed than by default"
        return sum(run.outcome[self.aim] for run in runs) / len(runs), ""

    def run(self, optuna: Any, trials: int, confirm: int) -> Tuning:
        """Search, then confirm."""
        tell, close = self._bar(trials, confirm)
        self.progress = tell
        try:
            return self._run(optuna, trials, confirm)
        finally:
            close()

    def _run(self, optuna: Any, trials: int, confirm: int) -> Tuning:
        distributions = {name: _distribution(optuna, found) for name, found in self.ranges.items()}
        study = optuna.create_study(
            direction="maximize" if self.maximize else "minimize",
            sampler=optuna.samplers.TPESampler(seed=int(self.base.seed) & 0xFFFFFFFF),
        )
        self.simulate({self.point({}): {}}, range(self.replicates))
        usual, why = self.value(0)
        if usual is None:
            raise PymemError(f"tune: the scenario as it is cannot be used: {why}")
        out = [Trial(0, {}, usual)]
        if all(_inside(d, self.default[name]) for name, d in distributions.items()):
            study.add_trial(
                optuna.trial.create_trial(params=self.default, distributions=distributions, value=usual)
            )
        while len(out) <= trials:
            asked = [study.ask(distributions) for _ in range(min(BATCH, trials + 1 - len(out)))]
            settings = [{name: trial.params[name] for name in self.ranges} for trial in asked]
            points = [self.point(one) for one in settings]
            self.simulate(dict(zip(points, settings, strict=True)), range(self.replicates))
            for trial, one, point in zip(asked, settings, points, strict=True):
                value, why = self.value(point)
                if value is None:
                    study.tell(trial, state=optuna.trial.TrialState.FAIL)
                else:
                    study.tell(trial, value)
                out.append(Trial(len(out), one, value, why))
        sign = -1 if self.maximize else 1
        best = min((trial for trial in out if trial.value is not None), key=lambda t: (sign * (t.value or 0), t.number))
        chosen = {**self.default, **best.settings}
        point = self.point(best.settings)
        again = range(CONFIRM_FIRST, CONFIRM_FIRST + confirm)
        self.simulate({0: {}, point: best.settings}, again)
        pairs = [(self.runs[0, r], self.runs[point, r]) for r in again]
        for run in (run for pair in pairs for run in pair):
            if run.status == "failed":
                raise PymemError(f"tune: a run with other random numbers failed: {run.error}")
        confirmed = difference([a.outcome[self.aim] for a, _ in pairs], [b.outcome[self.aim] for _, b in pairs])
        return Tuning(
            self.objective, self.maximize, self.default, chosen,
            {name: found.setting.unit for name, found in self.ranges.items()}, confirmed,
            _importance(optuna, study, out), out,
            any(run.outcome != side[0].outcome for side in zip(*pairs, strict=True) for run in side), self.resumed,
        )  # fmt: skip

    def _bar(self, trials: int, confirm: int) -> tuple[Any, Any]:
        from pymem.sweeps.run import bar

        self.total = (trials + 1) * self.replicates + 2 * confirm
        if self.progress is True:
            return bar(0, self.total, "tune")
        return self.progress or None, lambda: None


def _distribution(optuna: Any, found: Range) -> Any:
    if found.setting.words:
        return optuna.distributions.CategoricalDistribution(found.setting.words)
    step = found.setting.step
    low, high = -(-found.low // step) * step, found.high // step * step
    if found.log:
        return optuna.distributions.IntDistribution(low, high, log=True)
    return optuna.distributions.IntDistribution(low, high, step=step)


def _inside(distribution: Any, value: Any) -> bool:
    choices = getattr(distribution, "choices", None)
    if choices is not None:
        return value in choices
    return bool(distribution.low <= value <= distribution.high and (value - distribution.low) % distribution.step == 0)


def _importance(optuna: Any, study: Any, trials: Sequence[Trial]) -> dict[str, float]:
    """Shares by PED-ANOVA; nothing where all trials came out the same or there are too few."""
    if len({trial.value for trial in trials if trial.value is not None}) < 4:
        return {}
    found = optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())
    return {name: float(share) for name, share in found.items()}
