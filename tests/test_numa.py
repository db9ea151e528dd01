"""Nodes: where memory comes from, what distance costs, and whether a node is tidied before going further."""

import pytest
from lab import SECOND, Lab, anon, file, load, machine, op, sleep, store

from memcore.engine import EVENT_KINDS
from pymem import Boot, Machine, Node, SwapDevice, Zone
from pymem.records import Op

pytestmark = pytest.mark.engine

FAR = ((10, 40), (40, 10))


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
    task = lab.task("a")
    assert (task["local"], task["remote"], task["local_ns"], task["remote_ns"]) == (3000, 0, 3000 * 90, 0)


def test_remote_accesses_cost_their_distance():
    """180 ns at distance 20, where what no longer fitted at home lies."""
    lab = Lab(machine(1024, 4096), a=[anon(3000)])
    lab.do("a", store(range(2000)))
    remote = lab.engine.node_stats(1)["nr_anon_pages"]
    before, counted = lab.engine.now, lab.task("a")["remote"]
    lab.do("a", load(range(2000)))
    assert lab.task("a")["remote"] - counted == remote
    assert lab.engine.now - before == (2000 - remote) * 90 + remote * 180
    # stored to once before: the access of a fault counts like any other
    task = lab.task("a")
    assert (task["local"], task["remote"]) == (2 * (2000 - remote), 2 * remote)
    assert (task["local_ns"], task["remote_ns"]) == (2 * (2000 - remote) * 90, 2 * remote * 180)


def test_fallback_order_follows_distance():
    distances = ((10, 30, 20), (30, 10, 20), (20, 20, 10))
    lab = Lab(machine(1024, 1024, 1024, cpus=(1, 1, 1), distances=distances), a=[anon(10)])
    orders = [n["fallback"] for n in lab.engine.nodes()]
    assert orders[0] == [0, 2, 1]
    assert orders[1] == [1, 2, 0]
    # equal distances: ties go to the node that was chosen less often so far, then to the lower number
    assert orders[2][0] == 2
    assert sorted(orders[2]) == [0, 1, 2]


# ---- node reclaim -------------------------------------------------------------------------------------------
# Node 0 has 1024 pages, 900 of them page cache; then 600 pages of anonymous memory are wanted. Node 1 is empty.
# Of the 600 and two tables 124 fit beforehand, less the low watermark of 15.

MODES = range(8)
MISSING = 602 - (124 - 15)
#: Freed pages lie in the per-CPU list at first, where the watermark does not see them: a few requests go on.
FEW = 32


def cached(mode, kind, vm=None, **more):
    """What the wish moved, how much of it went to node 1, and how often node reclaim was tried."""
    lab = Lab(
        machine(1024, 4096, **more), a=[anon(600), file(900)],
        vm={"zone_reclaim_mode": mode, "read_ahead_kb": 0, "fault_around_bytes": 4096, "dirty_ratio": 100,
            "dirty_background_ratio": 99, **(vm or {})},
    )  # fmt: skip
    pages = range(600, 1500)
    lab.do("a", {
        "clean": op(Op.READ, 600, 900), "dirty": op(Op.WRITE, 600, 900), "mapped": load(pages),
        "dirty and mapped": store(pages),
    }[kind])  # fmt: skip
    # a node takes a limited share of dirty pages that are written, see node_dirty_ok
    assert lab.engine.node_stats(0)["nr_file_pages"] >= (880 if kind == "dirty" else 900)
    assert lab.engine.zones()[0]["low"] == 15
    moved = lab.do("a", store(range(600)))
    return moved, lab.engine.node_stats(1)["nr_anon_pages"], tries(lab)


