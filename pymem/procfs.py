"""The text that Linux prints under ``/proc``, from the figures of the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymem.topology import ZONE_NAMES

LRU_NAMES = ("inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable")
KIB_PER_PAGE = 4

# What /proc/vmstat of 6.12 shows, in its order; names that the engine does not count are left out of the output.
_ORDER = """
nr_free_pages nr_zone_inactive_anon nr_zone_active_anon nr_zone_inactive_file nr_zone_active_file
nr_zone_unevictable nr_zone_write_pending nr_mlock nr_zspages numa_hit numa_miss numa_foreign numa_interleave
numa_local numa_other nr_inactive_anon nr_active_anon nr_inactive_file nr_active_file nr_unevictable
nr_slab_reclaimable nr_slab_unreclaimable nr_isolated_anon nr_isolated_file workingset_nodes
workingset_refault_anon workingset_refault_file workingset_activate_anon workingset_activate_file
workingset_restore_anon workingset_restore_file workingset_nodereclaim nr_anon_pages nr_mapped nr_file_pages
nr_dirty nr_writeback nr_shmem nr_vmscan_write nr_vmscan_immediate_reclaim nr_dirtied nr_written
nr_throttled_written nr_kernel_stack nr_page_table_pages nr_swapcached pgpromote_success pgpromote_candidate
pgdemote_kswapd pgdemote_direct nr_dirty_threshold nr_dirty_background_threshold pgpgin pgpgout pswpin pswpout
pgalloc_dma pgalloc_dma32 pgalloc_normal pgalloc_movable allocstall_dma allocstall_dma32 allocstall_normal
allocstall_movable pgskip_dma pgskip_dma32 pgskip_normal pgskip_movable pgfree pgactivate pgdeactivate
pglazyfree pgfault pgmajfault pglazyfreed pgrefill pgreuse pgsteal_kswapd pgsteal_direct pgscan_kswapd
pgscan_direct pgscan_direct_throttle pgscan_anon pgscan_file pgsteal_anon pgsteal_file zone_reclaim_success
zone_reclaim_failed pginodesteal slabs_scanned kswapd_inodesteal kswapd_low_wmark_hit_quickly
kswapd_high_wmark_hit_quickly pageoutrun pgrotated drop_pagecache drop_slab oom_kill numa_pte_updates
numa_hint_faults numa_hint_faults_local numa_pages_migrated pgmigrate_success pgmigrate_fail
compact_migrate_scanned compact_free_scanned compact_isolated compact_daemon_wake compact_daemon_migrate_scanned
compact_daemon_free_scanned unevictable_pgs_culled unevictable_pgs_rescued unevictable_pgs_mlocked
unevictable_pgs_munlocked swap_ra
swap_ra_hit swpin_zero swpout_zero zswpin zswpout zswpwb
""".split()
# 6.1 counts demotion as events, after pgsteal_direct.
_DEMOTED = ["pgdemote_kswapd", "pgdemote_direct"]
_ORDER_61 = [name for name in _ORDER if name not in _DEMOTED]
_AFTER = _ORDER_61.index("pgsteal_direct") + 1
_ORDER_61[_AFTER:_AFTER] = _DEMOTED
_NOT_IN_61 = ("zone_reclaim_success", "swpin_zero", "swpout_zero", "zswpwb")


_NUMASTAT = {
    "numa_hit": "numa_hit", "numa_miss": "numa_miss", "numa_foreign": "numa_foreign",
    "numa_interleave": "interleave_hit", "numa_local": "local_node", "numa_other": "other_node",
}  # fmt: skip
_NODE_MEMINFO = """
MemTotal MemFree MemUsed SwapCached Active Inactive Active(anon) Inactive(anon) Active(file) Inactive(file) Unevictable
Mlocked Dirty Writeback FilePages Mapped AnonPages Shmem KernelStack PageTables KReclaimable Slab SReclaimable
SUnreclaim
""".split()


def vmstat(
    events: Mapping[str, int], node_stats: Mapping[str, int], zones: Sequence[Mapping[str, Any]], *,
    thresholds: Mapping[str, int], kernel: str = "6.12",
) -> dict[str, int]:  # fmt: skip
    """``/proc/vmstat`` by name, in the order of that kernel; only what is simulated."""
    values = dict(node_stats)
    values.update(events)
    values["nr_free_pages"] = sum(z["free"] for z in zones)
    for i, name in enumerate(LRU_NAMES):
        values[f"nr_zone_{name}"] = sum(z["lru"][i] for z in zones)
    values["nr_zone_write_pending"] = sum(z["write_pending"] for z in zones)
    for name in ("numa_hit", "numa_miss", "numa_foreign", "numa_interleave", "numa_local", "numa_other"):
        values[name] = sum(z["stat"][name] for z in zones)
    values["nr_dirty_threshold"] = thresholds["dirty"]
    values["nr_dirty_background_threshold"] = thresholds["background"]
    order = _ORDER if kernel != "6.1" else [name for name in _ORDER_61 if name not in _NOT_IN_61]
    return {name: values[name] for name in order if name in values}


def meminfo(
    node_stats: Mapping[str, int], zones: Sequence[Mapping[str, Any]], swap: Mapping[str, Any], *,
    total_pages: int, reserve_pages: int = 0,
) -> dict[str, int]:  # fmt: skip
    """``/proc/meminfo`` by field in KiB, in the kernel's order.

    `reserve_pages` is the kernel's totalreserve_pages, which MemAvailable leaves out.
    """
    n = node_stats
    zswap = swap.get("zswap", {})
    free = sum(z["free"] for z in zones)
    low = sum(z["low"] for z in zones)
    cache = n["nr_active_file"] + n["nr_inactive_file"]
    slab = n["nr_slab_reclaimable"]
    available = free - reserve_pages + cache - min(cache // 2, low) + slab - min(slab // 2, low)
    cached = max(n["nr_file_pages"] - n["nr_swapcached"], 0)
    pages = {
        "MemTotal": total_pages, "MemFree": free, "MemAvailable": max(available, 0), "Buffers": 0, "Cached": cached,
        "SwapCached": n["nr_swapcached"],
        "Active": n["nr_active_anon"] + n["nr_active_file"],
        "Inactive": n["nr_inactive_anon"] + n["nr_inactive_file"],
        "Active(anon)": n["nr_active_anon"], "Inactive(anon)": n["nr_inactive_anon"],
        "Active(file)": n["nr_active_file"], "Inactive(file)": n["nr_inactive_file"],
        "Unevictable": n["nr_unevictable"], "Mlocked": n["nr_mlock"],
        "SwapTotal": swap["total"], "SwapFree": swap["free"],
        "Zswap": zswap.get("pool_total_size", 0) // 4096,
        "Zswapped": zswap.get("stored_pages", 0),
        "Dirty": n["nr_dirty"], "Writeback": n["nr_writeback"], "AnonPages": n["nr_anon_pages"],
        "Mapped": n["nr_mapped"], "Shmem": n["nr_shmem"], "KReclaimable": slab,
        "Slab": slab + n["nr_slab_unreclaimable"], "SReclaimable": slab,
        "SUnreclaim": n["nr_slab_unreclaimable"],
    }  # fmt: skip
    out = {name: value * KIB_PER_PAGE for name, value in pages.items()}
    out["KernelStack"] = n["nr_kernel_stack"]
    out["PageTables"] = n["nr_page_table_pages"] * KIB_PER_PAGE
    out["CommitLimit"] = (total_pages // 2 + swap["total"]) * KIB_PER_PAGE
    return out


def numastat(zones: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """``/sys/devices/system/node/nodeN/numastat`` by name, from the zones of the node."""
    return {shown: sum(z["stat"][name] for z in zones) for name, shown in _NUMASTAT.items()}


def node_vmstat(node_stats: Mapping[str, int], zones: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """``/sys/devices/system/node/nodeN/vmstat`` by name; only what is simulated."""
    none = {"dirty": 0, "background": 0}
    values = vmstat({}, node_stats, zones, thresholds=none)
    return {name: value for name, value in values.items() if not name.endswith("_threshold")}


def node_meminfo(
    node_stats: Mapping[str, int], zones: Sequence[Mapping[str, Any]], total_pages: int
) -> dict[str, int]:
    """``/sys/devices/system/node/nodeN/meminfo`` by field in KiB, in the kernel's order."""
    system = meminfo(node_stats, zones, {"total": 0, "free": 0}, total_pages=total_pages)
    out = {}
    for name in _NODE_MEMINFO:
        if name == "MemUsed":
            out[name] = system["MemTotal"] - system["MemFree"]
        elif name == "FilePages":
            out[name] = node_stats["nr_file_pages"] * KIB_PER_PAGE
        else:
            out[name] = system[name]
    return out


