"""A sweep from its design to its rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymem import objectives, provenance
from pymem import scenario as scenarios
from pymem.errors import ScenarioError, StoreError
from pymem.settings import settings_of
from pymem.simulation import Simulation
from pymem.sweeps import design as designs
from pymem.sweeps.executors import EXECUTORS, Job, execute
from pymem.sweeps.result import SweepResult
from pymem.sweeps.store import Store, place_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pymem.scenario import Scenario
    from pymem.sweeps.store import Run

MAX_REPLICATES = 1_000_000


@dataclass(frozen=True)
class SweepProgress:
    """What a progress function is told: runs that are there, failed ones among them, and seconds left (or None)."""

    done: int
    total: int
    failed: int
    eta_seconds: float | None


ProgressFn = Callable[[SweepProgress], None]


def sweep(
    scenario: Scenario | str | Path, *, grid: Mapping[str, Sequence[Any]] | None = None,
    over: Mapping[str, Any] | None = None, random: int | None = None, latin_hypercube: int | None = None,
    replicates: int = 1, measures: Sequence[str] = (), store: str | Path | None = None, executor: str = "threads",
    jobs: int | None = None, dask: str | None = None, retry_failed: bool = False,
    progress: bool | ProgressFn = False,
) -> SweepResult:  # fmt: skip
    """Simulate a scenario with many settings.

    Parameters
    ----------
    scenario : Scenario or path of a TOML file
        Its seed is the root of all random numbers of the sweep.
    grid : mapping of sequence
        Values by setting (``{"vm.swappiness": [0, 60, 100]}``); all combinations are run.
    over : mapping
        Ranges by setting (``{"vm.swappiness": (0, 200)}``, ``"1:1000:log"``), for `random` or `latin_hypercube` draws;
        with a grid, every combination meets every draw.
    random, latin_hypercube : int, optional
        How many draws.
    replicates : int
        Runs per point, with independent seeds; the n-th ones of all points share theirs.
    measures : sequence of str
        Beside all of `pymem.objectives.OBJECTIVES`: ``"p99_fault_latency@app"``, ``"vmstat.pgscan_direct"``.
    store : path, optional
        Where results are kept: a file (.sqlite) or a folder. The same sweep with the same store goes on where it ended.
        None: in memory.
    executor : {"threads", "processes"}
    jobs : int, optional
        Runs at once; default is the number of CPUs.
    dask : str, optional
        ``"local"`` or the address of a Dask scheduler, instead of `executor`.
    retry_failed : bool
        Run again what failed.
    progress : bool or function
        True shows a bar; a function is called with a `SweepProgress` after every run.

    Raises
    ------
    PymemError
        A setting, value, measure, store or executor that is not accepted. A run that fails does not raise; its row says
        why.
    """
    base = scenario if isinstance(scenario, scenarios.Scenario) else scenarios.load(scenario)
    if isinstance(replicates, bool) or not isinstance(replicates, int) or not 1 <= replicates <= MAX_REPLICATES:
        raise ScenarioError(f"replicates: {replicates!r}; accepted is 1 to {MAX_REPLICATES}")
    if executor not in EXECUTORS:
        raise ScenarioError(f"executor: {executor!r}; accepted are {', '.join(EXECUTORS)}")
    check_measures(base, measures)
    design = designs.make(base, grid or {}, over or {}, random, latin_hypercube, base.seed)
    if len(design.points) * replicates > designs.MAX_POINTS:
        raise ScenarioError(f"sweep: {len(design.points) * replicates} runs; accepted are up to {designs.MAX_POINTS}")
    with Store(store) as kept:
        identity = {
            "scenario or seed": provenance.fingerprint(base), "points": design.description,
            "measures": list(measures), "version of pymem": provenance.version(),
        }  # fmt: skip
        fixed = {k: v for k, v in settings_of(base).items() if k not in design.settings}
        kept.identify(
            identity, kind="sweep", name=base.name, fixed=fixed, design=design.description,
            varied={name: knob.unit for name, knob in design.settings.items()},
            scenario=provenance.describe(base),
        )  # fmt: skip
        kept.add_points(enumerate(design.points))
        if retry_failed:
            kept.forget_failed()
        done = kept.done()
        wanted = [
            Job(point, replicate, designs.replicate_seed(base.seed, replicate), settings)
            for replicate in range(replicates)
            for point, settings in enumerate(design.points)
            if (point, replicate) not in done
        ]
        there = len(design.points) * replicates - len(wanted)
        runs = execute([base], wanted, measures=measures, executor=executor, workers=jobs, dask=dask)
        for run in follow(runs, there, there + len(wanted), progress):
            kept.add(run)
        return SweepResult.of(kept, replicates, resumed=there)


def open_store(store: str | Path) -> SweepResult:
    """What a store of a sweep holds so far, also while it is being written.

    Raises
    ------
    StoreError
        No such file, or not a store of a sweep.
    """
    with Store(store, write=False) as kept:
        if kept.meta("kind") != "sweep":
            raise StoreError(f"{place_of(store)}: holds no sweep")
        return SweepResult.of(kept)


def check_measures(scenario: Scenario, measures: Sequence[str]) -> None:
    """Refuse measures that no run of this scenario has."""
    counters = Simulation(scenario).vmstat() if any(m.startswith(objectives.VMSTAT) for m in measures) else None
    for name in measures:
        objectives.find(name, [task.name for task in scenario.tasks], counters)


def follow(runs: Iterable[Run], there: int, total: int, progress: bool | ProgressFn) -> Iterator[Run]:
    """The same runs, with the progress told."""
    if progress is False:
        yield from runs
        return
    tell, close = bar(there, total, "sweep") if progress is True else (progress, lambda: None)
    begin, done, failed = time.perf_counter(), there, 0
    try:
        for run in runs:
            yield run
            done += 1
            failed += run.status == "failed"
            spent = time.perf_counter() - begin
            tell(SweepProgress(done, total, failed, spent / (done - there) * (total - done)))
    finally:
        close()


def bar(there: int, total: int, what: str) -> tuple[ProgressFn, Callable[[], None]]:
    """What shows progress in the terminal, and what takes it away."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    shown = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("runs, left"),
        TimeRemainingColumn(), console=Console(stderr=True), transient=True,
    )  # fmt: skip
    row = shown.add_task(what, total=total, completed=there)
    shown.start()

    def show(p: SweepProgress) -> None:
        shown.update(row, completed=p.done, description=f"{what}, {p.failed} failed" if p.failed else what)

    return show, shown.stop
