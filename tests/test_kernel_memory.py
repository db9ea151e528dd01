"""Pages of the kernel's own that programs notice: metadata that cannot be reclaimed, blocks that are not for them."""

import pytest
from lab import NO_SLAB, SECOND, Lab, anon, file, machine, op, sleep, store

from memcore.engine import EVENT_KINDS
from pymem import Disk, Machine, SwapDevice
from pymem.records import Op
from pymem.topology import Boot, Node, Zone

pytestmark = pytest.mark.engine


def two_nodes(*, metadata):
    """1024 pages with the CPU, of which the file system has some, and 4096 next to them."""
    home = Zone("Normal", 1, 1024, 1024, 1024, 1024 - metadata, metadata=metadata)
    away = Zone("Normal", 1025, 4096, 4096, 4096, 4096)
    return Machine(nodes=[Node(zones=(home,), cpus=1), Node(zones=(away,), cpus=0)], boot=NO_SLAB)


def rounds_by_hand(held, rounds):
    """How many of the held pages rounds of node reclaim deactivate, and activate again.

    A store is a fault, a round, and a page from elsewhere: 1 and 4 updates of statistics. A round goes from priority 4
    to 0. At each, active pages are deactivated (4 updates each) if the inactive ones were fewer, inactive ones are
    scanned, in vain, and become active (3 and 1), both as many as the lists have now, shifted by the priority. Which
    were fewer says the last summing up, due after 65 updates for the one CPU and 65 more.
    """
    active, inactive, updates, moved = held, 0, 0, 0
    summed, fewer = -130, True
    for _ in range(rounds):
        updates += 1
        for priority in range(4, -1, -1):
            if updates - summed >= 130:
                summed, fewer = updates, inactive < active
            down, up = active >> priority if fewer else 0, inactive >> priority
            active, inactive = active - down + up, inactive + down - up
            updates += 4 * (down + up)
            moved += down
        updates += 4
    return moved


@pytest.mark.parametrize("held", [4, 2, 1])
def test_held_metadata_is_deactivated_and_activated_round_by_round(held):
    lab = Lab(two_nodes(metadata=held), kernel="6.1", a=[anon(3000)],
              vm={"zone_reclaim_mode": 1, "min_unmapped_ratio": 0})  # fmt: skip
    assert lab.counts()["nr_active_file"] == held
    moved = lab.do("a", store(range(2000)))
    rounds = moved["zone_reclaim_failed"]
    assert rounds > 900
    for name in ("pgactivate", "pgdeactivate", "pgscan_file"):
        assert moved[name] == pytest.approx(rounds_by_hand(held, rounds), abs=1)
    assert moved["pgsteal_file"] == 0
    end = lab.counts()
    assert end["nr_active_file"] + end["nr_inactive_file"] == end["nr_file_pages"] == held


def test_held_metadata_survives_what_evicts_everything_else():
    lab = Lab(two_nodes(metadata=8), kernel="6.1", a=[file(9000)])
    for first in range(0, 9000, 100):
        lab.do("a", op(Op.READ, first, 100))
    end = lab.counts()
    assert end["pgsteal_kswapd"] > 3000
    # what was read once was never active
    assert end["nr_active_file"] == 8


@pytest.mark.parametrize("mapped", [0, 200])
def test_mapped_files_of_others_keep_page_cache_from_node_reclaim(mapped):
    """Of 400 pages of page cache node reclaim takes what exceeds 10 % of the node, 102 pages, and what is mapped."""
    home = Zone("Normal", 1, 1024, 1024, 1024, 824)
    away = Zone("Normal", 1025, 4096, 4096, 4096, 4096)
    boot = Boot(kernel=0, slab_reclaimable=0, slab_freeable=0, slab_unreclaimable=0, ramfs=200 * 4096,
                ramfs_mapped=mapped * 4096)  # fmt: skip
    lab = Lab(
        Machine(nodes=[Node(zones=(home,), cpus=1), Node(zones=(away,), cpus=0)], boot=boot),
        a=[anon(3000), file(400)], vm={"zone_reclaim_mode": 1, "min_unmapped_ratio": 10},
    )  # fmt: skip
    lab.do("a", op(Op.READ, 3000, 400))
    assert lab.engine.node_stats(0)["nr_file_pages"] == 600
    assert lab.engine.node_stats(0)["nr_mapped"] == mapped
    lab.do("a", store(range(2000)))
    end = lab.engine.node_stats(0)
    left = end["nr_inactive_file"] + end["nr_active_file"]
    # a round takes 32 pages or more
    assert 102 + mapped - 64 < left <= 102 + mapped


