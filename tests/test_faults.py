"""Page faults, one kind at a time, on a machine with room for all: which counters each moves, and by how much."""

import numpy as np
import pytest
from lab import MS, SECOND, VM, Lab, Script, anon, file, finish, load, machine, op, sleep, store

from memcore.engine import Engine
from pymem import Scenario, Task, tunables
from pymem.records import Op
from pymem.simulation import VM_WRITE, Simulation
from pymem.topology import ZONE_NAMES

pytestmark = pytest.mark.engine

ROOMY = machine(4096)
#: Nothing is read but what is asked for.
ALONE = {"read_ahead_kb": 0, "fault_around_bytes": 4096}


# ---- anonymous memory ---------------------------------------------------------------------------------------


def test_reads_of_untouched_memory_share_the_zero_page():
    lab = Lab(ROOMY, a=[anon(600)])
    moved = lab.do("a", load(range(10)))
    # no frame but two tables: one leaf of 512 entries and the directory above it
    assert moved.pick("pgfault", "pgmajfault", "nr_anon_pages", "nr_page_table_pages", "pgalloc_normal") == {
        "pgfault": 10, "pgmajfault": 0, "nr_anon_pages": 0, "nr_page_table_pages": 2, "pgalloc_normal": 2,
    }  # fmt: skip
    assert lab.do("a", load(range(10)))["pgfault"] == 0  # hits
    assert lab.do("a", load(512))["nr_page_table_pages"] == 1  # the next leaf, same directory
    assert lab.task("a")["rss_anon"] == 0


def test_a_store_gets_a_zeroed_frame():
    lab = Lab(ROOMY, a=[anon(600)])
    moved = lab.do("a", store(range(10)))
    assert moved.pick("pgfault", "pgmajfault", "nr_anon_pages", "nr_inactive_anon", "pgalloc_normal") == {
        "pgfault": 10, "pgmajfault": 0, "nr_anon_pages": 10, "nr_inactive_anon": 10, "pgalloc_normal": 12,
    }  # fmt: skip
    assert lab.do("a", store(range(10)), load(range(10)))["pgfault"] == 0
    assert (lab.task("a")["rss_anon"], lab.task("a")["min_flt"]) == (10, 10)


def test_a_store_to_the_zero_page_copies_it():
    lab = Lab(ROOMY, a=[anon(600)])
    lab.do("a", load(range(10)))
    moved = lab.do("a", store(range(4)))
    # a copy, not a reuse: nobody owns the zero page
    assert moved.pick("pgfault", "nr_anon_pages", "pgreuse") == {"pgfault": 4, "nr_anon_pages": 4, "pgreuse": 0}


def test_what_a_fault_costs():
    """Simulated time: the fault and one access to local memory (90 ns)."""
    lab = Lab(ROOMY, a=[anon(600)], costs={"anon_fault": 1000, "zero_page_fault": 500})
    lab.do("a", store(0))  # the tables
    before = lab.engine.now
    lab.do("a", store(1))
    assert lab.engine.now - before == 1000 + 90
    before = lab.engine.now
    lab.do("a", load(2))
    assert lab.engine.now - before == 500 + 90
    before = lab.engine.now
    lab.do("a", store(1))
    assert lab.engine.now - before == 90


def test_exit_gives_everything_back():
    lab = Lab(ROOMY, a=[anon(600), file(8)], vm=ALONE)
    free = lab.free()
    lab.do("a", store(range(20)), load(600))
    moved = lab.exit("a")
    # 20 pages and 3 tables: leaves for 0..511 and 512..1023, and the directory; the file page stays in the cache
    assert moved.pick("nr_anon_pages", "nr_page_table_pages", "pgfree", "nr_mapped", "nr_file_pages") == {
        "nr_anon_pages": -20, "nr_page_table_pages": -3, "pgfree": 23, "nr_mapped": -1, "nr_file_pages": 0,
    }  # fmt: skip
    # what is missing: the file page, and a slab of two pages for its tree node
    assert free - lab.free() == 1 + 2


# ---- files --------------------------------------------------------------------------------------------------


