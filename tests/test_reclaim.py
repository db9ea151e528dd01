"""Reclaim on machines of 1024 pages: min 64, low 80, high 96 (a quarter of min is the distance)."""

import pytest
from lab import MS, SECOND, Lab, Script, anon, file, finish, load, machine, op, sleep, store
from test_faults import ALONE

from memcore.engine import EVENT_KINDS
from pymem import Disk, Scenario, SwapDevice, Task
from pymem.records import Op
from pymem.simulation import Simulation

pytestmark = pytest.mark.engine

NVME = [SwapDevice("16MiB", kind="nvme")]
MIN, LOW, HIGH = 64, 80, 96


def free(lab):
    """What the watermarks look at: without the per-CPU lists."""
    return lab.engine.zones()[0]["free"]


def events(lab, kind):
    log, dropped = lab.engine.event_log()
    assert dropped == 0
    return log[log["kind"] == EVENT_KINDS.index(kind)]


def test_nothing_is_reclaimed_while_memory_lasts():
    lab = Lab(machine(1024, swap=NVME), a=[anon(2000)])
    # 1024 - 80 are above low; the tables of 900 pages take three
    moved = lab.do("a", store(range(900)), sleep(SECOND))
    assert moved.pick("pageoutrun", "pgscan_kswapd", "pgscan_direct", "pswpout") == dict.fromkeys(
        ["pageoutrun", "pgscan_kswapd", "pgscan_direct", "pswpout"], 0
    )
    assert lab.free() == 1024 - 903


def test_kswapd_wakes_at_low_and_sleeps_above_high():
    lab = Lab(machine(1024, swap=NVME), a=[anon(2000)])
    lab.do("a", store(range(900)))
    marks, page = [], 900
    while not len(events(lab, "kswapd_wake")):
        marks.append(free(lab))
        lab.do("a", store(page))
        page += 1
    # woken by the first allocation that did not find more than low; a refill of the per-CPU list may jump past it
    assert marks[-1] <= LOW < marks[-2]
    lab.do("a", sleep(SECOND))
    assert free(lab) > HIGH
    assert len(events(lab, "kswapd_sleep")) == len(events(lab, "kswapd_wake")) == 1
    counts = lab.counts()
    assert counts["pageoutrun"] >= 1
    assert counts["allocstall_movable"] == counts["pgscan_direct"] == 0
    # what it took: enough to get from low above high, and not the whole list
    assert HIGH - LOW < counts["pgsteal_kswapd"] < 200
    assert counts["pgsteal_kswapd"] == counts["pgsteal_anon"]


def test_a_stream_through_a_small_cache_is_kswapds_work():
    """The distance from low to min is larger than a readahead window, so nobody has to reclaim for himself."""
    lab = Lab(machine(1024, swap=NVME), a=[file(4000)], vm={"watermark_scale_factor": 1000})
    lab.do("a", *[op(Op.READ, page) for page in range(4000)])
    counts = lab.counts()
    assert counts["pgpgin"] == 4 * 4000  # every page once
    assert counts["pgsteal_kswapd"] >= 4000 - 1024
    assert counts["pgsteal_direct"] == 0
    assert counts["pgsteal_anon"] == counts["pswpout"] == 0
    # used once, never activated, never missed
    assert counts["workingset_refault_file"] == counts["nr_active_file"] == 0


def test_direct_reclaim_when_the_writer_outruns_kswapd():
    slow = [SwapDevice("16MiB", kind="hdd")]
    lab = Lab(machine(1024, swap=slow), a=[anon(3000)])
    lab.do("a", store(range(3000)))
    counts = lab.counts()
    assert counts["allocstall_movable"] > 0  # of the zone that user memory could have come from at best
    assert counts["pgscan_direct"] >= counts["pgsteal_direct"] > 0
    assert counts["pswpout"] >= 3000 - 1024
    # the task knows: its stalls, its latencies, pressure
    task = lab.task("a")
    assert task["stalls"]["direct_reclaim"] > 0
    hist, sums, _ = lab.engine.latency(lab.thread["a"])
    assert hist[4].sum() > 0
    assert sums[4] >= task["stalls"]["direct_reclaim"]
    assert lab.engine.psi()["memory_some"]["total"] > 0
    begins, ends = events(lab, "direct_begin"), events(lab, "direct_end")
    assert len(begins) == len(ends) <= counts["allocstall_movable"]
    assert (ends["time"] >= begins["time"]).all()


def fill_then_stream(swappiness):
    """400 pages of anonymous memory, then a file of 3000 pages read through the rest."""
    lab = Lab(machine(1024, swap=NVME), a=[anon(400), file(3000)], vm={"swappiness": swappiness})
    lab.do("a", store(range(400)))
    for first in range(400, 3400, 100):
        lab.do("a", op(Op.READ, first, 100))
    return lab.counts()


def test_swappiness_0_never_swaps_while_there_is_cache():
    counts = fill_then_stream(0)
    assert counts["pswpout"] == counts["pgsteal_anon"] == counts["pgscan_anon"] == 0
    assert counts["pgsteal_file"] >= 3000 - 1024


def test_more_swappiness_scans_more_anonymous_memory():
    scanned = [fill_then_stream(s)["pgscan_anon"] for s in (0, 200)]
    assert scanned[0] <= scanned[1]


def test_without_swap_anonymous_memory_is_not_scanned():
    lab = Lab(machine(1024), a=[anon(400), file(3000)], vm={"swappiness": 200})
    lab.do("a", store(range(400)), op(Op.READ, 400, 3000))
    counts = lab.counts()
    assert counts["pgscan_anon"] == 0
    assert counts["pgscan_file"] > 0
    assert lab.task("a")["rss_anon"] == 400


