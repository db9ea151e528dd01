"""Plain machines for benchmarks, built at the engine's door with figures that stay as they are here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memcore.engine import Engine
from pymem import tunables

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NORMAL, VM_WRITE = 2, 4
KERNEL_PAGES = 1024  # held by the simulated kernel
BUDGET = 1 << 24


def params(pages: int) -> dict[str, int]:
    """Defaults of Linux 6.12 and the cost model for a machine of so many pages, without slab."""
    values = tunables.engine_params(tunables.resolve({"transparent_hugepage": "never"}, "6.12"), "6.12", pages)
    costs = {name: cost.default for name, cost in tunables.COSTS.items()}
    boot = dict.fromkeys(("slab_reclaimable", "slab_freeable", "slab_unreclaimable"), 0)
    return {**values, **costs, **boot, "thread_stack_pages": 5, "buffer_heads": 0, "ramfs_pages": 0, "ramfs_mapped": 0}


# Memory as a disk, the fastest device there is (the kind "ramdisk"): its pages are copied by the CPU.
FASTEST: dict[str, Any] = {
    "rotational": False, "synchronous": True, "read_ns": 1000, "write_ns": 1000, "queue_depth": 64,
    "bandwidth": 10_000_000_000,
}  # fmt: skip
# A disk as fast, with a queue and completions: faults sleep, reclaim goes on while pages are written.
QUEUED: dict[str, Any] = {**FASTEST, "synchronous": False}


def machine(frames: int, swap: int = 0, cpus: int = 1, device: dict[str, Any] = FASTEST) -> Engine:
    """One node with one zone of `frames` usable frames, and swap of so many slots on a device."""
    managed = frames + KERNEL_PAGES
    zone = {
        "idx": NORMAL, "start_pfn": 1, "spanned": managed, "present": managed, "managed": managed,
        "free": frames,
    }  # fmt: skip
    node = {"cpus": cpus, "distance": [10], "access_ns": [90], "zones": [zone]}
    swaps = [{"slots": swap, "priority": None, "device": 0}] if swap else []
    return Engine(params=params(frames), nodes=[node], cpu_nodes=[0] * cpus, devices=[device], swaps=swaps, seed=1)


def machine_with_task(
    frames: int, pages: int, swap: int = 0, device: dict[str, Any] = FASTEST
) -> tuple[Engine, int]:
    """A machine, started, with one task of `pages` anonymous pages that has done nothing yet."""
    engine = machine(frames, swap, device=device)
    thread = engine.add_task(regions=[{"pages": pages, "flags": VM_WRITE, "file": 0, "pgoff": 0}])
    engine.start()
    return engine, thread


def play(engine: Engine, thread: int, records: NDArray[np.uint32]) -> None:
    """Run a task over its records, to where it wants more."""
    reason, _ = engine.run(BUDGET)
    if reason == "chunk":
        engine.feed(thread, records, False)
        reason, _ = engine.run(BUDGET)
    while reason == "limit":
        reason, _ = engine.run(BUDGET)
    if reason != "chunk":
        raise RuntimeError(f"the benchmark came to an end by {reason!r}")
