"""Swap: out through the swap cache, in with neighbours, areas by priority."""

import pytest
from lab import MS, SECOND, Lab, anon, file, load, machine, op, sleep, store

from pymem import Disk, SwapDevice
from pymem.records import Op

pytestmark = pytest.mark.engine

NVME = [SwapDevice("16MiB", kind="nvme")]


def full(pages=1500, swap=NVME, size=1024, **more):
    """A task that has written more pages than fit; the first ones are on swap, all I/O has ended."""
    lab = Lab(machine(size, swap=swap), a=[anon(pages + 500)], **more)
    lab.do("a", store(range(pages)), sleep(SECOND))
    return lab


def test_what_is_not_resident_is_on_swap():
    lab = full()
    task, counts, swap = lab.task("a"), lab.counts(), lab.engine.swap()
    assert task["rss_anon"] + task["swapents"] == 1500
    assert counts["nr_anon_pages"] == task["rss_anon"]
    assert counts["pswpout"] >= task["swapents"] >= 1500 - 1024
    assert counts["pswpin"] == counts["pgmajfault"] == 0
    # slots of pages that were swapped, and pages still in the swap cache
    assert swap["areas"][0]["used"] >= task["swapents"]
    assert counts["nr_vmscan_write"] == counts["pswpout"] == counts["nr_written"]


def test_swap_in_without_readahead():
    lab = full(vm={"page-cluster": 0})
    moved = lab.do("a", load(range(0, 40, 4)))
    assert moved.pick("pgfault", "pgmajfault", "pswpin", "swap_ra") == {
        "pgfault": 10, "pgmajfault": 10, "pswpin": 10, "swap_ra": 0,
    }  # fmt: skip
    assert lab.task("a")["maj_flt"] == 10
    assert lab.task("a")["stalls"]["swap_in"] >= 10 * 80_000  # one read of the device each
    assert lab.do("a", load(range(0, 40, 4)))["pgfault"] == 0


def test_swap_in_reads_the_neighbours():
    """A new area starts with four hits to its credit: the window is the largest, 8 pages around the fault, from
    3 before (half of the rest of the window) to 4 behind."""
    lab = full()
    moved = lab.do("a", load(100))
    assert moved.pick("pgmajfault", "pswpin", "swap_ra", "swap_ra_hit") == {
        "pgmajfault": 1, "pswpin": 8, "swap_ra": 7, "swap_ra_hit": 0,
    }  # fmt: skip
    lab.do("a", sleep(SECOND))
    hits = lab.do("a", load([*range(97, 100), *range(101, 105)]))
    assert hits.pick("pgfault", "pgmajfault", "pswpin", "swap_ra_hit") == {
        "pgfault": 7, "pgmajfault": 0, "pswpin": 0, "swap_ra_hit": 7,
    }  # fmt: skip


def test_useless_readahead_shrinks_the_window():
    """No hits and no sequence: 1 page wanted, but at least half of the last window: 8, 4, 2, 1."""
    lab = full()
    got = [lab.do("a", load(page), sleep(SECOND))["pswpin"] for page in (100, 150, 200, 250)]
    assert got == [8, 4, 2, 1]


def test_readahead_stays_within_the_area():
    lab = full()
    assert lab.do("a", load(0))["pswpin"] == 5  # 0..4: nothing lies before


def test_rotational_areas_read_by_slot():
    """Neighbours on the device: the aligned block of slots. The window starts from scratch: one page without hits."""
    lab = full(swap=[SwapDevice("16MiB", kind="hdd")])
    lab.do("a", sleep(20 * SECOND))
    assert lab.do("a", load(100), sleep(SECOND))["pswpin"] <= 2
    second = lab.do("a", load(101), sleep(SECOND))  # the slot next to it: window 2
    assert second["pswpin"] + second["swap_ra_hit"] >= 1


def test_a_page_under_writeback_comes_back_from_the_swap_cache():
    """MADV_PAGEOUT starts the write and unmaps; the page stays in the swap cache until somebody needs the frame."""
    lab = Lab(machine(4096, swap=NVME), a=[anon(100)])
    lab.do("a", store(range(8)))
    out = lab.do("a", op(Op.PAGEOUT, 0, 8), sleep(SECOND))
    assert out.pick("pswpout", "nr_swapcached", "nr_anon_pages", "nr_written") == {
        "pswpout": 8, "nr_swapcached": 8, "nr_anon_pages": -8, "nr_written": 8,
    }  # fmt: skip
    assert (lab.task("a")["rss_anon"], lab.task("a")["swapents"]) == (0, 8)
    back = lab.do("a", load(range(8)))
    assert back.pick("pgfault", "pgmajfault", "pswpin", "nr_anon_pages") == {
        "pgfault": 8, "pgmajfault": 0, "pswpin": 0, "nr_anon_pages": 8,
    }  # fmt: skip
    assert (lab.task("a")["rss_anon"], lab.task("a")["swapents"]) == (8, 0)


