"""The settings that ``pymem run --set`` takes: their one spelling, their typed values, and all of a scenario."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pymem import oom, tunables, units
from pymem.errors import ScenarioError, UnitError
from pymem.scenario import KERNELS, MAX_COST
from pymem.topology import MAX_CPUS, MAX_MEMORY, MIN_MEMORY

if TYPE_CHECKING:
    from pymem.scenario import Scenario

MIB = 1 << 20
ACCEPTED = (
    "vm.NAME, costs.NAME, machine.memory, machine.cpus, kernel, sample_interval, time_limit, oom_policy"
)


@dataclass(frozen=True)
class Setting:
    """One setting that can be varied.

    Attributes
    ----------
    name : str
        Its one spelling: ``vm.swappiness``, ``machine.memory``, ...
    parse : function
        From what people write to the value in `unit`; raises PymemError.
    minimum, maximum : int, optional
        Accepted numbers, both included; None where the values are names.
    unit : str
        ``bytes``, ``ns``, or what the tunable counts.
    words : tuple of str
        All values, where they are names.
    step : int
        Drawn numbers are multiples of it.
    """

    name: str
    parse: Callable[[Any], Any]
    minimum: int | None = None
    maximum: int | None = None
    unit: str = ""
    words: tuple[str, ...] = ()
    step: int = 1


def format_value(value: Any, unit: str) -> str:
    """A value of a setting for people."""
    if isinstance(value, str):
        return value
    if unit == "bytes":
        return units.format_bytes(value).replace(".0 ", " ")
    return units.format_time(value) if unit == "ns" else str(value)


def setting(key: str, scenario: Scenario) -> Setting:
    """The setting of a key as people write it, for one scenario.

    Raises
    ------
    ScenarioError, TunableError
        Unknown, not simulated, or nothing that can be varied.
    """
    head, _, rest = key.partition(".")
    if head == "vm" and rest:
        return _tunable(rest)
    if head == "costs" and rest:
        return _cost(rest)
    name = key.removeprefix("machine.")
    if name in ("memory", "cpus"):
        if scenario.machine.nodes:
            raise ScenarioError(f"{key}: the machine has nodes of its own; accepted are {ACCEPTED}")
        if name == "memory":
            low, high = MIN_MEMORY * units.PAGE_SIZE, MAX_MEMORY * units.PAGE_SIZE
            parse = _bounded("machine.memory", units.parse_bytes, low, high, "bytes")
            return Setting("machine.memory", parse, low, high, "bytes", step=MIB)
        return Setting("machine.cpus", _bounded("machine.cpus", _whole, 1, MAX_CPUS), 1, MAX_CPUS, "CPUs")
    if key in ("sample_interval", "time_limit"):
        return Setting(key, lambda value: units.parse_time(value, key), 0, units.MAX_TIME, "ns")
    if key == "kernel":
        return Setting(key, _word(key, KERNELS), words=KERNELS)
    if key == "oom_policy":
        return Setting(key, _word(key, tuple(oom.POLICIES)), words=tuple(oom.POLICIES))
    if key == "seed":
        raise ScenarioError("seed: replicates have seeds of their own; accepted is --replicates N, or --set seed=N")
    raise ScenarioError(f"{key}: unknown setting; accepted are {ACCEPTED}")


def _tunable(rest: str) -> Setting:
    name = tunables.canonical(rest)
    if name not in tunables.TUNABLES:
        raise ScenarioError(f"vm.{name}: three values at once; accepted are vm.{name}.dma, .dma32 and .normal")
    knob = tunables.TUNABLES[name]
    if knob.unit == "name":
        numbers = {number: word for word, number in knob.words.items()}
        return Setting(f"vm.{name}", lambda v: numbers[tunables.parse(knob, v)], words=tuple(knob.words))
    low = 0 if knob.minimum < 0 else knob.minimum  # -1 stands for "automatic" and is no number to draw
    return Setting(f"vm.{name}", lambda v: tunables.parse(knob, v), low, knob.maximum, knob.unit)


def _cost(rest: str) -> Setting:
    name = rest.removeprefix("c_")
    known = {cost.removeprefix("c_") for cost in tunables.COSTS}
    if name not in known:
        raise ScenarioError(f"costs.{rest}: unknown; accepted are {', '.join(sorted(known))}")
    least = 1 if name.startswith("sched_") else 0
    key = f"costs.{name}"
    return Setting(key, _bounded(key, units.parse_time, least, MAX_COST, "ns"), least, MAX_COST, "ns")


def _bounded(
    key: str, parse: Callable[[Any, str], int], low: int, high: int, unit: str = ""
) -> Callable[[Any], int]:  # fmt: skip
    def shown(number: int) -> str:
        return format_value(number, unit)

    def within(value: Any) -> int:
        number = parse(value, key)
        if not low <= number <= high:
            raise UnitError(f"{key}: {value!r} is out of range; accepted is {shown(low)} to {shown(high)}")
        return number

    return within


def _whole(value: Any, key: str) -> int:
    try:
        if isinstance(value, (int, str)) and not isinstance(value, bool):
            return int(value)
    except ValueError:
        pass
    raise UnitError(f"{key}: {value!r} is not understood; accepted is a whole number")


def _word(key: str, words: tuple[str, ...]) -> Callable[[Any], str]:
    def one(value: Any) -> str:
        if value not in words:
            raise ScenarioError(f"{key}: {value!r}; accepted are {', '.join(words)}")
        return str(value)

    return one


def settings_of(scenario: Scenario) -> dict[str, Any]:
    """Every setting of a scenario by its one spelling: defaults filled in, sizes in bytes, times in ns.

    The names are the same for both kernels. ``min_free_kbytes`` is -1 where the kernel chooses it, ``time_limit`` is 0
    without one.
    """
    machine = scenario.machine
    out: dict[str, Any] = {
        "machine.memory": sum(
            sum(zone.present for zone in node.zones) * units.PAGE_SIZE if node.zones else units.parse_bytes(node.memory)
            for node in machine.all_nodes
        ),
        "machine.cpus": sum(node.cpus for node in machine.all_nodes),
        "kernel": scenario.kernel,
        "oom_policy": oom.name_of(scenario.policy()),
        "sample_interval": int(scenario.sample_interval),
        "time_limit": int(scenario.time_limit or 0),
    }
    for name, number in tunables.resolve(scenario.vm, scenario.kernel).items():
        out[f"vm.{name}"] = in_words(name, number)
    out |= {f"costs.{name.removeprefix('c_')}": ns for name, ns in scenario.cost_ns().items()}
    return out


def in_words(name: str, number: int) -> int | str:
    """The value of a tunable as people write it: a name where its values are names."""
    knob = tunables.TUNABLES[name]
    return next(word for word, n in knob.words.items() if n == number) if knob.unit == "name" else number


def spread(low: int, high: int, share: float, log: bool, step: int = 1) -> int:
    """The number at a share (0 to 1, 1 excluded) of the way from `low` to `high`, both included."""
    first, last = -(-low // step), high // step
    if log:
        number = int(math.exp(math.log(first) + share * (math.log(last + 1) - math.log(first))))
    else:
        number = first + int(share * (last - first + 1))
    return min(max(number, first), last) * step
