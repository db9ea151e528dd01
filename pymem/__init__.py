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
    from pymem.comparison import compare
    from pymem.devices import Disk, SwapDevice
    from pymem.errors import (
        HostError,
        PymemError,
        ScenarioError,
        SimulationError,
        StoreError,
        TraceError,
        TunableError,
        UnitError,
        ValidationError,
    )
    from pymem.hosts import from_host
    from pymem.mempolicy import MemPolicy
    from pymem.regions import Anon, File
    from pymem.result import Result
    from pymem.scenario import Scenario, Task, load
    from pymem.simulation import Simulation, simulate
    from pymem.sweeps import open_store, sweep
    from pymem.teaching import explain, explain_linux
    from pymem.topology import Boot, Machine, Node, Zone
    from pymem.tuning import tune

_PLACES = {
    "comparison": "compare",
    "devices": "Disk SwapDevice",
    "errors": (
        "HostError PymemError ScenarioError SimulationError StoreError TraceError TunableError UnitError "
        "ValidationError"
    ),
    "hosts": "from_host",
    "mempolicy": "MemPolicy",
    "regions": "Anon File",
    "result": "Result",
    "scenario": "Scenario Task load",
    "simulation": "Simulation simulate",
    "sweeps": "open_store sweep",
    "teaching": "explain explain_linux",
    "topology": "Boot Machine Node Zone",
    "tuning": "tune",
}
_PLACE = {name: place for place, names in _PLACES.items() for name in names.split()}
_MODULES = ("oom", "units", "workloads")

__all__ = [
    "Anon", "Boot", "Disk", "File", "HostError", "Machine", "MemPolicy", "Node", "PymemError", "Result", "Scenario",
    "ScenarioError", "Simulation", "SimulationError", "StoreError", "SwapDevice", "Task", "TraceError", "TunableError",
    "UnitError", "ValidationError", "Zone", "__version__", "compare", "explain", "explain_linux", "from_host", "load",
    "oom", "open_store", "simulate", "sweep", "tune", "units", "workloads",
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