def test_the_first_access_to_a_file_page_is_major_the_second_task_minor():
    lab = Lab(ROOMY, a=[file(8)], b=[file(8)], vm=ALONE)
    first = lab.do("a", load(3))
    assert first.pick("pgfault", "pgmajfault", "pgpgin", "nr_file_pages", "nr_mapped", "nr_inactive_file") == {
        "pgfault": 1, "pgmajfault": 1, "pgpgin": 4, "nr_file_pages": 1, "nr_mapped": 1, "nr_inactive_file": 1,
    }  # fmt: skip
    second = lab.do("b", load(3))
    # NR_MAPPED counts pages, not mappings
    assert second.pick("pgfault", "pgmajfault", "pgpgin", "nr_mapped") == {
        "pgfault": 1, "pgmajfault": 0, "pgpgin": 0, "nr_mapped": 0,
    }  # fmt: skip
    assert (lab.task("a")["maj_flt"], lab.task("b")["maj_flt"], lab.task("b")["min_flt"]) == (1, 0, 1)
    assert lab.task("b")["rss_file"] == 1


def test_6_1_counts_a_fault_that_waited_twice():
    """The mmap lock is dropped for the read and the fault entered again."""
    lab = Lab(ROOMY, kernel="6.1", a=[file(8)], vm=ALONE)
    assert lab.do("a", load(3)).pick("pgfault", "pgmajfault") == {"pgfault": 2, "pgmajfault": 1}


def test_read_around():
    """A miss reads the 32 pages around it: half of the window before, half from the page on."""
    lab = Lab(ROOMY, a=[file(512)], vm={"fault_around_bytes": 4096})
    moved = lab.do("a", load(100))
    assert moved.pick("pgmajfault", "pgpgin", "nr_file_pages") == {
        "pgmajfault": 1, "pgpgin": 4 * 32, "nr_file_pages": 32,
    }  # fmt: skip
    # 84..115 are there
    assert lab.do("a", load(range(84, 108)))["pgmajfault"] == 0
    assert lab.do("a", load(83))["pgmajfault"] == 1


def test_read_around_stops_at_the_ends_of_the_file():
    lab = Lab(ROOMY, a=[file(40)])
    assert lab.do("a", load(2))["pgpgin"] == 4 * 32  # from 0 on
    assert lab.do("a", load(39))["pgpgin"] == 4 * 8  # 32..39: 23..31 are cached already


def test_fault_around_maps_what_is_cached():
    """One fault maps the aligned 16 pages around it, as far as they are cached and not marked for readahead."""
    lab = Lab(ROOMY, a=[file(64)], b=[file(64)])
    lab.do("a", load(20))  # reads 4..35, marks 28 (async size: a quarter of 32)
    moved = lab.do("b", load(20))
    assert moved.pick("pgfault", "pgmajfault") == {"pgfault": 1, "pgmajfault": 0}
    assert lab.task("b")["rss_file"] == 16 - 1  # 16..31 but for the mark
    assert lab.do("b", load([*range(16, 28), *range(29, 32)]))["pgfault"] == 0
    assert lab.do("b", load(15))["pgfault"] == 1


@pytest.mark.parametrize("shared", [True, False])
def test_stores_to_a_mapped_file(shared):
    lab = Lab(ROOMY, a=[file(8, shared=shared)], vm=ALONE)
    lab.do("a", load(0))
    moved = lab.do("a", store(0))
    if shared:
        # the read-only entry is made writable: the page becomes dirty
        assert moved.pick("pgfault", "pgreuse", "nr_dirty", "nr_anon_pages") == {
            "pgfault": 1, "pgreuse": 1, "nr_dirty": 1, "nr_anon_pages": 0,
        }  # fmt: skip
    else:
        # a private copy; the file page loses its only mapping
        assert moved.pick("pgfault", "pgreuse", "nr_dirty", "nr_anon_pages", "nr_mapped", "nr_file_pages") == {
            "pgfault": 1, "pgreuse": 0, "nr_dirty": 0, "nr_anon_pages": 1, "nr_mapped": -1, "nr_file_pages": 0,
        }  # fmt: skip


