"""Which points a sweep visits: grids, random draws, Latin hypercubes; and the seeds of replicates.

Everything here follows from the arguments alone, so that a sweep that is begun again meets the same points.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pymem.errors import ScenarioError
from pymem.settings import Setting, setting, spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pymem.scenario import Scenario

MAX_POINTS = 10_000_000
# First words of the seeds: draws of the design and seeds of the runs must not meet.
_DESIGN, _REPLICATE = 1, 2


@dataclass(frozen=True)
class Range:
    """Where a setting may be drawn from: all from `low` to `high`, on a logarithmic scale if `log`."""

    setting: Setting
    low: int
    high: int
    log: bool = False

    def at(self, share: float) -> Any:
        """The value at a share (0 to 1, 1 excluded) of the way."""
        if self.setting.words:
            return self.setting.words[int(share * len(self.setting.words))]
        return spread(self.low, self.high, share, self.log, self.setting.step)

    def describe(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"low": self.low, "high": self.high, "log": self.log, "words": list(self.setting.words)}


@dataclass(frozen=True)
class Design:
    """The points of a sweep.

    Attributes
    ----------
    settings : dict of Setting
        What varies, by name, in the order given.
    points : list of dict
        One value per name.
    description : dict
        What the points follow from, as JSON takes it.
    """

    settings: dict[str, Setting]
    points: list[dict[str, Any]]
    description: dict[str, Any]


def grid_values(scenario: Scenario, grid: Mapping[str, Sequence[Any]]) -> dict[Setting, list[Any]]:
    """The values of every key, parsed, each once.

    Raises
    ------
    PymemError
        A key that is unknown or comes twice in two spellings, no values, a value that is not accepted.
    """
    out: dict[Setting, list[Any]] = {}
    seen: dict[str, str] = {}
    for key, values in grid.items():
        knob = setting(key, scenario)
        if knob.name in seen:
            raise ScenarioError(f"grid: {key} and {seen[knob.name]} are the same setting; give all values at once")
        seen[knob.name] = key
        if isinstance(values, (str, bytes)) or not len(values):
            raise ScenarioError(f"grid {key}: {values!r}; accepted are one or more values, such as {key}=A,B,C")
        out[knob] = list(dict.fromkeys(knob.parse(value) for value in values))
    return out


def range_of(scenario: Scenario, key: str, bounds: str | Sequence[Any]) -> Range:
    """The range of ``lo:hi`` or ``lo:hi:log``; a sequence of two or three does as well.

    Raises
    ------
    PymemError
        Not a range, bounds that are not accepted or in the wrong order, or a setting without numbers.
    """
    knob = setting(key, scenario)
    if knob.words:
        raise ScenarioError(f"over {key}: its values are names ({', '.join(knob.words)}); accepted is --grid for it")
    parts = bounds.split(":") if isinstance(bounds, str) else list(bounds)
    if not 2 <= len(parts) <= 3 or (len(parts) == 3 and parts[2] not in ("log", "linear", True, False)):
        raise ScenarioError(f"over {key}: {bounds!r}; accepted is LOW:HIGH or LOW:HIGH:log")
    low, high = (knob.parse(part.strip() if isinstance(part, str) else part) for part in parts[:2])
    log = len(parts) == 3 and parts[2] in ("log", True)
    if not low < high:
        raise ScenarioError(f"over {key}: {bounds!r}; accepted is a lower bound and then a higher one")
    if log and low < max(knob.step, 1):
        raise ScenarioError(f"over {key}: {bounds!r}; a logarithmic scale begins at {max(knob.step, 1)} or more")
    if high // knob.step <= (low - 1) // knob.step:
        raise ScenarioError(f"over {key}: {bounds!r}; accepted are bounds with a multiple of {knob.step} between them")
    return Range(knob, low, high, log)


def make(
    scenario: Scenario, grid: Mapping[str, Sequence[Any]], over: Mapping[str, Any], random: int | None,
    latin_hypercube: int | None, seed: int,
) -> Design:  # fmt: skip
    """The design of a sweep; with grid and draws, every point of the grid meets every draw.

    Parameters
    ----------
    grid : mapping of sequence
        Values by key.
    over : mapping
        Ranges by key, for `range_of`.
    random, latin_hypercube : int, optional
        Number of draws; at most one of them, and one if there are ranges.
    seed : int
        Of the draws.
    """
    if random is not None and latin_hypercube is not None:
        raise ScenarioError("random and Latin hypercube at once; accepted is one of them")
    count = random if random is not None else latin_hypercube
    if (count is None) != (not over):
        found = "ranges without a number of draws" if over else "a number of draws without ranges"
        raise ScenarioError(f"{found}; accepted is --over KEY=LOW:HIGH with --random N or --latin-hypercube N")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise ScenarioError(f"number of draws: {count!r}; accepted is 1 and more")
    values = grid_values(scenario, grid)
    ranges = [range_of(scenario, key, bounds) for key, bounds in over.items()]
    names = [knob.name for knob in values] + [r.setting.name for r in ranges]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ScenarioError(f"{twice[0]}: in a grid and a range, or twice in ranges; accepted is once")
    total = int(np.prod([len(v) for v in values.values()], dtype=object)) * (count or 1)
    if total > MAX_POINTS:
        raise ScenarioError(f"sweep: {total} points; accepted are up to {MAX_POINTS}")
    if count is None:
        drawn: list[dict[str, Any]] = [{}]
    else:
        shares = (_random if random is not None else _latin)(count, len(ranges), seed)
        drawn = [{r.setting.name: r.at(float(s)) for r, s in zip(ranges, row, strict=True)} for row in shares]
    gridded = [
        dict(zip((knob.name for knob in values), chosen, strict=True)) for chosen in itertools.product(*values.values())
    ]
    description = {
        "grid": {knob.name: v for knob, v in values.items()},
        "over": {r.setting.name: r.describe() for r in ranges},
        "draws": None if count is None else ["random" if random is not None else "latin_hypercube", count, seed],
    }
    settings = {knob.name: knob for knob in [*values, *(r.setting for r in ranges)]}
    return Design(settings, [{**g, **d} for g in gridded for d in drawn], description)


def _random(count: int, dimensions: int, seed: int) -> np.ndarray:
    """Independent draws; the first ones are the same however many are asked for."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_DESIGN, 0))).random((count, dimensions))


def _latin(count: int, dimensions: int, seed: int) -> np.ndarray:
    """One draw in each of `count` equal slices of every dimension, the slices in random order."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_DESIGN, 1)))
    slices = np.stack([rng.permutation(count) for _ in range(dimensions)], axis=1)
    return (slices + rng.random((count, dimensions))) / count


def replicate_seed(seed: int, replicate: int) -> int:
    """Seed of a replicate: the scenario's own for the first, then independent ones.

    It depends on nothing else: at every point of a sweep the n-th replicate meets the same random numbers, so that
    points differ by their settings and not by luck.
    """
    if replicate == 0:
        return seed
    sequence = np.random.SeedSequence(seed, spawn_key=(_REPLICATE, replicate))
    return int(sequence.generate_state(1, np.uint64)[0])
