"""Text of /proc: fields, order and arithmetic of the kernel, from figures chosen by hand."""

import pytest

from memcore.engine import EVENT_NAMES, NODE_STAT_NAMES, ZONE_STAT_NAMES
from pymem import procfs

NUMA = ("numa_hit", "numa_miss", "numa_foreign", "numa_interleave", "numa_local", "numa_other")


def zone(idx=2, **changes):
    return {
        "node": 0,
        "idx": idx,
        "free": 1000,
        "boost": 0,
        "min": 10,
        "low": 20,
        "high": 30,
        "promo": 40,
        "spanned": 9000,
        "present": 8000,
        "managed": 7000,
        "start_pfn": 4096,
        "lru": [1, 2, 3, 4, 5],
        "write_pending": 6,
        "protection": [0, 0, 0, 0],
        "stat": {name: i for i, name in enumerate(NUMA)},
        "pcp": [{"count": 1, "high": 2, "batch": 3}],
        **changes,
    }


EVENTS = {name: 100 + i for i, name in enumerate(EVENT_NAMES)}
STATS = {name: 1000 + i for i, name in enumerate(NODE_STAT_NAMES)}


def vmstat(kernel):
    zones = [zone(1), zone(2, free=23)]
    return procfs.vmstat(EVENTS, STATS, zones, thresholds={"dirty": 8, "background": 9}, kernel=kernel)


@pytest.mark.parametrize("kernel", ["6.1", "6.12"])
def test_every_counter_of_the_engine_is_shown(kernel):
    found = vmstat(kernel)
    new = {"zone_reclaim_success", "swpin_zero", "swpout_zero", "zswpwb"} if kernel == "6.1" else set()
    assert set(EVENT_NAMES) - set(found) == new & set(EVENT_NAMES)
    assert set(NODE_STAT_NAMES) - set(found) == {"nr_kernel_pinned"}  # no counter of Linux: what boot took
    assert set(ZONE_STAT_NAMES) <= set(found)
    assert {name: found[name] for name in found if name in EVENTS} == {n: v for n, v in EVENTS.items() if n in found}


def test_zones_are_added_up():
    found = vmstat("6.12")
    assert found["nr_free_pages"] == 1023
    assert [found[f"nr_zone_{name}"] for name in procfs.LRU_NAMES] == [2, 4, 6, 8, 10]
    assert (found["nr_zone_write_pending"], found["numa_other"]) == (12, 10)
    assert (found["nr_dirty_threshold"], found["nr_dirty_background_threshold"]) == (8, 9)


def in_order(found, *names):
    keys = list(found)
    places = [keys.index(name) for name in names]
    return places == sorted(places)


def test_the_order_of_6_12():
    found = vmstat("6.12")
    assert next(iter(found)) == "nr_free_pages"
    assert in_order(
        found,
        "nr_zone_unevictable",
        "nr_zone_write_pending",
        "nr_mlock",
        "numa_hit",
        "numa_other",
        "nr_inactive_anon",
        "nr_unevictable",
        "nr_slab_reclaimable",
        "nr_isolated_anon",
        "workingset_refault_anon",
        "nr_anon_pages",
        "nr_mapped",
        "nr_file_pages",
        "nr_dirty",
        "nr_writeback",
        "nr_shmem",
        "nr_vmscan_write",
        "nr_dirtied",
        "nr_written",
        "nr_kernel_stack",
        "nr_page_table_pages",
        "nr_swapcached",
        "pgpromote_success",
        "pgdemote_kswapd",
        "pgdemote_direct",
        "nr_dirty_threshold",
        "pgpgin",
        "pgpgout",
        "pswpin",
        "pswpout",
        "pgalloc_dma",
        "allocstall_dma",
        "pgskip_dma",
        "pgfree",
        "pgactivate",
        "pgdeactivate",
        "pgfault",
        "pgmajfault",
        "pgrefill",
        "pgsteal_kswapd",
        "pgsteal_direct",
        "pgscan_kswapd",
        "pgscan_direct",
        "pgscan_direct_throttle",
        "pgscan_anon",
        "pgsteal_anon",
        "zone_reclaim_success",
        "zone_reclaim_failed",
        "slabs_scanned",
        "pageoutrun",
        "pgrotated",
        "oom_kill",
        "numa_pte_updates",
        "pgmigrate_success",
        "unevictable_pgs_culled",
        "swap_ra",
        "swap_ra_hit",
    )


def test_the_order_of_6_1_differs():
    """pgdemote_* were events, after pgsteal_direct."""
    found = vmstat("6.1")
    assert in_order(
        found,
        "pgpromote_candidate",
        "nr_dirty_threshold",
        "pgsteal_direct",
        "pgdemote_kswapd",
        "pgdemote_direct",
        "pgscan_kswapd",
    )
    assert set(vmstat("6.12")) - set(found) == {"zone_reclaim_success", "swpin_zero", "swpout_zero", "zswpwb"}


def test_vmstat_text():
    assert procfs.vmstat_text({"nr_free_pages": 5, "pgfault": 7}) == "nr_free_pages 5\npgfault 7\nnr_unstable 0\n"


# ---- meminfo ----------------------------------------------------------------------------------------------

