"""NUMA balancing, demotion to slower nodes and promotion back, against the kernel's rules worked out by hand."""

import numpy as np
import pytest
from lab import MS, SECOND, VM, Lab, Script, anon, file, finish, load, machine, op, sleep, store

from pymem import Machine, Node, Scenario, SwapDevice, Task
from pymem.errors import ScenarioError
from pymem.numa import demotion_targets, tiers
from pymem.records import WRITE, Op
from pymem.simulation import Simulation

pytestmark = pytest.mark.engine

#: Scans every 10 ms from 10 ms on, so that a test need not wait a second.
SCAN = {"numa.scan_delay_ms": 10, "numa.scan_period_min_ms": 10, "numa.scan_size_mb": 16}


def anon_pages(bench):
    return [bench.engine.node_stats(n)["nr_anon_pages"] for n in range(len(bench.engine.nodes()))]


def away(vm, pages=100, spare=1000, make=machine, nodes=(1024, 4096), cpus=(1, 1), **more):
    """A task on node 0 whose first `pages` pages lie on node 1: node 0 was full when it touched them, and is not now.

    A filler takes node 0 and somewhat more before, and exits.
    """
    settings = {"affinity": [0]}
    bench = Lab(
        make(*nodes, cpus=cpus, **more), filler=[anon(nodes[0])], a=[anon(pages + spare)], vm={**SCAN, **vm},
        settings={"filler": settings, "a": settings},
    )  # fmt: skip
    bench.do("filler", store(range(nodes[0])))
    before = anon_pages(bench)
    bench.do("a", store(range(pages)))
    assert anon_pages(bench) == [before[0], before[1] + pages]
    bench.exit("filler")
    assert anon_pages(bench) == [0, pages]
    return bench


# ---- balancing ------------------------------------------------------------------------------------------------


def test_memory_of_a_task_alone_on_its_node_is_left_in_peace():
    """change_pte_range: pages on the node of a task with one thread are not made to fault."""
    bench = Lab(machine(4096, 4096, cpus=(1, 1)), a=[anon(1000)], vm={**SCAN, "numa_balancing": 1})
    bench.do("a", store(range(200)), sleep(50 * MS), load(range(200)))
    counts = bench.counts()
    assert counts["numa_pte_updates"] == counts["numa_hint_faults"] == 0


def test_pages_move_to_where_they_are_used():
    bench = away({"numa_balancing": 1})
    moved = bench.do("a", sleep(20 * MS), load(range(100)))
    assert moved["numa_pte_updates"] == moved["numa_hint_faults"] == moved["pgfault"] == 100
    assert moved["numa_hint_faults_local"] == 0
    assert moved["numa_pages_migrated"] == moved["pgmigrate_success"] == 100
    assert moved["pgpromote_success"] == 0
    assert anon_pages(bench) == [100, 0]
    # and from then on nothing is remote, and nothing faults
    remote = bench.task("a")["remote"]
    again = bench.do("a", sleep(20 * MS), load(range(100)))
    assert again["numa_hint_faults"] == 0
    assert bench.task("a")["remote"] == remote


def test_a_hint_fault_costs_its_time_and_the_move():
    """700 ns for the fault, 3000 for the move, 90 for the access; a frame from the other node is free of charge."""
    bench = away({"numa_balancing": 1})
    bench.do("a", sleep(20 * MS))
    before = bench.engine.now
    moved = bench.do("a", load(50))
    assert moved["numa_pages_migrated"] == 1
    assert bench.engine.now - before == 700 + 3000 + 90


def test_off_means_off():
    moved = away({"numa_balancing": 0}).do("a", sleep(50 * MS), load(range(100)))
    assert moved["numa_pte_updates"] == moved["numa_hint_faults"] == moved["numa_pages_migrated"] == 0


