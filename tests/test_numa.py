"""Nodes: where memory comes from, what distance costs, and whether a node is tidied before going further."""

import pytest
from lab import MS, SECOND, Lab, anon, file, load, machine, op, sleep, store

from pymem.records import Op

pytestmark = pytest.mark.engine

NEAR, FAR = ((10, 20), (20, 10)), ((10, 40), (40, 10))


def numastat(lab):
    return [z["stat"] for z in lab.engine.zones()]


def test_memory_comes_from_the_node_of_the_cpu():
    lab = Lab(machine(2048, 2048), a=[anon(1000)])
    moved = lab.do("a", store(range(100)))
    first, second = numastat(lab)
    # 100 pages and two tables
    assert moved["pgalloc_normal"] == 102
    assert (first["numa_hit"], first["numa_local"], first["numa_miss"], first["numa_other"]) == (102, 102, 0, 0)
    assert set(second.values()) == {0}
    assert lab.engine.node_stats(0)["nr_anon_pages"] == 100
    assert lab.engine.node_stats(1)["nr_anon_pages"] == 0


def test_a_full_node_falls_back_without_reclaim():
    """Node 0 gives until low; the rest comes from node 1, and the counters of both say so."""
    lab = Lab(machine(1024, 4096), a=[anon(3000)])
    moved = lab.do("a", store(range(2000)))
    assert moved["pgscan_direct"] == moved["allocstall_movable"] == 0
    first, second = numastat(lab)
    assert first["numa_hit"] + second["numa_miss"] == moved["pgalloc_normal"]
    assert second["numa_miss"] == first["numa_foreign"] == second["numa_other"] > 900
    assert second["numa_hit"] == second["numa_local"] == 0
    resident = [lab.engine.node_stats(n)["nr_anon_pages"] for n in (0, 1)]
    assert sum(resident) == 2000
    zones = lab.engine.zones()
    # not below low by more than the per-CPU list takes at once
    assert zones[0]["free"] + zones[0]["pcp"][0]["count"] >= zones[0]["low"] - zones[0]["pcp"][0]["batch"]


def test_local_accesses_cost_what_local_memory_costs():
    """90 ns, and none of them remote, as long as the home node has room."""
    lab = Lab(machine(4096, 4096, cpus=(1, 1)), a=[anon(3000)])
    lab.do("a", store(range(2000)))
    assert lab.engine.node_stats(0)["nr_anon_pages"] == 2000
    before = lab.engine.now
    lab.do("a", load(range(1000)))
    assert lab.engine.now - before == 1000 * 90
    assert lab.task("a")["remote"] == 0


def test_remote_accesses_cost_their_distance():
    """180 ns at distance 20, where what no longer fitted at home lies."""
    lab = Lab(machine(1024, 4096), a=[anon(3000)])
    lab.do("a", store(range(2000)))
    remote = lab.engine.node_stats(1)["nr_anon_pages"]
    before, counted = lab.engine.now, lab.task("a")["remote"]
    lab.do("a", load(range(2000)))
    assert lab.task("a")["remote"] - counted == remote
    assert lab.engine.now - before == (2000 - remote) * 90 + remote * 180


def test_fallback_order_follows_distance():
    distances = ((10, 30, 20), (30, 10, 20), (20, 20, 10))
    lab = Lab(machine(1024, 1024, 1024, cpus=(1, 1, 1), distances=distances), a=[anon(10)])
    orders = [n["fallback"] for n in lab.engine.nodes()]
    assert orders[0] == [0, 2, 1]
    assert orders[1] == [1, 2, 0]
    # equal distances: ties go to the node that was chosen less often so far, then to the lower number
    assert orders[2][0] == 2
    assert sorted(orders[2]) == [0, 1, 2]


def cached(mode, distances=NEAR, mapped=False, dirty=False):
    """A home node full of page cache, another one empty; then anonymous memory is wanted."""
    lab = Lab(
        machine(1024, 4096, distances=distances), a=[anon(600), file(1500)],
        vm={"zone_reclaim_mode": mode, "read_ahead_kb": 0, "fault_around_bytes": 4096, "dirty_ratio": 100,
            "dirty_background_ratio": 99},
    )  # fmt: skip
    pages = range(600, 600 + 900)
    if mapped:
        lab.do("a", load(pages))
    elif dirty:
        lab.do("a", op(Op.WRITE, 600, 900))
    else:
        lab.do("a", op(Op.READ, 600, 900))
    moved = lab.do("a", store(range(600)))
    return moved, lab.engine.node_stats(1)["nr_anon_pages"]


def test_mode_0_goes_to_the_neighbour():
    moved, away = cached(0)
    assert moved["zone_reclaim_success"] == moved["zone_reclaim_failed"] == 0
    assert away > 0


def test_mode_1_drops_unmapped_cache_first():
    moved, away = cached(1)
    assert moved["zone_reclaim_success"] > 0
    assert moved["pgsteal_file"] >= 600 - (1024 - 900)
    assert away < 600


def test_mode_1_leaves_mapped_cache_alone():
    """Unmapped pages are below min_unmapped_ratio: node reclaim does not even start."""
    moved, away = cached(1, mapped=True)
    assert moved["zone_reclaim_success"] == 0
    assert away > 0


def test_mode_4_unmaps():
    moved, _ = cached(1 | 4, mapped=True)
    assert moved["zone_reclaim_success"] > 0
    assert moved["nr_mapped"] < 0


def test_mode_1_does_not_write():
    """Dirty pages do not count as reclaimable without bit 2."""
    moved, away = cached(1, dirty=True)
    assert moved["zone_reclaim_success"] == 0
    assert away > 0


def test_the_home_node_is_tidied_however_far_the_others_are():
    """Only nodes beyond distance 30 (RECLAIM_DISTANCE) are exempt, and home is at 10."""
    moved, _ = cached(1, distances=FAR)
    assert moved["zone_reclaim_success"] > 0


def test_each_node_has_its_own_kswapd():
    lab = Lab(machine(1024, 1024, cpus=(1, 1)), a=[file(6000)])
    lab.do("a", *[op(Op.READ, first, 100) for first in range(0, 6000, 100)], sleep(SECOND))
    counts = lab.counts()
    assert counts["pgsteal_kswapd"] > 0
    for z in lab.engine.zones():
        assert z["free"] > z["low"]


def test_balancing_makes_pages_fault():
    """Every scan period (10 ms) up to 1 MiB loses its access bits; the next touch is a hint fault."""
    vm = {"numa_balancing": 1, "numa.scan_delay_ms": 1, "numa.scan_period_min_ms": 10, "numa.scan_size_mb": 1}
    lab = Lab(machine(4096, 4096, cpus=(1, 1)), a=[anon(1000)], vm=vm)
    lab.do("a", store(range(200)), sleep(20 * MS), store(200))
    counts = lab.counts()
    assert counts["numa_pte_updates"] >= 200
    moved = lab.do("a", load(range(200)))
    assert moved["numa_hint_faults"] == moved["pgfault"] == 200
    assert moved["numa_hint_faults_local"] == 200
    assert moved["numa_pages_migrated"] == 0  # they are where they are wanted