PLAIN = dict.fromkeys(NODE_STAT_NAMES, 0) | {
    "nr_active_anon": 1,
    "nr_inactive_anon": 2,
    "nr_active_file": 100,
    "nr_inactive_file": 50,
    "nr_unevictable": 5,
    "nr_mlock": 4,
    "nr_file_pages": 160,
    "nr_swapcached": 3,
    "nr_dirty": 6,
    "nr_writeback": 7,
    "nr_anon_pages": 8,
    "nr_mapped": 9,
    "nr_shmem": 10,
    "nr_slab_reclaimable": 60,
    "nr_slab_unreclaimable": 11,
    "nr_kernel_stack": 16,
    "nr_page_table_pages": 12,
}


def meminfo(**changes):
    given = {"total_pages": 7000, "reserve_pages": 130, **changes}
    return procfs.meminfo(PLAIN, [zone(1), zone(2)], {"total": 500, "free": 400}, **given)


def test_the_fields_of_meminfo_in_order():
    assert list(meminfo()) == [
        "MemTotal",
        "MemFree",
        "MemAvailable",
        "Buffers",
        "Cached",
        "SwapCached",
        "Active",
        "Inactive",
        "Active(anon)",
        "Inactive(anon)",
        "Active(file)",
        "Inactive(file)",
        "Unevictable",
        "Mlocked",
        "SwapTotal",
        "SwapFree",
        "Zswap",
        "Zswapped",
        "Dirty",
        "Writeback",
        "AnonPages",
        "Mapped",
        "Shmem",
        "KReclaimable",
        "Slab",
        "SReclaimable",
        "SUnreclaim",
        "KernelStack",
        "PageTables",
        "CommitLimit",
    ]


def test_meminfo_in_kib():
    found = meminfo()
    expected = {
        "MemTotal": 7000,
        "MemFree": 2000,
        "Cached": 157,
        "SwapCached": 3,
        "Active": 101,
        "Inactive": 52,
        "Active(file)": 100,
        "Unevictable": 5,
        "Mlocked": 4,
        "SwapTotal": 500,
        "SwapFree": 400,
        "Dirty": 6,
        "Writeback": 7,
        "AnonPages": 8,
        "Mapped": 9,
        "Shmem": 10,
        "Slab": 71,
        "SReclaimable": 60,
        "SUnreclaim": 11,
        "PageTables": 12,
        # half of all memory, and swap
        "CommitLimit": 3500 + 500,
        # free - reserve + (cache - min(cache / 2, low)) + (slab - min(slab / 2, low)), with low = 20 + 20
        "MemAvailable": 2000 - 130 + (150 - 40) + (60 - 30),
    }
    assert {name: found[name] for name in expected} == {name: 4 * pages for name, pages in expected.items()}
    assert found["KernelStack"] == 16  # counted in KiB


def test_nothing_available_is_not_less_than_nothing():
    assert meminfo(reserve_pages=100_000)["MemAvailable"] == 0


def test_meminfo_text():
    # "%-16s%8lu kB": the width of a live /proc/meminfo
    assert procfs.meminfo_text({"MemTotal": 16303428, "Dirty": 5}) == (
        "MemTotal:       16303428 kB\nDirty:                 5 kB\n"
    )


# ---- zoneinfo and pressure --------------------------------------------------------------------------------


def test_zoneinfo_text():
    assert procfs.zoneinfo_text([zone(0, protection=[0, 1863])]) == (
        "Node 0, zone      DMA\n"
        "  pages free     1000\n"
        "        boost    0\n        min      10\n        low      20\n        high     30\n        promo    40\n"
        "        spanned  9000\n        present  8000\n        managed  7000\n"
        "        cma      0\n"
        "        protection: (0, 1863)\n"
        "      nr_free_pages 1000\n"
        "      nr_zone_inactive_anon 1\n      nr_zone_active_anon 2\n      nr_zone_inactive_file 3\n"
        "      nr_zone_active_file 4\n      nr_zone_unevictable 5\n      nr_zone_write_pending 6\n"
        "      numa_hit 0\n      numa_miss 1\n      numa_foreign 2\n      numa_interleave 3\n      numa_local 4\n"
        "      numa_other 5\n"
        "  pagesets\n    cpu: 0\n              count: 1\n              high:  2\n              batch: 3\n"
        "  start_pfn:           4096\n"
    )


def test_zoneinfo_shows_watermarks_with_the_boost():
    # A recorded 6.1 guest: marks 408, 510, 612 before, and with boost 512 it printed 920, 1022, 1124.
    text = procfs.zoneinfo_text([zone(1, boost=512, min=408, low=510, high=612, promo=714)])
    assert "  boost    512\n        min      920\n        low      1022\n        high     1124\n" in text
    assert "  promo    1226\n" in text


def test_pressure_text():
    psi = {
        "memory_some": {"avg": (1.234, 0.5, 0.006), "total": 1_234_567},
        "memory_full": {"avg": (0, 0, 0), "total": 999},
    }
    assert procfs.pressure_text(psi, "memory") == (
        "some avg10=1.23 avg60=0.50 avg300=0.01 total=1234\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    )
    # The system has no line of its own for "all waiting for a CPU": zeros, as the kernel prints.
    assert procfs.pressure_text({}, "cpu").splitlines()[1] == "full avg10=0.00 avg60=0.00 avg300=0.00 total=0"
