"""The engine against the slow models of tests/reference: every counter, free list and LRU list must agree.

The models are written from the rules of the kernel, so what both agree on is not a shared slip of the pen.
"""

import reprlib

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from reference.machine import Machine as Model

import pymem
from pymem import workloads
from pymem.devices import Disk, SwapDevice
from pymem.simulation import Simulation
from pymem.topology import Boot, Node, Zone

pytestmark = pytest.mark.engine

# A shrunk example of a run that needs pressure is hardly smaller than the first one found, but takes minutes.
RUN = {"phases": (Phase.explicit, Phase.generate)}
STORE = 1 << 31
START = 1000  # first frame: neither the zone nor its free part begins on a block boundary
COSTS = ("anon_fault cow_fault zero_page_fault file_minor_fault major_fault reclaim_scan reclaim_free reclaim_cache "
         "reclaim_unmap tlb_flush reclaim_pass page_cache_add context_switch wakeup sched_slice "
         "reclaim_skip migrate").split()  # fmt: skip
# Limits that the scheduler's writeback keeps, and a counter that nothing in the engine feeds.
UNMODELLED = {"nr_dirty_threshold", "nr_dirty_background_threshold", "workingset_nodes"}
ALWAYS_EQUAL = {"numa_hit", "numa_local"}  # one node: every request

SLOW = {"read": 100_000, "write": 40_000, "queue_depth": 8, "bandwidth": 400_000_000}
FAST = {"read": 0, "write": 0, "queue_depth": 1, "bandwidth": 1 << 42}


def records_of(*parts):
    """Access records of (first page, number of pages, step, write)."""
    return [(first + i * step, write) for first, count, step, write in parts for i in range(count)]


def machine_setting(managed, used, *, slots=2, files=0, **more):
    setting = {
        "start": START, "managed": managed, "free": managed - used, "slots": slots, "files": files,
        "min_free_kbytes": -1, "scale": 10, "high_fraction": 0, "swappiness": 60, "hz": 250, "access_ns": 1,
        "proactiveness": 20, "writeback_ns": 5_000_000_000, "disk": FAST, "costs": {},
    }  # fmt: skip
    setting.update(more)
    setting["costs"] = dict.fromkeys(COSTS, 0) | {"sched_slice": 3_000_000} | setting["costs"]
    order = ("read", "write", "queue_depth", "bandwidth")
    setting["devices"] = [tuple(setting["disk"][name] for name in order)] * 2
    return setting


def simulation_of(setting, regions, records):
    end = START + setting["managed"]
    zone = Zone("Normal", START, end - START, end - START, setting["managed"], setting["free"])
    disk = Disk("nvme", rotational=False, **setting["disk"])
    machine = pymem.Machine(
        nodes=(Node(cpus=1, zones=(zone,), access=setting["access_ns"]),),
        swap=(SwapDevice(setting["slots"] * 4096, "nvme", rotational=False, **setting["disk"]),),
        disk=disk, boot=Boot(kernel=0, slab_reclaimable=0, slab_freeable=0, slab_unreclaimable=0),
    )  # fmt: skip
    spaces = [
        pymem.File(pages=pages, name=f"file{number}", shared=False, writable=False)
        if number
        else pymem.Anon(pages=pages)
        for pages, number in regions
    ]
    trace = np.array([page | (STORE if write else 0) for page, write in records], dtype=np.uint32)
    vm = {
        "page-cluster": 0, "read_ahead_kb": 0, "fault_around_bytes": 4096, "swappiness": setting["swappiness"],
        "watermark_scale_factor": setting["scale"], "transparent_hugepage": 0, "hz": setting["hz"],
        "percpu_pagelist_high_fraction": setting["high_fraction"],
        "compaction_proactiveness": setting["proactiveness"],
    }  # fmt: skip
    if setting["min_free_kbytes"] >= 0:
        vm["min_free_kbytes"] = setting["min_free_kbytes"]
    task = pymem.Task("task", workloads.Trace(trace, regions=spaces))
    return Simulation(
        pymem.Scenario(machine=machine, vm=vm, tasks=[task], costs=setting["costs"], sample_interval=0, kernel="6.12")
    )


def run_both(setting, regions, records):
    """Up to the end of the records, or to the first lack of memory."""
    model = Model(setting, regions, records)
    simulation = simulation_of(setting, regions, records)
    engine = simulation.engine
    assert (engine.run(1 << 40)[0], model.run()) == ("chunk", "chunk")
    simulation._feed(1)
    reasons = engine.run(1 << 40)[0], model.run()
    engine.verify()
    return differences(simulation, model, reasons), model


