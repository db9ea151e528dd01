"""Many runs of one scenario with other settings: design, executors, store, rows."""

from __future__ import annotations

from pymem.sweeps.result import SweepResult
from pymem.sweeps.run import open_store, sweep

__all__ = ["SweepResult", "open_store", "sweep"]