def test_a_full_node_takes_nobody_in():
    """The destination must stay above its high watermark; the page stays where it is."""
    bench = away({"numa_balancing": 1}, pages=400)

    def above_high():
        zone = bench.engine.zones()[0]
        return zone["free"] - zone["high"], sum(p["count"] for p in zone["pcp"])

    bench.do("a", store(range(400, 400 + sum(above_high()) - 200)))
    moved = bench.do("a", sleep(20 * MS), load(range(400)))
    assert moved["numa_hint_faults"] == 400
    # down to high, give or take what the per-CPU list holds (at most 63 at a time)
    assert 200 - 2 * 63 <= moved["numa_pages_migrated"] <= 200 + 63
    assert -63 <= above_high()[0] <= 0
    assert moved["pgscan_kswapd"] == moved["pgscan_direct"] == 0


@pytest.mark.parametrize("policy", ["preferred:1", "bind:1", "interleave:1"])
def test_memory_with_a_policy_is_not_scanned(policy):
    """vma_policy_mof: somebody has decided already."""
    bench = Lab(machine(4096, 4096), a=[anon(100, policy=policy)], vm={**SCAN, "numa_balancing": 1})
    bench.do("a", store(range(100)), sleep(20 * MS), load(range(100)))
    assert anon_pages(bench) == [0, 100]
    assert bench.counts()["numa_pte_updates"] == 0


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_a_task_that_only_hits_is_scanned_too(dtype):
    """100 pages, 90 or 180 ns each: 4000 passes take far more than a scan period."""
    bench = away({"numa_balancing": 1})
    moved = bench.do("a", np.tile(np.arange(100), 4000).astype(dtype))
    assert moved["numa_pages_migrated"] > 0
    assert anon_pages(bench) == [100, 0]


def test_the_scan_goes_on_where_it_stopped():
    """1 MiB is 256 pages of address space a scan; 600 remote pages take three."""
    bench = away({"numa_balancing": 1, "numa.scan_size_mb": 1}, pages=600)
    updates = []
    for _ in range(4):
        updates.append(bench.do("a", sleep(11 * MS))["numa_pte_updates"])
    assert updates == [256, 256, 88, 0]  # in the end all of them are inaccessible already


@pytest.mark.parametrize(("stored", "written"), [(False, 0), (True, 1)])
def test_what_a_hint_fault_leaves_in_the_page_table(stored, written):
    """A page that swap has a copy of is made to fault: a load leaves it clean, a store must not."""
    bench = away({"numa_balancing": 1, "numa.scan_period_min_ms": 50}, swap=[SwapDevice("16MiB")])
    assert bench.do("a", op(Op.PAGEOUT, 99), sleep(5 * MS))["pswpout"] == 1
    assert bench.do("a", load(99))["nr_swapcached"] == 0  # it had not left yet
    bench.do("a", sleep(60 * MS))
    assert bench.do("a", store(99) if stored else load(99))["numa_hint_faults"] == 1
    assert bench.do("a", op(Op.PAGEOUT, 99), sleep(5 * MS))["pswpout"] == written


def test_two_tasks_pull_at_a_page_in_vain():
    """A fault moves a page unless the last one came from another node: then it only leaves its mark."""
    shared = [file(8, shared=True)]
    bench = Lab(
        machine(4096, 4096, cpus=(1, 1)), a=shared, b=shared, vm={**SCAN, "numa_balancing": 1},
        settings={"a": {"affinity": [0]}, "b": {"affinity": [1]}},
    )  # fmt: skip
    bench.do("a", load(range(8)))
    bench.do("b", load(range(8)))
    assert bench.engine.node_stats(0)["nr_file_pages"] == 8

    def turn(name):
        moved = bench.do(name, sleep(20 * MS), load(range(8)))
        assert moved["numa_hint_faults"] == 8
        return moved["numa_pages_migrated"], moved["numa_hint_faults_local"]

    assert turn("a") == (0, 8)  # local; the mark says node 0
    assert turn("b") == (0, 0)  # another node was last: now the mark says node 1
    assert turn("a") == (0, 8)
    assert turn("b") == (0, 0)
    assert turn("b") == (8, 0)  # twice in a row
    assert bench.engine.node_stats(1)["nr_file_pages"] == 8


# ---- tiers ------------------------------------------------------------------------------------------------------


