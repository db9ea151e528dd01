"""Whatever tasks do, the engine's books balance, runs repeat, and nothing crashes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import MS, NO_SLAB, VM, Script, anon, file, load, machine, sleep, zone

from memcore.engine import Engine
from pymem import Machine, Scenario, SwapDevice, Task
from pymem.devices import Disk
from pymem.errors import SimulationError
from pymem.records import Op, pack
from pymem.simulation import Simulation, build
from pymem.topology import Node

pytestmark = pytest.mark.engine

# ---- random machines and random programs --------------------------------------------------------------------

SWAPS = st.lists(
    st.builds(
        SwapDevice, size=st.sampled_from(["64KiB", "300KiB", "4MiB"]), kind=st.sampled_from(["nvme", "hdd", "ramdisk"]),
        priority=st.sampled_from([None, 0, 5]),
    ),
    max_size=3,
)  # fmt: skip
MACHINES = st.builds(
    lambda pages, cpus, swap, disk: Machine(
        nodes=_nodes(pages, cpus), swap=swap, disk=disk, boot=NO_SLAB
    ),
    pages=st.lists(st.integers(300, 900), min_size=1, max_size=3),
    cpus=st.integers(1, 3),
    swap=SWAPS,
    disk=st.sampled_from([Disk("nvme"), Disk("hdd", bandwidth="20MB"), Disk("ramdisk")]),
)
VMS = st.fixed_dictionaries(
    {},
    optional={
        "swappiness": st.sampled_from([0, 1, 60, 100, 200]), "page-cluster": st.integers(0, 5),
        "min_free_kbytes": st.sampled_from([0, 64, 256]), "dirty_ratio": st.sampled_from([0, 1, 5, 20, 100]),
        "dirty_background_ratio": st.sampled_from([0, 1, 10]), "zone_reclaim_mode": st.integers(0, 7),
        "numa_balancing": st.integers(0, 3), "numa.scan_delay_ms": st.just(0), "numa.scan_period_min_ms": st.just(1),
        "read_ahead_kb": st.sampled_from([0, 4, 128, 1024]), "fault_around_bytes": st.sampled_from([4096, 65536]),
        "watermark_scale_factor": st.sampled_from([10, 1000]), "laptop_mode": st.integers(0, 1),
        "dirty_writeback_centisecs": st.sampled_from([0, 1, 500]), "dirty_expire_centisecs": st.sampled_from([0, 3000]),
        "percpu_pagelist_high_fraction": st.sampled_from([0, 8]), "swap.vma_ra_enabled": st.integers(0, 1),
    },
)  # fmt: skip
# Anonymous memory first, then a private mapping of the file the other tasks share, then that file itself.
SIZES = (500, 60, 300)
TOTAL = sum(SIZES)
ANYWHERE = (Op.LOAD, Op.STORE, Op.DONTNEED, Op.FREE, Op.COLD, Op.PAGEOUT, Op.WILLNEED, Op.SEQUENTIAL, Op.RANDOM,
            Op.NORMAL, Op.MLOCK, Op.MUNLOCK, Op.MUNMAP, Op.MMAP)  # fmt: skip
FILE_ONLY = (Op.READ, Op.WRITE, Op.FSYNC)


def _nodes(pages, cpus):
    start, out = 1, []
    for i, n in enumerate(pages):
        out.append(Node(zones=(zone(n, start),), cpus=cpus if i == 0 else i % 2))
        start += n
    return tuple(out)


def regions():
    return [anon(SIZES[0]), file(SIZES[1], shared=False), file(SIZES[2])]


@st.composite
def programs(draw):
    """Runs of accesses over a range, mixed with every other operation."""
    parts = []
    for _ in range(draw(st.integers(1, 25))):
        op = draw(st.sampled_from((*ANYWHERE, *FILE_ONLY, Op.SLEEP, Op.LOAD, Op.STORE, Op.STORE, Op.STORE)))
        if op == Op.SLEEP:
            parts.append(pack([draw(st.sampled_from([0, 1000, MS, 50 * MS]))], Op.SLEEP))
            continue
        low = SIZES[0] + SIZES[1] if op in FILE_ONLY else 0
        first = draw(st.integers(low, TOTAL - 1))
        count = draw(st.integers(1, TOTAL - first))
        if op == Op.MLOCK:
            count = min(count, 20)
        if op in (Op.LOAD, Op.STORE):
            step = draw(st.sampled_from([1, 1, 3, -1, 7]))
            pages = np.arange(first, first + count)[::step]
            parts.append(pack(pages, op, draw(st.sampled_from([1, 1, 1, 5]))))
        else:
            parts.append(pack([first], op, count))
    # after munmap a page is nobody's: the program maps everything again before each access
    out = []
    for part in parts:
        out += [pack([0], Op.MMAP, TOTAL), part]
    return np.concatenate(out)


@st.composite
def scenarios(draw):
    machine = draw(MACHINES)
    cpus = sum(n.cpus for n in machine.nodes)
    tasks = []
    for i in range(draw(st.integers(1, 3))):
        affinity = draw(st.one_of(st.none(), st.lists(st.integers(0, cpus - 1), min_size=1, max_size=2, unique=True)))
        start = draw(st.sampled_from([0, 0, 5 * MS]))
        stop = draw(st.sampled_from([None, None, start + 7 * MS]))
        tasks.append(
            Task(
                f"t{i}", Script(regions(), draw(programs())), nice=draw(st.sampled_from([-20, 0, 0, 19])), start=start,
                stop=stop, affinity=affinity, oom_score_adj=draw(st.sampled_from([-1000, 0, 0, 500])),
            )
        )  # fmt: skip
    return Scenario(
        machine=machine, vm={**VM, **draw(VMS)}, tasks=tasks, kernel=draw(st.sampled_from(["6.1", "6.12"])),
        sample_interval="5ms", time_limit="100s", seed=draw(st.integers(0, 3)),
    )  # fmt: skip


# ---- invariants ---------------------------------------------------------------------------------------------


def check_counters(scenario, engine):
    """What must hold between counters at any moment."""
    e, n = engine.events_count(), engine.node_stats()
    # 6.1 hands pages to a synchronous swap device without a request, so that the block layer counts none.
    silent = [scenario.kernel == "6.1" and s.disk.figures()["synchronous"] for s in scenario.machine.swap] + [False]
    counted = [d for d, quiet in zip(engine.devices(), silent, strict=True) if not quiet]
    read, written = (
        sum(d[what] for d, quiet in zip(engine.devices(), silent, strict=True) if quiet)
        for what in ("read_pages", "write_pages")
    )
    assert e["pgsteal_kswapd"] <= e["pgscan_kswapd"]
    assert e["pgsteal_direct"] <= e["pgscan_direct"]
    assert e["pgscan_kswapd"] + e["pgscan_direct"] == e["pgscan_anon"] + e["pgscan_file"]
    assert e["pgsteal_kswapd"] + e["pgsteal_direct"] == e["pgsteal_anon"] + e["pgsteal_file"]
    assert e["pgmajfault"] <= e["pgfault"]
    assert e["swap_ra_hit"] <= e["swap_ra"] <= e["pswpin"] + e["swpin_zero"]
    assert e["pgpgin"] == 4 * sum(d["read_pages"] for d in counted)
    # a reclaimer that was preempted may still hold back some of them under its plug
    assert e["pgpgout"] >= 4 * sum(d["write_pages"] for d in counted)
    assert e["pgpgout"] == 4 * (n["nr_written"] + n["nr_writeback"] - written)
    assert e["pgpgin"] >= 4 * (e["pswpin"] - read)
    for kind in ("anon", "file"):
        assert n[f"workingset_restore_{kind}"] <= n[f"workingset_activate_{kind}"] <= n[f"workingset_refault_{kind}"]
    assert all(value >= 0 for value in (*e.values(), *n.values()))
    allocated = sum(e[f"pgalloc_{z}"] for z in ("dma", "dma32", "normal", "movable"))
    used = sum(z["managed"] - z["free"] - sum(p["count"] for p in z["pcp"]) for z in engine.zones())
    # frames that compaction takes are not counted as allocated, and when it gives them back they are as freed
    assert 0 <= used - (allocated - e["pgfree"]) <= e["compact_isolated"]
    swap = engine.swap()
    assert 0 <= swap["free"] <= swap["total"]


def run(scenario, budget=1 << 20, verify=True):
    simulation = Simulation(scenario)
    for _ in range(100_000):
        if not simulation.step(budget):
            break
        if verify:
            simulation.engine.verify()
            check_counters(scenario, simulation.engine)
    simulation.engine.verify()
    check_counters(scenario, simulation.engine)
    return simulation


@settings(max_examples=120)
@given(scenario=scenarios())
def test_books_balance_after_every_step(scenario):
    simulation = run(scenario, budget=97)
    assert simulation.status in ("complete", "panic", "time limit")
    if simulation.status == "complete":
        n = simulation.engine.node_stats()
        for name in ("nr_anon_pages", "nr_mapped", "nr_page_table_pages", "nr_mlock", "nr_unevictable"):
            assert n[name] == 0, name


# ---- determinism --------------------------------------------------------------------------------------------


def outcome(scenario, budget=1 << 20, chunk=None):
    """Everything a run leaves, with the streams cut into chunks of `chunk` records."""
    simulation = Simulation(scenario)
    if chunk:
        for thread, task in simulation.tasks.items():
            whole = task.workload.given[0]
            simulation._streams[thread] = iter([whole[i : i + chunk] for i in range(0, len(whole), chunk)])
    while simulation.step(budget):
        pass
    result = simulation.result()
    tasks = {
        name: {**vars(task), "latency": {k: (h.counts.tolist(), h.total_ns) for k, h in task.latency.items()}}
        for name, task in result.tasks.items()
    }
    rows = np.stack(list(result.timeline.columns.values()), axis=1)
    kills = [(k.time_ns, k.task, k.scores) for k in result.oom_kills]
    return {
        "status": result.status, "time": result.time_ns, "vmstat": result.vmstat, "meminfo": result.meminfo,
        "zones": result.zones, "psi": result.psi, "tasks": tasks, "timeline": rows.tolist(),
        "events": result.events.tolist(), "kills": kills, "devices": result.devices, "swap": result.swap,
    }  # fmt: skip


@given(scenario=scenarios())
def test_the_same_scenario_gives_the_same_result(scenario):
    assert outcome(scenario) == outcome(scenario)


@given(scenario=scenarios(), budget=st.integers(1, 300), chunk=st.integers(1, 300))
def test_cutting_a_run_into_pieces_changes_nothing(scenario, budget, chunk):
    """Neither where the engine comes back to its caller, nor how the records arrive."""
    whole = outcome(scenario)
    assert outcome(scenario, budget=budget) == whole
    assert outcome(scenario, chunk=chunk) == whole


def test_what_happens_before_a_woken_task_has_the_cpu_finds_it_waiting():
    """Samples around the end of a read that wakes the only task: one within its context switch must not see the page
    mapped already, wherever the run is cut: here by the ends of the reads of three other pages. (How long the task
    waited tells when about the read ended.)"""
    script = Script([file(4)], load(3), sleep(10 * MS))

    def sampled(interval, **cut):
        task = Task("t", script, start=5 * MS)
        return outcome(Scenario(machine=machine(600), vm=VM, tasks=[task], sample_interval=interval), **cut)

    waited = sampled(20 * MS)["tasks"]["t"]["stalls"]["file_read"]
    for interval in range(5 * MS + waited - 4000, 5 * MS + waited + 8000, 250):
        assert sampled(interval, budget=1) == sampled(interval), interval


# ---- errors -------------------------------------------------------------------------------------------------


@given(records=st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=40), known=st.booleans())
def test_any_bits_are_records_or_an_error(records, known):
    """Straight to the engine, past every check of the floor above: an error it names, never a crash."""
    bits = np.array(records, np.uint64)
    if known:  # a page and a count in reach, any operation
        bits = (bits & np.uint64(0xFC000000000003FF)) | ((bits >> np.uint64(16)) & np.uint64(63)) << np.uint64(40)
        bits &= np.uint64((1 << 52) - 1)
    scenario = Scenario(
        machine=MACHINE_OF_600, vm=VM, tasks=[Task("t", Script(regions()))], time_limit="1s", sample_interval=0
    )
    engine, _ = build(scenario)
    engine.start()
    assert engine.run() == ("chunk", 1)
    engine.feed(1, bits, True)
    reason, _thread = engine.run()
    engine.verify()
    assert reason in ("done", "fault", "time", "oom")
    if reason == "fault":
        assert engine.run()[0] == "done"
        assert not engine.task(1)["alive"]


MACHINE_OF_600 = Machine(nodes=(Node(zones=(zone(600),), cpus=1),), swap=(SwapDevice("1MiB"),), boot=NO_SLAB)


@pytest.mark.parametrize("page", [TOTAL, TOTAL + 1, (1 << 31) - 1])
def test_short_records_outside_the_regions_are_refused(page):
    scenario = Scenario(machine=MACHINE_OF_600, vm=VM, tasks=[Task("t", Script(regions()))])
    engine, _ = build(scenario)
    engine.start()
    engine.run()
    with pytest.raises(ValueError, match=f"page {page} of a task that has {TOTAL}"):
        engine.feed(1, np.array([0, page], np.uint32), True)
    engine.verify()


def test_the_error_names_task_and_page():
    beyond = Script([anon(10)], pack([3, 11], Op.STORE))
    with pytest.raises(SimulationError, match="task 'wild': access to page 11"):
        run(Scenario(machine=MACHINE_OF_600, vm=VM, tasks=[Task("wild", beyond)]))


def test_writing_a_read_only_mapping_is_an_error():
    program = Script([file(4, writable=False)], pack([0], Op.LOAD), pack([0], Op.STORE))
    with pytest.raises(SimulationError, match="page 0"):
        run(Scenario(machine=MACHINE_OF_600, vm=VM, tasks=[Task("t", program)]))


def test_impossible_machines_are_refused():
    with pytest.raises(ValueError, match="0 nodes"):
        Engine(params={}, nodes=[], cpu_nodes=[0])
    with pytest.raises(ValueError, match="0 CPUs"):
        Engine(params={}, nodes=[{"zones": []}], cpu_nodes=[])