def test_a_machine_without_file_pages_finds_its_active_pages():
    # Sets of pages become hot one after another, with a few pages used once in between, so that all end up active
    # before the statistics that 6.12 looks at say so.  There is swap for all: nobody has to die.
    swap = [SwapDevice("512MiB", kind="ramdisk")]
    lab = Lab(machine(2000, swap=swap), a=[anon(30000)])
    lab.do("a", store(range(1500)))
    once, hot = 8000, 1500
    for _ in range(100):
        hot += 8
        for _ in range(20):
            lab.do("a", store(range(hot - 24, hot)), store(range(once, once + 4)))
            once += 4
        lab.do("a", store(range(hot)))
    counts = lab.counts()
    assert counts["pgrefill"] > 1000
    assert lab.task("a")["rss_anon"] > 1500


# ---- working set --------------------------------------------------------------------------------------------


def test_refault_beyond_the_working_set():
    """Ten pages evicted and read back; without swap only active file pages could have made room: there are none."""
    lab = Lab(machine(4096), a=[anon(100), file(64)], vm=ALONE)
    lab.do("a", store(range(100)), load(range(100, 110)))
    evicted = lab.do("a", op(Op.PAGEOUT, 100, 10))
    assert evicted.pick("nr_file_pages", "nr_mapped", "pgpgout") == {
        "nr_file_pages": -10, "nr_mapped": -10, "pgpgout": 0,
    }  # fmt: skip
    back = lab.do("a", load(range(100, 110)))
    assert back.pick("pgmajfault", "workingset_refault_file", "workingset_activate_file", "nr_active_file") == {
        "pgmajfault": 10, "workingset_refault_file": 10, "workingset_activate_file": 0, "nr_active_file": 0,
    }  # fmt: skip


def test_refault_within_the_working_set():
    """With swap, 20 anonymous pages could have made room for the 10 others: distance 10 each (every activation
    ages the list by one, as every eviction did), so all come back active."""
    lab = Lab(machine(4096, swap=NVME), a=[anon(100), file(64)], vm=ALONE)
    lab.do("a", store(range(20)), load(range(100, 110)), op(Op.PAGEOUT, 100, 10))
    back = lab.do("a", load(range(100, 110)))
    assert back.pick("workingset_refault_file", "workingset_activate_file", "nr_active_file", "pgactivate") == {
        "workingset_refault_file": 10, "workingset_activate_file": 10, "nr_active_file": 10, "pgactivate": 0,
    }  # fmt: skip
    assert back["workingset_restore_file"] == 0  # they were not active when they left


def test_refault_distance_counts_evictions_in_between():
    """Nine anonymous pages are one too few for a distance of ten."""
    lab = Lab(machine(4096, swap=NVME), a=[anon(100), file(64)], vm=ALONE)
    lab.do("a", store(range(9)), load(range(100, 110)), op(Op.PAGEOUT, 100, 10))
    first = lab.do("a", load(100))
    assert first.pick("workingset_refault_file", "workingset_activate_file") == {
        "workingset_refault_file": 1, "workingset_activate_file": 0,
    }  # fmt: skip


def test_a_page_used_again_survives_a_stream():
    """Fifty pages read again and again stay active while a file three times the memory passes by."""
    lab = Lab(machine(1024), a=[file(50, "hot"), file(3000, "cold")], vm={"read_ahead_kb": 0})
    lab.do("a", op(Op.READ, 0, 50), op(Op.READ, 0, 50))
    assert lab.counts()["nr_active_file"] >= 49  # read twice: active (the last one was also read last)
    for first in range(50, 3050, 100):
        lab.do("a", op(Op.READ, first, 100), op(Op.READ, 0, 50))
    assert lab.do("a", op(Op.READ, 0, 50))["pgpgin"] == 0


# ---- several tasks ------------------------------------------------------------------------------------------


def test_a_file_page_stays_from_its_read_to_its_mapping():
    """The task loses the CPU to kswapd whenever it adds a page, and kswapd has nothing to take but those pages."""
    fast = Disk("nvme", read=0, write=0, queue_depth=1, bandwidth=1 << 42)
    lab = Lab(machine(1024, disk=fast), a=[anon(930), file(300)], vm=ALONE, costs={"page_cache_add": MS})
    lab.do("a", store(range(930)))
    for first in range(930, 1230, 20):
        lab.do("a", load(range(first, first + 20)))  # verifies every mapping
    assert lab.counts()["pgsteal_file"] > 300 - (1024 - 930)


def test_reclaim_under_contention_keeps_its_books():
    tasks = [Task(f"t{i}", Script([anon(700)], *[store(range(700))] * 3)) for i in range(3)]
    scenario = Scenario(machine=machine(1024, cpus=2, swap=NVME), vm={"transparent_hugepage": "never"}, tasks=tasks)
    result = finish(Simulation(scenario), budget=200)
    assert result.status == "complete"
    v = result.vmstat
    assert v["pswpout"] >= 3 * 700 - 1024
    assert v["pswpin"] > 0
    assert v["pgmajfault"] <= v["pswpin"]
    # everybody has left; each CPU holds up to 64 slots ahead
    assert result.swap["free"] + 2 * 64 >= result.swap["total"]


def test_kswapd_gives_up_when_nothing_can_be_reclaimed():
    """No swap, no cache: kswapd fails 16 times (MAX_RECLAIM_RETRIES) and does not wake any more."""
    lab = Lab(machine(1024), a=[anon(1200)])
    lab.do("a", store(range(942)))
    assert free(lab) < LOW
    assert lab.counts()["pgsteal_kswapd"] == 0
    for page in range(942, 950):
        lab.do("a", store(page), sleep(200 * MS))
    assert lab.engine.nodes()[0]["kswapd_failures"] <= 16
    assert lab.counts()["oom_kill"] == 0