def differences(simulation, model, reasons):
    """What the engine and the model do not agree about: both values by name."""
    engine, zone, node = simulation.engine, simulation.engine.zones()[0], simulation.engine.nodes()[0]
    found, expected = simulation.vmstat(), model.vmstat()
    # a slab of several pages is one request
    requests = expected["pgalloc_normal"] - sum((1 << order) - 1 for order in model.slab_requests)
    expected.update(dict.fromkeys(ALWAYS_EQUAL, requests))
    assert expected.keys() <= found.keys()
    both = {name: (value, expected[name]) for name, value in found.items() if name not in UNMODELLED}
    both |= {name: (zone[name], getattr(model.zone, name)) for name in ("min", "low", "high")}
    pcp = {"count": len(model.zone.pcp), "high": model.zone.pcp_high, "batch": model.zone.batch}
    both |= {
        "reason": reasons, "now": (engine.now, model.now), "pcp": (zone["pcp"][0], pcp),
        "free_area": (zone["free_area"], model.zone.buddy.free_area()),
        "anon_cost": (node["anon_cost"], model.cost["anon"]), "file_cost": (node["file_cost"], model.cost["file"]),
        "nonresident_age": (node["nonresident_age"], model.age),
        "kswapd_failures": (node["kswapd_failures"], model.failures),
        "free slots": (engine.swap()["free"], model.swap.nr_free),
    }  # fmt: skip
    both |= {f"lru {lru}": (engine.lru_order(0, lru), model.lru_order(lru)) for lru in range(4)}
    return {name: pair for name, pair in both.items() if pair[0] != pair[1]}


def compare(setting, regions, records):
    """The model after a run of both. If they part, tells after how many records, and what differs then."""
    __tracebackhide__ = True
    differing, model = run_both(setting, regions, records)
    if differing:
        equal, apart = 0, len(records)
        while apart - equal > 1:
            middle = (equal + apart) // 2
            some, _ = run_both(setting, regions, records[:middle])
            if some:
                apart, differing = middle, some
            else:
                equal = middle
        lines = [f"{name}: engine {reprlib.repr(e)}, model {reprlib.repr(m)}" for name, (e, m) in differing.items()]
        raise AssertionError("\n".join([f"they part at record {apart} of {len(records)}:", *lines]))
    return model


# ---- memory enough


@given(
    managed=st.integers(1500, 9000),
    used=st.integers(0, 500),
    parts=st.lists(
        st.tuples(st.integers(0, 3000), st.integers(1, 200), st.integers(0, 5), st.booleans()), min_size=1, max_size=6
    ),
    high_fraction=st.sampled_from([0, 8, 30]),
    scale=st.sampled_from([10, 200]),
)
@settings(max_examples=30, **RUN)
def test_memory_enough(managed, used, parts, high_fraction, scale):
    """Anonymous memory that fits: faults, the zero page, page tables, per-CPU list, buddy."""
    setting = machine_setting(managed, used, high_fraction=high_fraction, scale=scale)
    model = compare(setting, [(4000, 0)], records_of(*parts))
    assert model.events["pgfault"] > 0
    assert model.events["pgscan_direct"] == 0


# ---- memory short

costs = st.fixed_dictionaries({}, optional={
    "anon_fault": st.integers(0, 2000), "major_fault": st.integers(0, 5000), "file_minor_fault": st.integers(0, 2000),
    "reclaim_scan": st.integers(0, 1000), "reclaim_free": st.integers(0, 1000),
    "reclaim_cache": st.integers(0, 1000),
    "reclaim_unmap": st.integers(0, 2000), "tlb_flush": st.integers(0, 2000),
    "reclaim_pass": st.integers(0, 10_000), "page_cache_add": st.integers(0, 2000),
    "context_switch": st.integers(0, 5000), "wakeup": st.integers(0, 5000),
    "sched_slice": st.integers(10_000, 3_000_000), "reclaim_skip": st.integers(0, 100), "migrate": st.integers(0, 5000),
})  # fmt: skip
pressed = st.fixed_dictionaries({
    "managed": st.integers(1100, 1800), "used": st.integers(300, 800),
    "slots": st.sampled_from([40, 300, 700, 3000, 9000]), "swappiness": st.sampled_from([0, 1, 60, 100, 200]),
    "scale": st.sampled_from([10, 100, 500]), "min_free_kbytes": st.sampled_from([-1, 0, 40, 400]),
    "high_fraction": st.sampled_from([0, 8, 20]), "disk": st.sampled_from([SLOW, FAST]), "costs": costs,
    "hz": st.sampled_from([100, 250, 1000]), "access_ns": st.sampled_from([1, 90, 800_000]),
    "proactiveness": st.sampled_from([0, 20, 60, 100]),
})  # fmt: skip
# Stretches of a region: where they begin and how long they are, in percent of what is free at first.
stretches = st.lists(
    st.tuples(st.integers(0, 120), st.integers(1, 70), st.sampled_from([0, 1, 1, 1, 3]), st.booleans()),
    min_size=2, max_size=8,
)  # fmt: skip