def test_each_type_of_the_kernels_raises_the_watermarks_once():
    """Of 8191 free pages 511 are unmovable and 511 reclaimable, in a page block each. Programs use up the movable ones,
    then take the reclaimable page block, then the unmovable one: HIGH is 96, so nothing else wakes kswapd."""
    zone = Zone("Normal", 1, 16383, 16383, 16383, 8191, unmovable=511, reclaimable=511)
    lab = Lab(
        Machine(nodes=[Node(zones=(zone,))], boot=NO_SLAB), kernel="6.1", a=[anon(9000), file(3000, advice="random")],
    )  # fmt: skip
    lab.do("a", *[op(Op.READ, page) for page in range(9000, 12000)])
    woken, seen = 0, []
    for page in range(0, 4900, 50):
        before = lab.engine.zones()[0]["pagetypeinfo"]
        lab.do("a", store(range(page, page + 50)), sleep(SECOND))
        log, _ = lab.engine.event_log()
        now = int((log["kind"] == EVENT_KINDS.index("kswapd_wake")).sum())
        if now > woken:
            free = [sum(n << order for order, n in enumerate(blocks)) for blocks in before]
            seen.append((now - woken, free[0] > 450, free[1] < 50, free[2] > 450))
        woken = now
    assert seen == [(1, True, True, True), (1, True, True, False)]
    assert lab.engine.zones()[0]["free"] > 96
    assert lab.engine.zones()[0]["boost"] == 0


def test_slab_is_a_hit_of_its_node_too():
    """numa_hit counts requests of any order: 100 pages, and one slab of two for the tree nodes of the file."""
    lab = Lab(machine(2048), a=[file(200)])
    moved = lab.do("a", op(Op.READ, 0, 100))
    read_ahead = moved["nr_file_pages"]
    assert moved["pgalloc_normal"] == read_ahead + 2
    assert lab.engine.zones()[0]["stat"]["numa_hit"] == read_ahead + 1


@pytest.mark.parametrize(("cpus", "pages"), [(1, 2), (3, 2), (4, 4), (63, 4), (64, 8)])
def test_slabs_grow_with_the_cpus(cpus, pages):
    """Room for 8 objects, and 4 more each time the CPUs double; nodes have 576 bytes. (64 CPUs: 32 of them, 18,432.)"""
    lab = Lab(machine(4096, cpus=cpus), a=[file(10)])
    assert lab.do("a", op(Op.READ, 0, 1))["nr_slab_reclaimable"] == pages


def test_writes_to_swap_hold_slab():
    """Each page on its way has a bio of 256 bytes, 16 in a page of slab, of which nine stay. (Reclaim, which writes
    several pages at once, needs lists of pages besides: tests/test_reference.py.)"""
    lab = Lab(machine(2048, swap=[SwapDevice("64MiB", kind="hdd")]), a=[anon(1500)])
    lab.do("a", store(range(1500)))
    assert lab.counts()["nr_slab_unreclaimable"] == 0
    for first, pages, slabs in ((0, 16, 1), (16, 1, 1), (17, 15, 0), (32, 1, 1)):
        moved = lab.do("a", op(Op.PAGEOUT, first, pages))
        assert (moved["pswpout"], moved["nr_slab_unreclaimable"]) == (pages, slabs)
    lab.do("a", op(Op.PAGEOUT, 33, 190))
    assert lab.counts()["nr_slab_unreclaimable"] == 14
    lab.do("a", sleep(5 * SECOND))
    assert lab.counts()["nr_slab_unreclaimable"] == 9


def test_writes_in_flight_hold_slab():
    """Each bio takes 200 bytes, 16 in a page, and a list of pages of 4096 bytes, 8 in a slab of 8 pages."""
    lab = Lab(machine(4096, cpus=2, disk=Disk("hdd")), a=[file(2000, advice="random")])
    # one run of pages: one bio, one slab of each kind, which stay
    lab.do("a", op(Op.WRITE, 0, 200))
    moved = lab.do("a", op(Op.FSYNC, 0))
    assert moved["nr_written"] == 200
    assert moved["nr_slab_unreclaimable"] == 1 + 8
    # 300 bios: of the slabs they need 9 of each kind stay
    lab.do("a", *[op(Op.WRITE, page) for page in range(300, 900, 2)])
    moved = lab.do("a", op(Op.FSYNC, 300))
    assert moved["nr_written"] == 300
    assert lab.counts()["nr_slab_unreclaimable"] == 9 * (1 + 8)
    # more than 72 were in flight at a time, in more slabs than stayed
    assert moved["pgfree"] >= 8


def test_pressure_is_full_only_while_reclaim_has_the_cpu():
    """One CPU for a task that computes and kswapd, which is slow: each gets half of it, so half of the time of kswapd's
    work nothing else runs."""
    lab = Lab(machine(1024, swap=[SwapDevice("64MiB", kind="nvme")]), a=[anon(6000)], costs={"reclaim_scan": 1_000_000})
    lab.do("a", store(range(945)))  # woken at low
    for _ in range(300):
        lab.do("a", *[store(range(900, 940))] * 100)
    psi = lab.engine.psi()
    some, full = psi["memory_some"]["total"], psi["memory_full"]["total"]
    assert some > 50_000_000
    assert 0.4 < full / some < 0.7
