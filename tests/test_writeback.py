"""Dirty pages: who writes them, when, and how writers are held up."""

import pytest
from lab import MS, SECOND, Lab, file, load, machine, op, sleep, store

import pymem
from memcore.engine import EVENT_KINDS
from pymem.devices import Disk
from pymem.records import Op

pytestmark = pytest.mark.engine

#: 200 pages before writers are held up, 100 before the flusher starts; the periodic flusher is out of the way.
LIMITS = {"dirty_bytes": 200 * 4096, "dirty_background_bytes": 100 * 4096, "dirty_writeback_centisecs": 100_000}
BANDWIDTH = 8 << 20  # of the slow disk: 2048 pages/s
SLOW = Disk("hdd", bandwidth=BANDWIDTH, write="1ms")


def events(lab, kind):
    log, _ = lab.engine.event_log()
    return log[log["kind"] == EVENT_KINDS.index(kind)]


def test_fsync_writes_and_waits():
    lab = Lab(machine(2048), a=[file(100)], vm=LIMITS)  # NVMe: 25 us per write
    lab.do("a", op(Op.WRITE, 0, 30))
    before = lab.engine.now
    moved = lab.do("a", op(Op.FSYNC))
    assert moved.pick("nr_dirty", "nr_writeback", "nr_written", "pgpgout") == {
        "nr_dirty": -30, "nr_writeback": 0, "nr_written": 30, "pgpgout": 4 * 30,
    }  # fmt: skip
    assert lab.engine.now - before >= 25_000
    assert lab.task("a")["stalls"]["fsync"] > 0
    assert lab.do("a", op(Op.FSYNC))["pgpgout"] == 0  # nothing left


def test_pages_written_twice_are_written_back_once():
    lab = Lab(machine(2048), a=[file(100)], vm=LIMITS)
    lab.do("a", *[op(Op.WRITE, 0, 10)] * 5)
    assert lab.do("a", op(Op.FSYNC)).pick("nr_written", "nr_dirtied") == {"nr_written": 10, "nr_dirtied": 0}


def test_mapped_pages_become_dirty_again_after_writeback():
    """page_mkclean: writeback takes the write permission away, so the next store is seen."""
    lab = Lab(machine(2048), a=[file(8)], vm=LIMITS)
    lab.do("a", store(range(8)), op(Op.FSYNC))
    moved = lab.do("a", store(range(8)))
    assert moved.pick("pgfault", "nr_dirty", "nr_dirtied", "pgreuse") == {
        "pgfault": 8, "nr_dirty": 8, "nr_dirtied": 8, "pgreuse": 8,
    }  # fmt: skip


def test_old_pages_are_written_by_the_periodic_flusher():
    vm = {"dirty_expire_centisecs": 100, "dirty_writeback_centisecs": 10}
    lab = Lab(machine(2048), a=[file(100)], vm=vm)
    lab.do("a", op(Op.WRITE, 0, 10), sleep(900 * MS))
    assert lab.counts()["nr_dirty"] == 10
    # one second after they became dirty, at the next of the flusher's rounds (0.1 s)
    moved = lab.do("a", sleep(300 * MS))
    assert moved.pick("nr_dirty", "nr_written", "pgpgout") == {"nr_dirty": -10, "nr_written": 10, "pgpgout": 40}
    assert events(lab, "writeback")["value"].tolist() == [10]


def test_no_periodic_flusher_without_a_period():
    vm = {"dirty_expire_centisecs": 100, "dirty_writeback_centisecs": 0}
    lab = Lab(machine(2048), a=[file(100)], vm=vm)
    lab.do("a", op(Op.WRITE, 0, 10), sleep(100 * SECOND))
    assert lab.counts()["nr_dirty"] == 10


def test_below_the_background_threshold_nothing_is_written():
    lab = Lab(machine(2048), a=[file(1000)], vm=LIMITS)
    lab.do("a", op(Op.WRITE, 0, 100), sleep(SECOND))
    assert lab.counts().items() >= {"nr_dirty": 100, "nr_written": 0}.items()
    assert lab.task("a")["stalls"]["dirty"] == 0