def scaled(setting, parts, base=0):
    free = setting["managed"] - setting["used"]
    return [(base + first * free // 100, 1 + count * free // 100, step, write) for first, count, step, write in parts]


@given(pressed, st.integers(60, 120), stretches)
@settings(max_examples=60, **RUN)
def test_memory_short(setting, fill, parts):
    """Anonymous memory and swap: kswapd, direct reclaim, refaults, clean pages in swap cache, no swap left."""
    parts = scaled(setting, [(0, fill, 1, True), *parts])
    compare(machine_setting(**setting), [(9000, 0)], records_of(*parts))


@pytest.mark.parametrize("disk", [SLOW, FAST])
def test_swap_with_scattered_holes(disk):
    """Every other page of those swapped out comes back to be written: each of the next writes is a request of its own
    then, until the plug is full."""
    setting = machine_setting(1500, 300, slots=1100, disk=disk, costs={"reclaim_scan": 500})
    records = records_of((0, 1800, 1, True), (0, 600, 2, True), (1, 600, 2, True))
    assert compare(setting, [(9000, 0)], records).events["pswpin"] > 500


@given(pressed, st.integers(0, 90), st.lists(st.tuples(st.integers(0, 2), stretches), min_size=1, max_size=4))
@settings(max_examples=60, **RUN)
def test_anonymous_memory_and_files(setting, fill, parts):
    """Two files and anonymous memory compete: page cache, shadows, the balance between the two kinds."""
    size = 9000
    records = records_of(*scaled(setting, [(0, fill, 1, True)]))
    for region, some in parts:
        some = [(first, count, step, write and region == 0) for first, count, step, write in some]
        records += records_of(*scaled(setting, some, base=region * size))
    compare(machine_setting(**setting, files=2), [(size, 0), (size, 1), (size, 2)], records)


# ---- memory in pieces


@given(pressed, st.integers(3000, 6000), st.integers(40, 99), stretches)
@settings(max_examples=40, **RUN)
def test_fragmented_memory(setting, managed, fill, parts):
    """Accesses are slow, so kcompactd looks every few hundred of them, and a zone of some page blocks is short."""
    setting |= {"managed": managed, "used": managed // 3, "access_ns": 800_000, "scale": 500}
    parts = scaled(setting, [(0, fill, 1, True), *parts])
    compare(machine_setting(**setting), [(16_000, 0)], records_of(*parts))


@given(st.integers(2_500, 6_000), st.integers(0, 900), st.integers(1, 90), st.sampled_from([20, 100]), costs)
@settings(max_examples=30, **RUN)
def test_memory_in_large_pieces(managed, used, fill, proactiveness, some_costs):
    """Free memory is in a few large blocks, which are left alone, and a few smaller ones at both ends."""
    setting = machine_setting(
        managed, used, slots=100, access_ns=800_000, proactiveness=proactiveness, costs=some_costs
    )
    compare(setting, [(9000, 0)], records_of((0, (managed - used) * fill // 100, 1, True), (0, 900, 0, True)))


def test_pages_move_together_and_back_to_the_head():
    """Every other page of what fills memory is swapped out, so that free memory lies in pieces: pages move to the end
    of the zone as long as there is a frame above MIN, and attempts that change nothing become rare."""
    setting = machine_setting(4000, 500, slots=4000, scale=800, access_ns=800_000, costs={"migrate": 3000})
    records = records_of((0, 3600, 1, True), (0, 1800, 2, False), (0, 1800, 2, False), (0, 600, 1, False))
    events = compare(setting, [(9000, 0)], records).events
    assert events["pgmigrate_success"] > 100
    assert events["compact_migrate_scanned"] == events["compact_daemon_migrate_scanned"] > 1000
    setting["proactiveness"] = 0
    assert compare(setting, [(9000, 0)], records).events["pgmigrate_success"] == 0
