"""Who runs the runs: threads of this program, processes, or a Dask cluster; the results are the same on all of them.

A `Job` says everything that its outcome depends on, so where and in which order jobs run changes nothing.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from pymem import objectives
from pymem.errors import PymemError, ScenarioError
from pymem.settings import settings_of
from pymem.simulation import BUDGET, Simulation
from pymem.sweeps.store import Run
from pymem.traces.pipeline import usable_cpus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymem.scenario import Scenario

EXECUTORS = ("threads", "processes")
DASK_TIMEOUT = 10  # s, until a cluster has to answer


@dataclass(frozen=True)
class Job:
    """One run: scenario number `base` with other settings and another seed; `point` and `replicate` name it."""

    point: int
    replicate: int
    seed: int
    settings: dict[str, Any]
    base: int = 0


class Stopped(Exception):
    """The run was given up because the program is about to end."""


def run_job(bases: Sequence[Scenario], job: Job, measures: Sequence[str], stopped: Callable[[], bool]) -> Run:
    """Simulate; a run that cannot be simulated is an outcome like others, with its error.

    Parameters
    ----------
    measures : sequence of str
        More than those of `pymem.objectives.OBJECTIVES`.
    stopped : function
        Asked several times a second; true makes this raise Stopped.
    """
    try:
        base = bases[job.base]
        scenario = base.with_settings({**job.settings, "seed": job.seed})
        simulation = Simulation(scenario, ahead=False)
        while simulation.step(BUDGET):
            if stopped():
                raise Stopped
        result = simulation.result()
        outcome = objectives.outcomes(result)
        for name in measures:
            outcome[name] = objectives.find(name, result.tasks, result.vmstat).value(result)
        before, after = settings_of(base), settings_of(scenario)
        changed = {k: v for k, v in after.items() if before.get(k) != v and k not in job.settings}
        return Run(job.point, job.replicate, job.seed, result.status, "", outcome, changed, simulation.host_seconds)
    except Stopped:
        raise
    except Exception as error:  # whatever it is: it is put down, and the others go on
        text = str(error) if isinstance(error, PymemError) else f"{type(error).__name__}: {error}"
        return Run(job.point, job.replicate, job.seed, "failed", " ".join(text.split()) or type(error).__name__)


# ---- processes --------------------------------------------------------------------------------------------

_mine: tuple[Sequence[Scenario], Sequence[str], Callable[[], bool]]


def _start_process(bases: Sequence[Scenario], measures: Sequence[str], stop: Any) -> None:
    import signal

    global _mine  # noqa: PLW0603  one set of scenarios per worker process, sent once
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    _mine = (bases, measures, stop.is_set)


def _run_in_process(job: Job) -> Run:
    bases, measures, stopped = _mine
    return run_job(bases, job, measures, stopped)


# ---- Dask -------------------------------------------------------------------------------------------------


def _run_on_dask(bases: Sequence[Scenario], job: Job, measures: Sequence[str]) -> Run:
    return run_job(bases, job, measures, lambda: False)


@contextmanager
def _dask(address: str, workers: int, bases: Sequence[Scenario], measures: Sequence[str]) -> Iterator[Any]:
    try:
        import distributed
    except ImportError:
        raise PymemError("Dask is not installed; pip install 'pymem-sim[sweep]', or leave --dask out") from None
    from pymem.provenance import version

    cluster = client = None
    try:
        try:
            if address == "local":
                cluster = distributed.LocalCluster(
                    n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=50
                )
            client = distributed.Client(cluster or address, timeout=DASK_TIMEOUT, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise PymemError(
                f"--dask {address}: no cluster answers ({' '.join(str(error).split())[:200]}); accepted is 'local', or "
                "the address of a scheduler such as tcp://host:8786"
            ) from None
        try:
            versions = set(client.run(version).values())
        except Exception as error:
            raise PymemError(f"--dask {address}: pymem cannot be used on its workers: {error}") from None
        if not versions:
            raise PymemError(f"--dask {address}: the cluster has no workers")
        if versions != {version()}:
            raise PymemError(f"--dask {address}: its workers have pymem {', '.join(versions)}; here is {version()}")
        there = client.scatter(tuple(bases), broadcast=True, direct=False)
        executor = client.get_executor(pure=False)
        yield executor, lambda job: executor.submit(_run_on_dask, there, job, measures), sum(client.nthreads().values())
    finally:
        for thing in (client, cluster):
            if thing is not None:
                thing.close()


# ---- all of them ------------------------------------------------------------------------------------------


def default_jobs() -> int:
    """CPUs that this program may use."""
    return usable_cpus()


@contextmanager
def _pool(
    executor: str, jobs: int, dask: str | None, bases: Sequence[Scenario], measures: Sequence[str]
) -> Iterator[tuple[Callable[[Job], Future[Run]], int]]:
    """What starts a job, and how many run at once."""
    if dask is not None:
        with _dask(dask, jobs, bases, measures) as (pool, submit, width):
            try:
                yield submit, width
            finally:
                pool.shutdown(wait=False)  # cancels what has not ended
        return
    stop: Any
    started: Executor
    if executor == "threads":
        stop = threading.Event()
        threads = started = ThreadPoolExecutor(jobs, "pymem-sweep")

        def submit(job: Job) -> Future[Run]:
            return threads.submit(run_job, bases, job, measures, stop.is_set)
    else:
        import multiprocessing

        context = multiprocessing.get_context("spawn")  # a forked copy of a program with threads may hang
        stop = context.Event()
        try:
            pickle.dumps(tuple(bases))
        except Exception as error:
            raise ScenarioError(
                f"the scenario cannot be sent to other processes ({error}); accepted is the executor 'threads'"
            ) from None
        processes = started = ProcessPoolExecutor(jobs, context, _start_process, (tuple(bases), tuple(measures), stop))

        def submit(job: Job) -> Future[Run]:
            return processes.submit(_run_in_process, job)

    try:
        yield submit, jobs
    finally:  # what runs ends soon, what waits does not begin
        stop.set()
        started.shutdown(cancel_futures=True)


def execute(
    bases: Sequence[Scenario], jobs: Iterable[Job], *, measures: Sequence[str] = (), executor: str = "threads",
    workers: int | None = None, dask: str | None = None,
) -> Iterator[Run]:  # fmt: skip
    """Run all jobs; their outcomes come as they end, in any order.

    Parameters
    ----------
    executor : {"threads", "processes"}
    workers : int, optional
        How many at once; default is the number of CPUs.
    dask : str, optional
        Instead of both: ``"local"`` or the address of a scheduler.

    Raises
    ------
    PymemError
        No such executor, no cluster at the address, or a worker process that has died.
    """
    if executor not in EXECUTORS:
        raise ScenarioError(f"executor: {executor!r}; accepted are {', '.join(EXECUTORS)}")
    count = default_jobs() if workers is None else workers
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 1024:
        raise ScenarioError(f"jobs: {count!r}; accepted is 1 to 1024")
    waiting = iter(jobs)
    first = next(waiting, None)
    if first is None:  # no workers are started for nothing
        return
    waiting = chain([first], waiting)
    with _pool(executor, count, dask, bases, measures) as (submit, width):
        running: set[Future[Run]] = set()
        # Twice as many as run at once, so that nobody waits for the next while an outcome is put down.
        while running := running | {submit(job) for job in islice(waiting, 2 * width - len(running))}:
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                try:
                    yield future.result()
                except BrokenProcessPool:
                    raise PymemError(
                        "a worker process has died (killed for want of memory? or a script without "
                        "`if __name__ == '__main__':`); what has ended is kept"
                    ) from None
                except Exception as error:  # no run raises: it is the cluster that has lost it
                    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                    raise PymemError(f"a run was lost by its executor ({reason}); what has ended is kept") from None