def test_a_private_store_first():
    """Reads the file page, copies it at once, maps only the copy."""
    lab = Lab(ROOMY, a=[file(8, shared=False)], vm=ALONE)
    moved = lab.do("a", store(5))
    assert moved.pick("pgfault", "pgmajfault", "nr_anon_pages", "nr_file_pages", "nr_mapped") == {
        "pgfault": 1, "pgmajfault": 1, "nr_anon_pages": 1, "nr_file_pages": 1, "nr_mapped": 0,
    }  # fmt: skip


def test_a_major_fault_waits_for_the_device():
    lab = Lab(machine(4096), a=[file(8)], vm=ALONE)  # NVMe: 80 us
    lab.do("a", load(0))
    assert lab.task("a")["stalls"]["file_read"] >= 80_000
    hist, sums, _hits = lab.engine.latency(lab.thread["a"])
    assert hist.sum(axis=1).tolist() == [0, 0, 1, 0, 0, 0]
    assert sums[2] >= 80_000


# ---- read() and write() -------------------------------------------------------------------------------------


def test_sequential_reads_open_the_window():
    """4 pages, then 4, 8, 16 and 32 ahead: the reader finds the mark and the next window is already coming.

    A read of one page at 0 is a new stream: window get_init_ra_size(1, 32) = 4, mark at 1. Page 1 is the mark
    (start + size - async_size): the next window, 4 * 2 = 8 pages from 4 on, marked at its first page, and so on.
    """
    lab = Lab(ROOMY, a=[file(512)])
    assert lab.do("a", op(Op.READ, 0))["pgpgin"] == 4 * 4
    assert lab.do("a", op(Op.READ, 1))["pgpgin"] == 4 * 8  # 4..11
    assert lab.do("a", op(Op.READ, 2, 2))["pgpgin"] == 0
    assert lab.do("a", op(Op.READ, 4))["pgpgin"] == 4 * 16  # the mark of the last window: 12..27
    assert lab.do("a", op(Op.READ, 5, 7))["pgpgin"] == 0
    assert lab.do("a", op(Op.READ, 12))["pgpgin"] == 4 * 32  # 28..59
    assert lab.do("a", op(Op.READ, 13, 15))["pgpgin"] == 0
    assert lab.counts()["pgmajfault"] == 0  # read() is no fault


def test_random_reads_read_what_is_asked_for():
    lab = Lab(ROOMY, a=[file(512)])
    assert lab.do("a", op(Op.READ, 300, 3))["pgpgin"] == 4 * 3
    assert lab.do("a", op(Op.READ, 100, 1))["pgpgin"] == 4 * 1


def test_reading_twice_activates():
    """folio_mark_accessed: referenced, then active."""
    lab = Lab(ROOMY, a=[file(64)], vm={"read_ahead_kb": 0})
    lab.do("a", op(Op.READ, 0), op(Op.READ, 7))
    moved = lab.do("a", op(Op.READ, 0))
    assert moved.pick("pgactivate", "nr_active_file", "nr_inactive_file") == {
        "pgactivate": 1, "nr_active_file": 1, "nr_inactive_file": -1,
    }  # fmt: skip


def test_write_needs_no_read():
    lab = Lab(ROOMY, a=[file(64)])
    moved = lab.do("a", op(Op.WRITE, 10, 5))
    assert moved.pick("pgpgin", "nr_dirty", "nr_dirtied", "nr_file_pages", "pgfault") == {
        "pgpgin": 0, "nr_dirty": 5, "nr_dirtied": 5, "nr_file_pages": 5, "pgfault": 0,
    }  # fmt: skip
    assert lab.do("a", op(Op.WRITE, 10, 5))["nr_dirtied"] == 0  # dirty already


def test_a_read_may_cross_what_madvise_split():
    lab = Lab(ROOMY, a=[file(64)])
    lab.do("a", op(Op.SEQUENTIAL, 0, 20))
    assert lab.do("a", op(Op.READ, 10, 20))["nr_file_pages"] >= 20
    assert lab.do("a", op(Op.WRITE, 18, 4))["nr_dirty"] == 4