def test_a_store_to_a_swapped_page_frees_its_slot():
    """The page is dirty and nobody else's: its copy on swap is worthless."""
    lab = Lab(machine(4096, swap=NVME), a=[anon(100)], vm={"page-cluster": 0})
    lab.do("a", store(range(8)), op(Op.PAGEOUT, 0, 8), sleep(SECOND))
    used = lab.engine.swap()["areas"][0]["used"]
    assert lab.do("a", store(range(8)))["nr_swapcached"] == -8
    assert lab.engine.swap()["areas"][0]["used"] == used - 8


def test_a_clean_swap_cache_page_is_dropped_without_writing_again():
    """Read back, not written, swapped again: the slot still has the content."""
    lab = full(vm={"page-cluster": 0})
    lab.do("a", load(range(50)), sleep(SECOND))
    written = lab.counts()["pswpout"]
    moved = lab.do("a", op(Op.PAGEOUT, 0, 50))
    assert moved["pswpout"] == 0
    assert lab.counts()["pswpout"] == written
    assert moved["nr_anon_pages"] == -50


def test_exit_frees_slots():
    lab = full()
    lab.exit("a")
    swap = lab.engine.swap()
    assert swap["free"] + 64 >= swap["total"]  # but for the batch of slots that a CPU holds ahead
    assert lab.counts()["nr_swapcached"] == 0


# ---- areas --------------------------------------------------------------------------------------------------


def test_priorities_are_used_in_order():
    areas = [SwapDevice("16MiB"), SwapDevice("1MiB", priority=5), SwapDevice("512KiB", priority=10)]
    lab = full(pages=1700, swap=areas)
    used = [(a["priority"], a["slots"], a["used"]) for a in lab.engine.swap()["areas"]]
    assert [u[0] for u in used] == [10, 5, -2]
    assert used[0][1:] == (128, 128)
    assert used[1][1:] == (256, 256)
    assert used[2][2] > 0


def test_automatic_priorities_go_down():
    lab = full(pages=10, swap=[SwapDevice("1MiB"), SwapDevice("1MiB"), SwapDevice("1MiB")])
    assert [a["priority"] for a in lab.engine.swap()["areas"]] == [-2, -3, -4]


def test_equal_priorities_take_turns():
    lab = full(pages=1700, swap=[SwapDevice("8MiB", priority=1), SwapDevice("8MiB", priority=1)])
    first, second = (a["used"] for a in lab.engine.swap()["areas"])
    assert first + second >= 1700 - 1024
    assert abs(first - second) <= 64  # a batch of slots at a time


def test_a_small_area_takes_what_fits():
    """100 slots and no more; what does not fit stays in memory. (Once the last slot is gone anonymous memory counts
    as not reclaimable, swap cache or not, so the task stops short of that.)"""
    lab = Lab(machine(1024, swap=[SwapDevice("400KiB")]), a=[anon(2000)])
    for first in range(0, 976, 8):  # slowly, so that the writes end before the next pages are wanted
        lab.do("a", store(range(first, first + 8)), sleep(20 * MS))
    task, swap = lab.task("a"), lab.engine.swap()
    assert swap["total"] == 100
    assert task["rss_anon"] + task["swapents"] == 976
    # tables, slabs of tree nodes and bios, six pages at least, and the reserve
    assert 976 - (1024 - 6 - 64) <= task["swapents"] <= 100
    assert lab.counts()["oom_kill"] == 0


def test_more_than_half_full_swap_gives_slots_back_at_swap_in():
    """vm_swap_full: a page that comes back gives up its slot at once."""
    lab = Lab(machine(1024, swap=[SwapDevice("2MiB")]), a=[anon(2000)], vm={"page-cluster": 0})
    lab.do("a", store(range(1300)), sleep(SECOND))
    assert lab.engine.swap()["areas"][0]["used"] > 256
    moved = lab.do("a", load(0))
    assert moved.pick("pgmajfault", "nr_swapcached") == {"pgmajfault": 1, "nr_swapcached": 0}


# ---- synchronous devices ------------------------------------------------------------------------------------

PMEM = [SwapDevice("16MiB", kind="pmem", read="1us", write="2us")]


