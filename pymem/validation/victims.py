"""Who was killed, in which order, and how far each had got: the outcome of an OOM run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pymem.simulation import Simulation
    from pymem.validation.recording import Recording

_DEAD = re.compile(r"OOMDEAD idx=(\d+) .*?((?:done\d+=\d+ ?)+)")
_DONE = re.compile(r"done(\d+)=(\d+)")


def victims(recording: Recording) -> dict[str, float]:
    """Number of the child killed at each kill, and the pages it had touched; of a recorded run."""
    out: dict[str, float] = {}
    lines = recording.data.get("lab_lines") or []
    dead = [match for line in lines if (match := _DEAD.search(str(line)))]
    for i, match in enumerate(dead, 1):
        child = int(match[1])
        out[f"victim{i}"] = child
        out[f"pages_of_victim{i}"] = {int(a): int(b) for a, b in _DONE.findall(match[2])}[child]
    out["victims"] = len(dead)
    return out


def simulated_victims(run: Simulation) -> dict[str, float]:
    """The same of a simulated run."""
    out: dict[str, float] = {}
    kills = [kill for kill in run.oom_kills if kill.task]
    for i, kill in enumerate(kills, 1):
        thread = next(t for t, task in run.tasks.items() if task.name == kill.task)
        out[f"victim{i}"] = int(kill.task.removeprefix("child"))
        out[f"pages_of_victim{i}"] = run.engine.task(thread)["writes"]
    out["victims"] = len(kills)
    return out
