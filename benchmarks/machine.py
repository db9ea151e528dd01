"""Plain machines for benchmarks, built at the engine's door with figures that stay as they are here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memcore.engine import Engine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NORMAL, VM_WRITE = 2, 4
KERNEL_PAGES = 1024  # held by the simulated kernel
BUDGET = 1 << 24

# Defaults of Linux 6.12 on x86-64, and no zswap.
PARAMS: dict[str, int] = {
    "kernel": 612, "hz": 250, "min_free_kbytes": -1, "watermark_scale_factor": 10,
    "watermark_boost_factor": 15000, "lowmem_reserve_dma": 256, "lowmem_reserve_dma32": 256,
    "lowmem_reserve_normal": 32, "percpu_pagelist_high_fraction": 0, "thp_enabled": 0, "swappiness": 60,
    "page_cluster": 3, "vma_ra_enabled": 1, "vfs_cache_pressure": 100, "dirty_ratio": 20,
    "dirty_background_ratio": 10, "dirty_pages": 0, "dirty_background_pages": 0,
    "dirty_expire_ns": 30_000_000_000, "dirty_writeback_ns": 5_000_000_000, "laptop_mode": 0,
    "zone_reclaim_mode": 0, "min_unmapped_ratio": 1, "min_slab_ratio": 5, "panic_on_oom": 0,
    "oom_kill_allocating_task": 0, "fault_around_pages": 16, "ra_pages": 32, "numa_balancing": 0,
    "numa_promote_pages_per_sec": 16384, "numa_scan_delay_ns": 1_000_000_000,
    "numa_scan_period_ns": 1_000_000_000, "numa_scan_pages": 65536, "numa_hot_threshold_ns": 1_000_000_000,
    "demotion_enabled": 0, "zswap_enabled": 0, "zswap_max_pool_percent": 20, "zswap_accept_percent": 90,
    "zswap_zbud": 0, "zswap_shrinker": 0, "zswap_same_filled": 1, "zswap_non_same_filled": 1,
    "slab_reclaimable": 0, "slab_freeable": 0, "slab_unreclaimable": 0, "thread_stack_pages": 5,
    "c_zero_page_fault": 500, "c_anon_fault": 1000, "c_cow_fault": 1500, "c_file_minor_fault": 1500,
    "c_wp_reuse": 500, "c_major_fault": 3000, "c_fork_pte": 100, "c_unmap_page": 300, "c_reclaim_scan": 500,
    "c_reclaim_free": 400, "c_reclaim_unmap": 1000, "c_tlb_flush": 1000, "c_tlb_flush_cpu": 200,
    "c_slab_object": 200, "c_context_switch": 2000, "c_wakeup": 2000, "c_syscall": 300, "c_page_copy": 300,
    "c_migrate": 3000, "c_hint_fault": 700, "c_exit": 100_000, "c_compress": 4000, "c_decompress": 1000,
    "c_same_filled": 150, "sched_quantum": 100_000, "sched_slice": 3_000_000,
}  # fmt: skip

# Faster than any real device, so that the host is busy with paging and not with waiting in simulated time.
FASTEST: dict[str, Any] = {
    "rotational": False, "read_ns": 1000, "write_ns": 1000, "queue_depth": 64, "bandwidth": 10_000_000_000,
}  # fmt: skip


def machine(frames: int, swap: int = 0, cpus: int = 1) -> Engine:
    """One node with one zone of `frames` usable frames, and swap of so many slots on the fastest device."""
    managed = frames + KERNEL_PAGES
    zone = {
        "idx": NORMAL, "start_pfn": 1, "spanned": managed, "present": managed, "managed": managed,
        "free": frames,
    }  # fmt: skip
    node = {"cpus": cpus, "distance": [10], "access_ns": [90], "zones": [zone]}
    swaps = [{"slots": swap, "priority": None, "device": 0}] if swap else []
    return Engine(params=PARAMS, nodes=[node], cpu_nodes=[0] * cpus, devices=[FASTEST], swaps=swaps, seed=1)


def machine_with_task(frames: int, pages: int, swap: int = 0) -> tuple[Engine, int]:
    """A machine, started, with one task of `pages` anonymous pages that has done nothing yet."""
    engine = machine(frames, swap)
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
