"""Does a setting move a counter the way it moves it in the kernel?

Recordings of the same accesses on the same machine differ by settings: swappiness, watermarks, where swap is.  Where
two scenarios of such a sweep differ by more than the rule of `pymem.validation.score` forgives, the simulated counters
must lie in the same order: every run of the one below every run of the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from pymem.validation.score import GAUGES, POLICY, TIMING, kind_of, recorded, window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pymem.validation.recording import Recording

#: Settings that come in groups, and those that say nothing about what the machine does.
_GROUPS = ("sys", "pre", "cg")
_SILENT = ("mods", "opt", "mode", "file_mb", "swap_mb")


@dataclass(frozen=True)
class Order:
    """One counter that differs clearly between two scenarios of a sweep.

    Attributes
    ----------
    sweep : str
        The scenario after which the sweep is called; see `sweeps`.
    counter : str
    lower, higher : str
        Scenarios, in the order of the kernel.
    kernel, simulated : (float, float)
        The most that a run of the lower counted, and the least that one of the higher did.
    """

    sweep: str
    counter: str
    lower: str
    higher: str
    kernel: tuple[float, float]
    simulated: tuple[float, float]

    @property
    def right(self) -> bool:
        """The simulated runs lie in the same order."""
        return self.simulated[0] < self.simulated[1]


def _settings(recording: Recording) -> dict[str, Any]:
    flat = {k: v for k, v in recording.config.items() if k not in _GROUPS and k not in _SILENT}
    for group in _GROUPS:
        flat |= recording.config.get(group) or {}
    return flat


def _work(recording: Recording) -> tuple[str, ...]:
    return tuple(str(recording.config.get(key, "")) for key in ("kernel", "mem", "numa", "numa_cpu", "spec"))


def sweeps(recordings: Sequence[Recording]) -> dict[str, list[str]]:
    """Scenarios that do the same on the same machine, by the name of the first: two or more each."""
    found: dict[tuple[str, ...], list[str]] = {}
    for r in recordings:
        if not r.left_out and r.mode == "run" and r.name not in found.setdefault(_work(r), []):
            found[_work(r)].append(r.name)
    return {min(names): sorted(names) for names in found.values() if len(names) > 1}


def varied(recordings: Sequence[Recording], names: Sequence[str]) -> list[str]:
    """The settings by which some scenarios differ: files below ``/proc/sys/vm`` and ``/sys``, the machine."""
    each = [_settings(next(r for r in recordings if r.name == name)) for name in names]
    keys = sorted({key for settings in each for key in settings})
    return [key.rpartition("/")[2] for key in keys if len({str(settings.get(key, "")) for settings in each}) > 1]


def orders(recordings: Sequence[Recording], simulated: Mapping[str, Mapping[str, float]]) -> list[Order]:
    """Every clear difference between two scenarios of a sweep, of those that were simulated (counters by label)."""
    kernel: dict[str, list[dict[str, float]]] = {}
    ours: dict[str, list[Mapping[str, float]]] = {}
    for r in recordings:
        if not r.left_out and r.mode == "run":
            kernel.setdefault(r.name, []).append(recorded(r))
            if r.label in simulated:
                ours.setdefault(r.name, []).append(simulated[r.label])
    out = []
    for sweep, names in sweeps(recordings).items():
        for counter in (*POLICY, *GAUGES, *TIMING):
            counted = [n for n in names if n in ours and all(counter in run for run in (*kernel[n], *ours[n]))]
            spans = {name: _span(kernel[name], counter) for name in counted}
            for pair in combinations(counted, 2):
                lower, higher = sorted(pair, key=spans.__getitem__)
                kind = kind_of(counter)
                if window(kind, spans[lower])[1] < window(kind, spans[higher])[0]:
                    recorded_ends = spans[lower][1], spans[higher][0]
                    simulated_ends = _span(ours[lower], counter)[1], _span(ours[higher], counter)[0]
                    out.append(Order(sweep, counter, lower, higher, recorded_ends, simulated_ends))
    return out


def _span(runs: Sequence[Mapping[str, float]], counter: str) -> tuple[float, float]:
    values = [run[counter] for run in runs]
    return min(values), max(values)