def test_tiers_by_latency():
    """576 * 238 // 90 = 1523 is 11 widths of 128, ordinary memory 4; 100 ns are 640 // 128 = 5 already."""
    access = [[90, 189, 238], [189, 90, 408], [238, 408, 170]]
    assert tiers(access, [2, 2, 0], [1, 1, 1]) == [0, 0, 1]
    assert tiers([[90, 99], [99, 90]], [1, 0], [1, 1]) == [0, 0]
    assert tiers([[90, 100], [100, 90]], [1, 0], [1, 1]) == [0, 1]


def test_faster_memory_than_that_of_the_cpus_is_the_top():
    """60 ns are 576 * 60 // 90 = 384: width 3, above ordinary memory."""
    assert tiers([[90, 60, 300], [60, 60, 300], [300, 300, 300]], [1, 0, 0], [1, 1, 1]) == [1, 0, 2]


def test_demotion_goes_to_the_nearest_of_the_next_tier():
    distances = ((10, 20, 30, 30, 40), (20, 10, 20, 30, 40), (30, 20, 10, 20, 20), (30, 30, 20, 10, 20), (40,) * 5)
    assert demotion_targets([0, 0, 1, 1, 3], distances, [1] * 5) == [[2, 3], [2], [4], [4], []]
    assert demotion_targets([0, 0, 1, 1, 3], distances, [1, 1, 0, 1, 1]) == [[3], [3], [], [4], []]


def test_the_engine_knows_the_top_tier():
    """Down to the slowest tier with CPUs. From distance 20, 30 ns are 60."""
    machine = Machine(nodes=[Node("64MiB", 1), Node("64MiB", 0, access="30ns"), Node("64MiB", 0, access="300ns")])
    facts = Simulation(Scenario(machine=machine, tasks=[Task("a", Script([anon(1)], load(0)))])).engine.nodes()
    assert [(n["tier"], n["toptier"]) for n in facts] == [(1, True), (0, True), (2, False)]
    assert [n["demotion"] for n in facts] == [[2], [0], []]


def test_a_tier_may_be_given():
    with pytest.raises(ScenarioError, match=r"^machine\.nodes\.tier: -1; accepted is 0 to 63$"):
        Node("64MiB", tier=-1)
    machine = Machine(nodes=[Node("64MiB", 1), Node("64MiB", 1, tier=1)])
    facts = Simulation(Scenario(machine=machine, tasks=[Task("a", Script([anon(1)], load(0)))])).engine.nodes()
    assert [n["demotion"] for n in facts] == [[1], []]


# ---- demotion -----------------------------------------------------------------------------------------------------


def slow(*nodes, cpus=1, **more):
    """Node 0 with the CPU, the others slower, by latency."""
    made = machine(*nodes, cpus=cpus, **more)
    return Machine(
        nodes=[made.nodes[0], *(Node(zones=n.zones, cpus=0, access="300ns") for n in made.nodes[1:])],
        swap=made.swap, boot=made.boot, distances=made.distances,
    )  # fmt: skip


def bound(*nodes, regions, vm=None, **more):
    """A task bound to node 0: only reclaim there makes room for it."""
    return Lab(slow(*nodes, **more), a=regions, vm={"demotion_enabled": 1, **(vm or {})},
               settings={"a": {"policy": "bind:0"}})  # fmt: skip


def demoted(counts):
    return counts["pgdemote_kswapd"] + counts["pgdemote_direct"]


def test_anonymous_memory_is_demoted_without_swap():
    """Demoted pages count as reclaimed from node 0; policies do not concern demotion."""
    bench = bound(1024, 4096, regions=[anon(2000)])
    moved = bench.do("a", store(range(2000)))
    there = anon_pages(bench)[1]
    assert there >= 2000 - 1024
    assert demoted(moved) == moved["pgsteal_anon"] == moved["pgmigrate_success"] == there
    assert (moved["pgdemote_kswapd"], moved["pgdemote_direct"]) == (moved["pgsteal_kswapd"], moved["pgsteal_direct"])
    assert moved["oom_kill"] == moved["pswpout"] == 0
    # nothing is lost: every page is still there, without a fault
    assert bench.do("a", load(range(2000)))["pgfault"] == 0


def test_without_demotion_it_is_a_kill():
    work = Script([anon(2000)], store(range(2000)))
    tasks = [Task("a", work, policy="bind:0")]
    result = finish(Simulation(Scenario(machine=slow(1024, 4096), vm=VM, tasks=tasks)), budget=1000)
    assert result.tasks["a"].oom_killed


