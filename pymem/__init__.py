"""pymem: what will this machine do under memory pressure, and why?

>>> import pymem
>>> work = pymem.workloads.Uniform("64MiB", accesses=10_000)
>>> result = pymem.simulate(pymem.Scenario(tasks=[pymem.Task("app", work)]))
>>> result.status
'complete'

Everything below is loaded when it is first used, so that importing pymem costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymem import oom, units, workloads
    from pymem.errors import (
        PymemError,
        ScenarioError,
        SimulationError,
        TraceError,
        TunableError,
        UnitError,
        ValidationError,
    )
    from pymem.regions import Anon, File
    from pymem.result import Result
    from pymem.saved import load_result
    from pymem.scenario import Scenario, Task, load
    from pymem.simulation import Simulation, simulate
    from pymem.topology import Boot, Disk, Machine, Node, SwapDevice, Zone

_PLACES = {
    "errors": "PymemError ScenarioError SimulationError TraceError TunableError UnitError ValidationError",
    "regions": "Anon File",
    "result": "Result",
    "saved": "load_result",
    "scenario": "Scenario Task load",
    "simulation": "Simulation simulate",
    "topology": "Boot Disk Machine Node SwapDevice Zone",
}
_PLACE = {name: place for place, names in _PLACES.items() for name in names.split()}
_MODULES = ("oom", "units", "workloads")

__all__ = [
    "Anon", "Boot", "Disk", "File", "Machine", "Node", "PymemError", "Result", "Scenario", "ScenarioError",
    "Simulation", "SimulationError", "SwapDevice", "Task", "TraceError", "TunableError", "UnitError",
    "ValidationError", "Zone", "__version__", "load", "load_result", "oom", "simulate", "units", "workloads",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    value: Any
    if name in _PLACE:
        value = getattr(importlib.import_module(f"pymem.{_PLACE[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"pymem.{name}")
    elif name == "__version__":
        value = importlib.import_module("pymem.provenance").version()
    else:
        raise AttributeError(f"module 'pymem' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