def node_meminfo_text(node: int, values: Mapping[str, int]) -> str:
    """As the kernel prints it."""
    return "".join(f"Node {node} {line}\n" for line in meminfo_text(values).splitlines())


def lines_text(values: Mapping[str, int]) -> str:
    """A name and a number in each line."""
    return "".join(f"{name} {value}\n" for name, value in values.items())


def vmstat_text(values: Mapping[str, int]) -> str:
    """As the kernel prints it, its constant last line included."""
    return lines_text(values) + "nr_unstable 0\n"


def meminfo_text(values: Mapping[str, int]) -> str:
    """As the kernel prints it: label of 16 characters, value right-aligned in 8."""
    return "".join(f"{name + ':':<16}{value:8d} kB\n" for name, value in values.items())


def zoneinfo_text(zones: Sequence[Mapping[str, Any]]) -> str:
    """As the kernel prints it, populated zones only and without the per-node statistics."""
    lines = []
    for z in zones:
        lines.append(f"Node {z['node']}, zone {ZONE_NAMES[z['idx']]:>8}")
        lines.append(f"  pages free     {z['free']}")
        lines.append(f"        boost    {z['boost']}")
        # The kernel prints its watermarks as they count at the moment, with the boost.
        lines += [f"        {name:<8} {z[name] + z['boost']}" for name in ("min", "low", "high", "promo")]
        lines += [f"        {name:<8} {z[name]}" for name in ("spanned", "present", "managed")]
        lines.append("        cma      0")
        lines.append(f"        protection: ({', '.join(map(str, z['protection']))})")
        lines.append(f"      nr_free_pages {z['free']}")
        lines += [f"      nr_zone_{name} {count}" for name, count in zip(LRU_NAMES, z["lru"], strict=True)]
        lines.append(f"      nr_zone_write_pending {z['write_pending']}")
        lines += [f"      {name} {count}" for name, count in z["stat"].items()]
        lines.append("  pagesets")
        for cpu, pcp in enumerate(z["pcp"]):
            lines += [f"    cpu: {cpu}", f"              count: {pcp['count']}", f"              high:  {pcp['high']}",
                      f"              batch: {pcp['batch']}"]  # fmt: skip
        lines.append(f"  start_pfn:           {z['start_pfn']}")
    return "\n".join(lines) + "\n"


def pressure_text(psi: Mapping[str, Mapping[str, Any]], kind: str) -> str:
    """``/proc/pressure/KIND``: averages in percent, totals in µs."""
    lines = []
    for degree in ("some", "full"):
        row = psi.get(f"{kind}_{degree}", {"avg": (0.0, 0.0, 0.0), "total": 0})
        a, b, c = row["avg"]
        lines.append(f"{degree} avg10={a:.2f} avg60={b:.2f} avg300={c:.2f} total={row['total'] // 1000}")
    return "\n".join(lines) + "\n"