def test_page_cache_is_demoted_instead_of_dropped():
    bench = bound(1024, 4096, regions=[file(2000)])
    moved = bench.do("a", op(Op.READ, 0, 2000))
    assert demoted(moved) == moved["pgsteal_file"] > 900
    again = bench.do("a", op(Op.READ, 0, 2000))
    assert again["pgpgin"] == again["workingset_refault_file"] == 0


def test_a_full_slow_node_leaves_the_page_to_swap():
    bench = bound(1024, 256, regions=[anon(2000)], swap=[SwapDevice("16MiB")])
    moved = bench.do("a", store(range(2000)))
    assert demoted(moved) == moved["pgmigrate_success"] > 0
    assert moved["pgmigrate_fail"] > 0
    assert moved["pswpout"] >= 2000 - 1024 - 256


def test_demotion_wakes_kswapd_of_a_slow_node_that_is_low():
    """alloc_demote_folio may go on to the min watermark while kswapd makes room there."""
    bench = bound(1024, 1024, regions=[anon(4000)], swap=[SwapDevice("32MiB")])
    bench.do("a", store(range(3000)), sleep(SECOND))
    events, _ = bench.engine.event_log()
    woken = {int(e["who"]) for e in events if e["kind"] == 0}
    assert woken == {0, 1}
    zone = next(zone for zone in bench.engine.zones() if zone["node"] == 1)
    assert zone["free"] >= zone["low"]


def test_equal_targets_share():
    bench = bound(1024, 2048, 2048, regions=[anon(3000)])
    moved = bench.do("a", store(range(3000)))
    first, *others = anon_pages(bench)
    assert sum(others) == demoted(moved) == 3000 - first
    # drawn page by page: half of some 2000, with a standard deviation of 22
    assert abs(others[0] - others[1]) < 6 * 2 * 22


def test_without_room_at_the_target_another_slower_node_will_do():
    """node_get_allowed_targets: any lower tier. It is a miss there, unless kswapd of the target moved the page on."""
    made = slow(1024, 128, 4096, distances=((10, 20, 30), (20, 10, 20), (30, 20, 10)))
    bench = Lab(made, a=[anon(2500)], vm={"demotion_enabled": 1}, settings={"a": {"policy": "bind:0"}})
    assert bench.engine.nodes()[0]["demotion"] == [1]
    moved = bench.do("a", store(range(2500)))
    here, near, far = anon_pages(bench)
    assert 0 < near < 128
    assert far == 2500 - here - near
    stat = {zone["node"]: zone["stat"] for zone in bench.engine.zones()}
    assert stat[2]["numa_miss"] == stat[1]["numa_foreign"] > 0
    assert stat[2]["numa_miss"] + stat[2]["numa_hit"] == far
    assert demoted(moved) == stat[1]["numa_hit"] + far


# ---- promotion ------------------------------------------------------------------------------------------------------

HOT = {"numa_balancing": 2, "numa.hot_threshold_ms": 5, "numa.scan_period_min_ms": 100}


def slow_away(vm=None, **more):
    """As `away`, but node 1 is a slower tier."""
    return away({**HOT, **(vm or {})}, make=slow, cpus=1, **{"nodes": (4096, 8192), **more})


def test_only_what_is_used_soon_after_the_scan_is_promoted():
    """Threshold 5 ms: the first half is touched at once, the second 10 ms later."""
    bench = slow_away()
    scanned = bench.do("a", sleep(101 * MS))
    assert scanned["numa_pte_updates"] == 100
    soon = bench.do("a", load(range(60)))
    late = bench.do("a", sleep(10 * MS), load(range(60, 100)))
    assert soon["pgpromote_candidate"] == soon["pgpromote_success"] == soon["numa_pages_migrated"] == 60
    assert late["numa_hint_faults"] == 40
    assert late["pgpromote_candidate"] == late["pgpromote_success"] == late["numa_pages_migrated"] == 0
    assert anon_pages(bench) == [60, 40]