def tries(lab):
    """Pages that each round of node reclaim freed, from the event log."""
    events, dropped = lab.engine.event_log()
    assert dropped == 0
    return [int(e["value"]) for e in events if EVENT_KINDS[e["kind"]] == "node_reclaim"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("kind", "needed"),
    [("clean", 0), ("dirty", 2), ("mapped", 4), ("dirty and mapped", 2 | 4)],
)
def test_which_cache_every_mode_goes_for(mode, kind, needed):
    """What counts as reclaimable: unmapped pages, all with bit 4; less the dirty ones without bit 2. Any bit turns
    node reclaim on."""
    moved, away, rounds = cached(mode, kind)
    tried = mode != 0 and mode & needed == needed
    assert (len(rounds) > 0) == tried
    assert moved["zone_reclaim_success"] + moved["zone_reclaim_failed"] == len(rounds)
    assert moved["zone_reclaim_success"] == sum(freed > 0 for freed in rounds)
    if not tried:
        assert moved["pgscan_direct"] == moved["pgscan_kswapd"] == 0
        assert away > 400
    else:
        # reclaim writes no file pages itself: it calls the flusher, and until that has written some, requests go on
        failed = rounds.count(0)
        assert failed == 0 or "dirty" in kind
        assert away < FEW + failed
        assert sum(rounds) >= MISSING - FEW - failed
        assert failed < 100
        assert (moved["nr_written"] > 0) == ("dirty" in kind)


@pytest.mark.parametrize("mode", MODES)
def test_mapped_pages_stay_mapped_without_bit_4(mode):
    """Half of the cache is mapped: the rest is enough to begin, and only bit 4 lets reclaim take the other half."""
    lab = Lab(
        machine(1024, 4096), a=[anon(800), file(450, name="read"), file(450, name="mapped")],
        vm={"zone_reclaim_mode": mode, "read_ahead_kb": 0, "fault_around_bytes": 4096},
    )  # fmt: skip
    lab.do("a", op(Op.READ, 800, 450), load(range(1250, 1700)))
    moved = lab.do("a", store(range(800)))
    away = lab.engine.node_stats(1)["nr_anon_pages"]
    if mode & 4:
        assert moved["nr_mapped"] < 0
        assert away < FEW
    else:
        assert moved["nr_mapped"] == 0
        # 124 pages were free, 450 could be freed
        assert away >= 800 - 124 - (450 if mode else 0)


@pytest.mark.parametrize("mode", MODES)
def test_anonymous_memory_counts_for_nothing(mode):
    """A node full of it has nothing for node reclaim, whatever swap there is (NODE_RECLAIM_FULL)."""
    lab = Lab(machine(1024, 4096, swap=[SwapDevice("16MiB")]), a=[anon(2000)], vm={"zone_reclaim_mode": mode})
    moved = lab.do("a", store(range(2000)))
    assert tries(lab) == []
    assert moved["pswpout"] == 0


def test_61_does_not_count_successes():
    lab = Lab(
        machine(1024, 4096), a=[anon(600), file(900)], kernel="6.1", vm={"zone_reclaim_mode": 1, "read_ahead_kb": 0}
    )
    lab.do("a", op(Op.READ, 600, 900), store(range(600)))
    assert lab.counts()["zone_reclaim_success"] == 0
    assert sum(tries(lab)) > 400


@pytest.mark.parametrize(("ratio", "threshold"), [(0, 0), (50, 512), (80, 819), (87, 890), (88, 901), (100, 1024)])
def test_min_unmapped_ratio_is_what_remains(ratio, threshold):
    """Percent of the node's 1024 pages, rounded down; only what exceeds it is gone for. A round takes up to 64."""
    moved, away, rounds = cached(1, "clean", vm={"min_unmapped_ratio": ratio})
    least = min(MISSING, max(0, 900 - threshold))
    assert least <= sum(rounds) == moved["pgsteal_file"] < max(least + 64, 1)
    assert (len(rounds) == 0) == (threshold >= 900)
    assert (away > FEW) == (least < MISSING)