# ---- fork ---------------------------------------------------------------------------------------------------


def forked():
    """A parent and the child it gets after a second; threads 1 and 2. Scenarios have no fork, so at the door."""
    params = tunables.engine_params(tunables.resolve(VM, "6.12"), "6.12", 2048)
    params |= {name: cost.default for name, cost in tunables.COSTS.items()} | ROOMY.slab()
    engine = Engine(
        params={**params, "thread_stack_pages": 5, "buffer_heads": 0, "ramfs_pages": 0, "ramfs_mapped": 0},
        cpu_nodes=[0], swaps=[{"slots": 512, "device": 0}],
        devices=[{"rotational": False, "read_ns": 80_000, "write_ns": 25_000, "queue_depth": 64,
                  "bandwidth": 2_000_000_000}],
        nodes=[{"cpus": 1, "distance": [10], "access_ns": [90],
                "zones": [{"idx": ZONE_NAMES.index("Normal"), "start_pfn": 1, "spanned": 2048, "managed": 2048,
                           "free": 2048}]}],
    )  # fmt: skip
    regions = [{"pages": 600, "flags": VM_WRITE, "file": 0, "pgoff": 0}]
    engine.add_task(regions=regions)
    engine.add_task(regions=regions, start=SECOND, fork_of=1)
    engine.start()
    return engine


def step(engine, thread, *records):
    """As `Lab.do` for the machine above: the other task sleeps."""
    fed = False
    while True:
        reason, who = engine.run()
        assert reason == "chunk"
        if who != thread:
            engine.feed(who, sleep(MS), False)
        elif fed:
            engine.verify()
            engine.feed(who, sleep(MS), False)
            return
        else:
            engine.feed(who, np.concatenate(records), False)
            fed = True


def test_fork_shares_until_somebody_writes():
    engine = forked()
    step(engine, 1, store(range(10)), load([20, 21]))
    before = engine.events_count()
    step(engine, 2, load(range(10)))
    # mapped by dup_mm: no fault, no frame but the child's two tables
    after = engine.events_count()
    assert after["pgfault"] == before["pgfault"]
    assert after["pgalloc_normal"] - before["pgalloc_normal"] == 2
    assert (engine.task(1)["rss_anon"], engine.task(2)["rss_anon"]) == (10, 10)
    assert engine.node_stats()["nr_anon_pages"] == 10
    # the child's store copies, the parent's next one finds itself alone and reuses the page
    step(engine, 2, store(3))
    assert engine.node_stats()["nr_anon_pages"] == 11
    assert engine.events_count()["pgreuse"] == 0
    step(engine, 1, store(3))
    assert engine.node_stats()["nr_anon_pages"] == 11
    assert engine.events_count()["pgreuse"] == 1
    assert engine.events_count()["pgfault"] == before["pgfault"] + 2


def test_fork_shares_swap_too():
    engine = forked()
    step(engine, 1, store(range(8)), op(Op.PAGEOUT, 0, 8))
    step(engine, 2, load(100))
    assert (engine.task(1)["swapents"], engine.task(2)["swapents"]) == (8, 8)
    step(engine, 2, load(range(8)))
    assert (engine.task(1)["swapents"], engine.task(2)["swapents"]) == (8, 0)
    # the parent still refers to the slots
    assert engine.swap()["areas"][0]["used"] >= 8


def test_a_page_that_was_read_is_still_there_when_it_is_mapped():
    """Entering the page cache takes 2 ms here: meanwhile the read ends, and two others reclaim what they can."""
    rng = np.random.default_rng(1)
    tasks = [
        Task(f"t{i}", Script([file(300, name=f"f{i}", advice="random")], store(rng.integers(0, 300, 600))))
        for i in range(3)
    ]
    scenario = Scenario(machine=machine(300, cpus=3), vm=VM, tasks=tasks, costs={"page_cache_add": "2ms"})
    result = finish(Simulation(scenario), budget=50)  # frames that are mapped and free would be found
    assert result.status == "complete"
    assert result.vmstat["pgsteal_file"] > 0