def test_the_rate_limit_counts_candidates_of_a_second():
    """1 MiB/s is 256 pages. After a second without any, the first candidate starts a new count: 256 get through."""
    bench = slow_away({"numa_balancing_promote_rate_limit_MBps": 1, "numa.hot_threshold_ms": 500}, pages=400)
    bench.do("a", sleep(SECOND + 300 * MS))
    moved = bench.do("a", load(range(400)))
    assert moved["numa_hint_faults"] == moved["pgpromote_candidate"] == 400
    assert moved["pgpromote_success"] == 256


def test_with_room_for_everything_heat_does_not_matter():
    """pgdat_free_space_enough: 1 GiB above the promo watermark. No candidate is counted."""
    bench = slow_away(nodes=(300_000, 4096))
    bench.do("a", sleep(101 * MS), sleep(50 * MS))
    moved = bench.do("a", load(range(100)))
    assert moved["pgpromote_success"] == 100
    assert moved["pgpromote_candidate"] == 0


def test_the_threshold_follows_the_rate_limit():
    """Far fewer candidates than the limit lets through: after each longest scan period a sixteenth of twice the default
    more, up to twice the default."""
    bench = slow_away({"numa.hot_threshold_ms": 8, "numa.scan_period_max_ms": 200})
    seen = []
    for turn in range(12):
        bench.do("a", sleep(101 * MS), sleep(101 * MS), sleep(20 * MS), load(99 - turn))
        seen.append(bench.engine.nodes()[0]["hot_threshold_ns"] // MS)
    assert seen == [9, 10, 11, 12, 13, 14, 15, 16, 16, 16, 16, 16]


def test_normal_balancing_moves_without_asking_how_hot():
    bench = slow_away({"numa_balancing": 1})
    moved = bench.do("a", sleep(101 * MS), sleep(50 * MS), load(range(100)))
    assert moved["numa_pages_migrated"] == 100
    assert moved["pgpromote_success"] == moved["pgpromote_candidate"] == 0


def test_tiering_alone_leaves_the_top_tier_alone():
    """Mode 2 scans slow nodes only: two sockets exchange nothing."""
    bench = away({"numa_balancing": 2})
    moved = bench.do("a", sleep(20 * MS), load(range(100)))
    assert moved["numa_pte_updates"] == moved["numa_hint_faults"] == 0


def test_tiering_keeps_room_for_promotions():
    """kswapd works up to the promo watermark, 2 * high - low, instead of high."""
    free = {}
    for mode in (0, 2):
        bench = bound(2048, 8192, regions=[anon(3000)], vm={"numa_balancing": mode})
        bench.do("a", store(range(3000)), sleep(SECOND))
        free[mode] = next(zone for zone in bench.engine.zones() if zone["node"] == 0)
    assert free[0]["promo"] == 2 * free[0]["high"] - free[0]["low"]
    assert free[0]["high"] < free[0]["free"]
    assert free[2]["promo"] < free[2]["free"]


def test_a_cycle_of_demotion_and_promotion_loses_nothing():
    """Records of the short form, stores among them, on a machine whose fast node holds half of the memory."""
    rng = np.random.default_rng(1)
    pages = rng.zipf(1.3, 200_000) % 3000
    records = pages.astype(np.uint32) | (np.where(rng.random(200_000) < 0.3, WRITE, 0)).astype(np.uint32)
    work = Script([anon(3000)], store(range(3000)), records)
    vm = {**VM, **SCAN, **HOT, "demotion_enabled": 1, "numa.scan_period_min_ms": 1, "numa.hot_threshold_ms": 1000}
    tasks = [Task("a", work, policy=None)]
    result = finish(Simulation(Scenario(machine=slow(2048, 2048), vm=vm, tasks=tasks)), budget=10_000)
    v = result.vmstat
    assert v["pgpromote_success"] > 0
    assert v["pgpromote_success"] == v["numa_pages_migrated"] <= v["numa_hint_faults"]
    assert v["pgmigrate_success"] == v["numa_pages_migrated"] + v["pgdemote_kswapd"] + v["pgdemote_direct"]
    task = result.tasks["a"]
    assert task.local + task.remote == task.accesses == 203_000
    assert task.local_ns == task.local * 90
    assert task.remote_ns == task.remote * 600