@pytest.mark.parametrize(("ratio", "threshold"), [(5, 51), (19, 194), (20, 204), (100, 1024)])
def test_min_slab_ratio_lets_slab_be_shrunk(ratio, threshold):
    """200 pages of dentries and inodes, no page cache: node reclaim shrinks slab while it exceeds the ratio."""
    node = Zone("Normal", 1, 1024, 1024, 1024, 824)
    other = Zone("Normal", 1025, 4096, 4096, 4096, 4096)
    made = Machine(
        nodes=[Node(zones=(node,)), Node(zones=(other,), cpus=0)],
        boot=Boot(kernel=0, slab_reclaimable=0, slab_freeable=200 * 4096, slab_unreclaimable=0),
    )
    lab = Lab(made, a=[anon(2000)], vm={"zone_reclaim_mode": 1, "min_slab_ratio": ratio})
    assert lab.engine.node_stats(0)["nr_slab_reclaimable"] == 200
    moved = lab.do("a", store(range(1500)))
    assert (len(tries(lab)) > 0) == (threshold < 200)
    assert (moved["slabs_scanned"] > 0) == (threshold < 200)
    left = lab.engine.node_stats(0)["nr_slab_reclaimable"]
    assert left <= threshold if threshold < 200 else left == 200


@pytest.mark.parametrize(("distance", "tidied"), [(20, True), (30, True), (31, False), (40, False)])
def test_a_node_without_cpus_is_tidied_up_to_distance_30(distance, tidied):
    """RECLAIM_DISTANCE, from the node that was preferred. Beyond it the request goes on; here there is nowhere to go,
    so it comes to kswapd and direct reclaim."""
    lab = Lab(
        machine(256, 1024, distances=((10, distance), (distance, 10))), a=[anon(800), file(980)],
        vm={"zone_reclaim_mode": 1, "read_ahead_kb": 0},
    )  # fmt: skip
    lab.do("a", store(range(230)))  # node 0 is full of what node reclaim does not take
    lab.do("a", op(Op.READ, 800, 980))
    moved = lab.do("a", store(range(230, 600)))
    if tidied:
        assert lab.counts()["pgsteal_direct"] == sum(tries(lab)) > 0
    else:
        assert tries(lab) == []
        # by whom depends on who gets the only CPU
        assert moved["pgsteal_kswapd"] + moved["pgsteal_direct"] > 0


def test_a_node_with_cpus_of_its_own_is_not_tidied_by_others():
    """NODE_RECLAIM_NOSCAN: its own tasks do that."""
    lab = Lab(
        machine(256, 1024, cpus=(1, 1)), a=[anon(800), file(980)], vm={"zone_reclaim_mode": 1, "read_ahead_kb": 0},
        settings={"a": {"affinity": [0]}},
    )  # fmt: skip
    lab.do("a", store(range(230)))
    lab.do("a", op(Op.READ, 800, 980))
    moved = lab.do("a", store(range(230, 600)))
    assert tries(lab) == []
    assert moved["pgsteal_kswapd"] > 0


def test_a_task_bound_elsewhere_tidies_by_its_own_preference():
    """The preferred node is the first that the policy allows, not that of the CPU, which is too far away."""
    lab = Lab(
        machine(1024, 1024, 4096, distances=((10, 40, 40), (40, 10, 20), (40, 20, 10))), a=[anon(600), file(900)],
        vm={"zone_reclaim_mode": 1, "read_ahead_kb": 0}, settings={"a": {"policy": "bind:1,2"}},
    )  # fmt: skip
    lab.do("a", op(Op.READ, 600, 900), store(range(600)))
    assert sum(tries(lab)) > 0
    assert lab.engine.node_stats(1)["nr_anon_pages"] > 600 - FEW


def test_the_home_node_is_tidied_however_far_the_others_are():
    """Home is at 10."""
    _, away, rounds = cached(1, "clean", distances=FAR)
    assert len(rounds) > 0
    assert away < FEW


def test_each_node_has_its_own_kswapd():
    lab = Lab(machine(1024, 1024, cpus=(1, 1)), vm={"compaction_proactiveness": 0}, a=[file(6000)])
    lab.do("a", *[op(Op.READ, first, 100) for first in range(0, 6000, 100)], sleep(SECOND))
    counts = lab.counts()
    assert counts["pgsteal_kswapd"] > 0
    for z in lab.engine.zones():
        assert z["free"] > z["low"]
