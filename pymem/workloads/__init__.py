"""What tasks do: generators, recorded traces, and mixes of them.

Every workload is a stream of access records over regions of memory that follows from a seed; one class may be
written anew by following `pymem.workloads.base.Workload`.
"""

from __future__ import annotations

from pymem.workloads.base import Workload
from pymem.workloads.compose import Mix, Phases
from pymem.workloads.files import DirtyWriter, FileStream
from pymem.workloads.hotcold import HotCold
from pymem.workloads.leak import Leak
from pymem.workloads.linear import Sequential, Strided
from pymem.workloads.masim import Masim
from pymem.workloads.registry import KINDS, from_dict
from pymem.workloads.trace import Recorded, Trace
from pymem.workloads.uniform import Uniform
from pymem.workloads.zipf import Zipf

__all__ = [
    "KINDS", "DirtyWriter", "FileStream", "HotCold", "Leak", "Masim", "Mix", "Phases", "Recorded",
    "Sequential", "Strided", "Trace", "Uniform", "Workload", "Zipf", "from_dict",
]  # fmt: skip
