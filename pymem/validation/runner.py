"""Simulates recorded runs and gathers the same counters at the same accesses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from pymem.errors import PymemError, ValidationError
from pymem.simulation import Simulation
from pymem.validation import scenarios, score
from pymem.validation.victims import simulated_victims

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pymem.validation.recording import Recording


#: One run flips a dozen pairs by chance: scores are averaged over CPUs a little slower and faster.
PACES = (0.95, 0.99, 1.0, 1.01, 1.05)


@dataclass
class Replay:
    """One simulated recording.

    Attributes
    ----------
    label : str
    counters : dict
        What is compared, by name; see `pymem.validation.score`.
    series : dict of list
        Counters at the checkpoints of the recording, ``access`` and ``t`` (simulated seconds) among them.
    left_out : str
        Why it was not simulated, or empty.
    """

    label: str
    counters: dict[str, float] = field(default_factory=dict)
    series: dict[str, list[float]] = field(default_factory=dict)
    left_out: str = ""


def replay(recording: Recording, pace: float = 1.0) -> Replay:
    """Simulate one recording; `pace` as for `pymem.validation.scenarios.scenario`.

    Raises
    ------
    ValidationError
        The recording asks for something that is not understood, with its file name.
    """
    out = Replay(recording.label, left_out=recording.left_out)
    if out.left_out:
        return out
    rows: list[dict[str, float]] = []
    run: Simulation | None = None

    def at(access: int) -> None:
        assert run is not None
        psi = run.engine.psi()
        rows.append({
            **run.vmstat(), "access": access, "t": run.engine.now / 1e9,
            "psi_some_us": psi["memory_some"]["total"] / 1000, "psi_full_us": psi["memory_full"]["total"] / 1000,
        })  # fmt: skip

    try:
        scenario = scenarios.scenario(recording, at, pace)
        run = Simulation(scenario)
        if recording.mode == "oom":
            while run.step():
                pass
            out.counters = simulated_victims(run)
            return out
        length = scenario.tasks[0].workload.length or 0
        while (not rows or rows[-1]["access"] < length) and run.step():
            pass
    except ValidationError:
        raise
    except PymemError as error:
        raise ValidationError(f"{recording.path}: {error}") from None
    first, last = rows[0], rows[-1]
    events = {k: int(last[k] - first[k]) for k in last if k not in score.GAUGES and not k.startswith("psi")}
    out.counters = {
        **score.net(events), **{g: last[g] for g in score.GAUGES},
        **{k: last[k] - first[k] for k in ("psi_some_us", "psi_full_us")},
    }  # fmt: skip
    out.series = {key: [row[key] for row in rows] for key in last}
    return out


def replay_all(recordings: Sequence[Recording], threads: int = 2, pace: float = 1.0) -> Iterator[Replay]:
    """Simulate recordings, several at once, in their order; the results do not depend on `threads`."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield from pool.map(partial(replay, pace=pace), recordings)
    finally:  # after Ctrl-C: what runs ends, what waits does not begin
        pool.shutdown(cancel_futures=True)


def counters(replays: Iterable[Replay]) -> dict[str, dict[str, float]]:
    """The counters of what was simulated, by label."""
    return {r.label: r.counters for r in replays if not r.left_out}