def test_a_page_written_to_memory_is_free_at_once():
    """pageout returns with the page clean, and the same pass frees it: no writeback, nothing left in the swap cache."""
    lab = Lab(machine(4096, swap=PMEM), a=[anon(100)])
    lab.do("a", store(range(8)))
    moved = lab.do("a", op(Op.PAGEOUT, 0, 8))
    assert moved.pick("pswpout", "nr_written", "nr_writeback", "nr_swapcached", "pgfree", "pgrotated") == {
        "pswpout": 8, "nr_written": 8, "nr_writeback": 0, "nr_swapcached": 0, "pgfree": 8, "pgrotated": 0,
    }  # fmt: skip


def test_a_page_read_from_memory_skips_the_swap_cache():
    """With one user there is no readahead, whatever page-cluster says; the slot is free at once, and the task works
    instead of waiting."""
    lab = Lab(machine(4096, swap=PMEM), a=[anon(100)], vm={"page-cluster": 3})
    lab.do("a", store(range(8)), op(Op.PAGEOUT, 0, 8))
    used, before = lab.engine.swap()["areas"][0]["used"], lab.task("a")
    moved = lab.do("a", load(3))
    assert moved.pick("pgmajfault", "pswpin", "swap_ra", "nr_swapcached") == {
        "pgmajfault": 1, "pswpin": 1, "swap_ra": 0, "nr_swapcached": 0,
    }  # fmt: skip
    assert lab.engine.swap()["areas"][0]["used"] == used - 1
    task = lab.task("a")
    assert task["stalls"]["swap_in"] == before["stalls"]["swap_in"]
    assert task["cpu_ns"] - before["cpu_ns"] >= 1000


def test_with_several_areas_each_is_what_it_is():
    """The one with the higher priority is memory; what does not fit there goes to a disk, and comes from it by the
    swap cache."""
    areas = [SwapDevice("64KiB", kind="pmem", priority=10), SwapDevice("16MiB", kind="nvme", priority=5)]
    lab = Lab(machine(4096, swap=areas), a=[anon(100)], vm={"page-cluster": 0})
    lab.do("a", store(range(32)), op(Op.PAGEOUT, 0, 32), sleep(SECOND))
    assert [a["used"] for a in lab.engine.swap()["areas"]] == [16, 64]  # 64 taken ahead, a batch
    assert lab.counts()["nr_swapcached"] == 16
    devices = lab.engine.devices()
    assert [d["write_pages"] for d in devices[:2]] == [16, 16]
    moved = lab.do("a", load(range(32)))
    assert moved.pick("pgmajfault", "pswpin") == {"pgmajfault": 16, "pswpin": 16}  # the rest was still in memory


@pytest.mark.parametrize(("kernel", "kib"), [("6.1", 0), ("6.12", 8 * 4)])
def test_6_1_hands_pages_to_memory_without_a_request(kernel, kib):
    lab = Lab(machine(4096, swap=PMEM), a=[anon(100)], kernel=kernel)
    moved = lab.do("a", store(range(8)), op(Op.PAGEOUT, 0, 8), load(range(8)))
    assert moved.pick("pswpout", "pswpin", "pgpgout", "pgpgin") == {
        "pswpout": 8, "pswpin": 8, "pgpgout": kib, "pgpgin": kib,
    }  # fmt: skip


def test_copies_begin_no_closer_than_the_bandwidth_allows():
    """4096 bytes at 1 GB/s take 4096 ns of the device, whoever copies; a latency below that does not make it faster."""
    slow = [SwapDevice("16MiB", kind="pmem", read="1us", write="1us", bandwidth=10**9)]
    lab = Lab(machine(4096, swap=slow), a=[anon(100)])
    lab.do("a", store(range(64)))
    begin = lab.task("a")["cpu_ns"]
    lab.do("a", op(Op.PAGEOUT, 0, 64))
    assert lab.task("a")["cpu_ns"] - begin >= 63 * 4096
    assert lab.engine.devices()[0]["busy_ns"] == 64 * 4096


def test_files_on_memory_need_no_waiting():
    """Reads fill the cache and fsync empties it of dirty pages within CPU time."""
    lab = Lab(machine(4096, disk=Disk("pmem")), a=[file(64)])
    moved = lab.do("a", op(Op.READ, 0, 32), op(Op.WRITE, 0, 16), op(Op.FSYNC, 0, 1))
    assert moved.pick("nr_written", "nr_dirty", "nr_writeback") == {"nr_written": 16, "nr_dirty": 0, "nr_writeback": 0}
    assert moved["pgpgin"] >= 32 * 4
    stalls = lab.task("a")["stalls"]
    assert [stalls[cause] for cause in ("file_read", "device", "fsync")] == [0, 0, 0]