def test_above_the_background_threshold_the_flusher_writes():
    """The writer looks after its first 32 pages, then as often as there is room: it has surely seen 160."""
    lab = Lab(machine(2048), a=[file(1000)], vm=LIMITS)
    lab.do("a", op(Op.WRITE, 0, 160), sleep(SECOND))
    counts = lab.counts()
    assert counts["nr_dirty"] <= 100
    assert counts["nr_written"] == 160 - counts["nr_dirty"]
    assert counts["nr_writeback"] == 0


def test_thresholds_follow_their_settings():
    lab = Lab(machine(2048), a=[file(1000)], vm=LIMITS)
    lab.do("a", op(Op.WRITE, 0, 160))
    assert lab.engine.thresholds() == {"dirty": 200, "background": 100, "limit": 200}


def test_a_background_threshold_above_the_limit_is_halved():
    vm = {"dirty_bytes": 200 * 4096, "dirty_background_bytes": 300 * 4096}
    lab = Lab(machine(2048), a=[file(1000)], vm=vm)
    lab.do("a", op(Op.WRITE, 0, 160))
    assert lab.engine.thresholds()["background"] == 100


def test_writers_are_slowed_down_to_the_speed_of_the_disk():
    lab = Lab(machine(8192, disk=SLOW), a=[file(4000)], vm=LIMITS)
    before = lab.engine.now
    worst = 0
    for first in range(0, 3000, 100):
        lab.do("a", op(Op.WRITE, first, 100))
        counts = lab.counts()
        worst = max(worst, counts["nr_dirty"] + counts["nr_writeback"])
    took = lab.engine.now - before
    # what the disk must have written meanwhile, at 2048 pages/s
    assert took >= (3000 - worst) * 4096 * SECOND // BANDWIDTH
    assert lab.task("a")["stalls"]["dirty"] > took // 2
    assert len(events(lab, "dirty_throttle")) > 0
    # the hard limit, and what a writer may dirty between two looks: 20 ms at the first estimate of the disk, 100 MB/s
    assert worst <= 200 + 100_000_000 // 4096 // 50


def test_a_fast_writer_is_not_slowed_below_the_middle():
    """Free run: up to (100 + 200) / 2 pages in flight nobody sleeps."""
    lab = Lab(machine(8192, disk=SLOW), a=[file(4000)], vm=LIMITS)
    lab.do("a", op(Op.WRITE, 0, 150))
    assert lab.task("a")["stalls"]["dirty"] == 0


def test_dirty_pages_are_not_lost_by_reclaim():
    """A file larger than memory, written once: every page reaches the disk, none is written twice."""
    lab = Lab(machine(1024), a=[file(3000)])
    lab.do("a", *[op(Op.WRITE, first, 100) for first in range(0, 3000, 100)], op(Op.FSYNC))
    counts = lab.counts()
    assert counts.items() >= {"nr_dirty": 0, "nr_writeback": 0, "nr_dirtied": 3000, "nr_written": 3000}.items()
    assert counts["pgpgout"] == 4 * 3000
    assert counts["pgpgin"] == 0
    assert counts["pgsteal_file"] >= 3000 - 1024


def test_unmapping_keeps_what_stores_dirtied():
    lab = Lab(machine(2048), a=[file(8)], b=[file(8)], vm=LIMITS)
    lab.do("a", store(range(8)))
    assert lab.exit("a").pick("nr_dirty", "nr_mapped") == {"nr_dirty": 0, "nr_mapped": -8}
    assert lab.do("b", op(Op.FSYNC))["nr_written"] == 8
    assert lab.do("b", load(range(8)))["pgpgin"] == 0


@pytest.mark.parametrize("memory", ["24MiB", "48MiB"])
def test_a_fresh_page_is_not_evicted_under_its_writer(memory):
    """Between entering the cache and becoming dirty nobody else may run: reclaim would take the clean page."""
    leaks = [pymem.Task(name, pymem.workloads.Leak("24MiB")) for name in ("one", "two")]
    scenario = pymem.Scenario(
        machine=pymem.Machine(memory=memory, cpus=4, swap=[pymem.SwapDevice("128MiB", kind="sata")]),
        vm={"transparent_hugepage": "never"}, time_limit="20s",
        tasks=[*leaks, pymem.Task("writer", pymem.workloads.DirtyWriter("40MiB"))],
    )  # fmt: skip
    run = pymem.Simulation(scenario)
    while run.step(1000):
        run.engine.verify()
    assert run.result().vmstat["nr_dirtied"] == 40 * 256
