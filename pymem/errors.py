"""Everything pymem raises on purpose.

::

    PymemError(Exception)
    ├── ScenarioError      a scenario, machine, task or workload that cannot be simulated
    │   └── UnitError      a size, time or share that cannot be read
    ├── TunableError       an unknown tunable, or a value outside its bounds
    ├── TraceError         a trace that is damaged, cut off, or not a trace
    ├── HostError          files of a host's /proc and /sys that make no machine
    ├── ValidationError    a recording of a kernel that cannot be used
    ├── StoreError         a store of results that cannot be used
    └── SimulationError    a run that cannot go on

The message names the place, what was found and what is accepted; the command line prints it and nothing else.
"""

from __future__ import annotations


class PymemError(Exception):
    """Base of all errors that pymem raises on purpose."""


class ScenarioError(PymemError, ValueError):
    """A scenario, machine, task or workload that cannot be simulated; the message names the key."""


class UnitError(ScenarioError):
    """A size, time or share that cannot be read."""


class TunableError(PymemError, ValueError):
    """An unknown tunable, or a value outside its bounds; the message says what is accepted."""


class TraceError(PymemError, ValueError):
    """A trace that is damaged, cut off, or not a trace; the message names file and place."""


class HostError(PymemError, ValueError):
    """Files of a host's ``/proc`` and ``/sys`` that make no machine; the message names file and line."""


class ValidationError(PymemError, ValueError):
    """A recorded kernel run that cannot be used; the message names the file and what is wrong with it."""


class StoreError(PymemError):
    """A store of results that cannot be read or written, or that belongs to something else."""


class SimulationError(PymemError, RuntimeError):
    """A run that cannot go on, such as an access outside every region or a panic on OOM."""
