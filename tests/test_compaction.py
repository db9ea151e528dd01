"""kcompactd: when it begins, what it takes from where, what stays where it was, and when it gives up."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import MS, NO_SLAB, SECOND, Lab, anon, file, load, op, sleep, store
from results import calm

from pymem import Machine
from pymem.devices import Disk, SwapDevice
from pymem.records import Op
from pymem.reports.summary import story
from pymem.topology import Node, Zone

# A zone of 16 page blocks, the first and the last incomplete; MIN is 64 pages, LOW 80 and HIGH 96.  The kernel holds
# 1,500 pages, and another page block has 300 more for its page tables, which would keep others from becoming free.
START, PAGES, HELD = 100, 8_092, 1_692  # so the zone ends with a block of order 10
BLOCK = 512
QUIET = {"c_context_switch": 0, "c_reclaim_skip": 0}


def lab(*, kernel="6.1", unmovable=300, swap=0, cpus=1, vm=None, costs=None, disk=None):
    zone = Zone("Normal", START, PAGES, PAGES, PAGES, PAGES - HELD, unmovable=unmovable)
    devices = (SwapDevice(swap * 4096, "nvme"),) if swap else ()
    machine = Machine(nodes=[Node(zones=(zone,), cpus=cpus)], swap=devices, boot=NO_SLAB, disk=disk or Disk())
    return Lab(machine, kernel=kernel, vm=vm, costs=QUIET | (costs or {}), a=(anon(8000), file(200)), b=(anon(4000),))


def given_back(pages):
    """Records that give single pages back."""
    return [op(Op.DONTNEED, p, 1) for p in pages]


def before_look(machine, ns):
    """Task a sleeps until so long before kcompactd looks, first after 250 ms; the counters that moved."""
    passed = (machine.engine.now + 250 * MS) % (500 * MS)
    return machine.do("a", sleep(500 * MS - passed - ns))


def leave_holes(machine, filled=5_900):
    """A task fills the memory that programs get, but for some 200 pages, and gives back every other page of the second
    half."""
    machine.do("a", store(range(filled)))
    machine.do("a", *given_back(range(filled // 2, filled, 2)))


def in_pieces(machine):
    """Percent of free memory in blocks of less than 512 pages."""
    areas = machine.engine.zones()[0]["free_area"]
    free = sum(n << order for order, n in enumerate(areas))
    return (free - sum(n << order for order, n in enumerate(areas) if order >= 9)) * 100 // free


def order_of(machine):
    """Pages of the inactive anonymous list, head first."""
    return [page for _, page in machine.engine.lru_order(0, 0)]


def test_memory_in_one_piece_is_left_alone():
    machine = lab()
    machine.do("a", store(range(2000)))
    moved = machine.do("a", sleep(2 * SECOND))
    assert in_pieces(machine) < 90
    assert moved["compact_migrate_scanned"] == 0


def test_it_looks_twice_a_second_and_makes_large_blocks():
    """1,900 holes of one page: pages of the first page blocks move into holes at the end until four fifths of free
    memory, or less, are in pieces."""
    machine = lab()
    leave_holes(machine)
    assert in_pieces(machine) > 90
    assert before_look(machine, 10 * MS)["compact_migrate_scanned"] == 0
    moved = machine.do("a", sleep(20 * MS), sleep(200 * MS))
    assert in_pieces(machine) <= 80
    # the first page block with pages is emptied, and then the next ones
    assert moved["pgmigrate_success"] >= BLOCK
    assert moved["pgmigrate_fail"] == 0
    assert moved["compact_isolated"] >= 2 * moved["pgmigrate_success"]
    assert moved["compact_daemon_wake"] == 0


@pytest.mark.parametrize(("kernel", "counted"), [("6.1", False), ("6.12", True)])
def test_only_6_12_counts_its_own_initiative_as_the_daemons(kernel, counted):
    machine = lab(kernel=kernel)
    leave_holes(machine)
    moved = machine.do("a", sleep(SECOND))
    assert moved["compact_migrate_scanned"] > 0
    assert moved["compact_daemon_migrate_scanned"] == moved["compact_migrate_scanned"] * counted
    assert moved["compact_daemon_free_scanned"] == moved["compact_free_scanned"] * counted


def rejuvenated(before, after, count):
    """The first `count` pages have come to the head, and the others are as they were."""
    moved = set(after[:count])
    return sorted(before) == sorted(after) and after[count:] == [page for page in before if page not in moved]


def test_moved_pages_keep_their_content_and_come_to_the_head():
    machine = lab()
    leave_holes(machine)
    before = order_of(machine)
    moved = machine.do("a", sleep(SECOND))
    assert moved["pgfault"] == 0
    assert moved["pgmigrate_success"] > BLOCK
    assert rejuvenated(before, order_of(machine), moved["pgmigrate_success"])
    assert machine.do("a", load(range(2900)))["pgfault"] == 0


def test_a_page_block_that_cannot_be_emptied_is_rejuvenated_all_the_same():
    """Some 180 pages are free above MIN: 32 pages move, then their page block is to be finished. For most of the rest
    there is no frame, but all were taken off their list, and go to its head. The next attempt comes 32 s later as this
    one has changed nothing."""
    machine = lab()
    machine.do("a", store(range(5_900)))
    before = order_of(machine)
    moved = machine.do("a", sleep(SECOND))
    taken = moved["compact_isolated"] - moved["pgmigrate_success"]
    assert moved["pgmigrate_fail"] == 1
    assert 32 < moved["pgmigrate_success"] < taken / 2
    assert rejuvenated(before, order_of(machine), taken)
    assert not rejuvenated(before, order_of(machine), taken - 1)
    assert machine.do("a", sleep(30 * SECOND))["compact_isolated"] == 0
    assert machine.do("a", sleep(3 * SECOND))["compact_isolated"] > 0


def test_frames_below_min_are_not_taken():
    """What is free above MIN, less the frames of page blocks that are not programs', is all that can be used."""
    machine = lab()
    machine.do("a", store(range(6_000)))
    free = machine.free()
    tables = machine.counts()["nr_page_table_pages"]
    moved = machine.do("a", sleep(SECOND))
    assert 0 < moved["pgmigrate_success"] <= free - 64
    assert moved["pgmigrate_success"] <= free - (300 - 1 - tables)


@pytest.mark.parametrize("proactiveness", [0, 100])
def test_proactiveness(proactiveness):
    """0: nothing without being asked. 100: from 15 % of free memory in pieces on, until they are 5 %, or until the
    scanners meet."""
    machine = lab(vm={"compaction_proactiveness": proactiveness})
    machine.do("a", store(range(3_000)))
    machine.do("a", *given_back(range(1, 3_000, 2)))
    assert 15 < in_pieces(machine) < 90
    moved = machine.do("a", sleep(SECOND))
    if proactiveness:
        assert moved["pgmigrate_success"] > BLOCK
        assert in_pieces(machine) < 30
    else:
        assert moved["compact_migrate_scanned"] == 0


@pytest.mark.parametrize("factor", [15_000, 0])
def test_a_raised_watermark_asks_for_a_block(factor):
    """Programs come to the kernel's page block: the watermarks rise, kswapd works for them and asks for a large block
    then. kcompactd sees that at its next look."""
    machine = lab(swap=4000, vm={"compaction_proactiveness": 1, "watermark_boost_factor": factor})
    machine.do("a", store(range(6_200)))
    assert machine.do("a", sleep(SECOND))["compact_daemon_wake"] == (factor > 0)


@pytest.mark.parametrize("threshold", [500, 1000])
def test_what_was_asked_for_is_made_and_no_more(threshold):
    """Before kcompactd looks there are 1,900 free pages, all in pieces, which is what 1000 or less stands for: it works
    until there is one block of 512. With a threshold of 1000 that is nothing but a lack of memory."""
    machine = lab(swap=4000, vm={"compaction_proactiveness": 1, "extfrag_threshold": threshold})
    machine.do("a", store(range(6_200)))
    assert machine.engine.events_count()["pageoutrun"] > 0
    machine.do("a", *given_back(range(2_200, 6_200, 2)))
    moved = machine.do("a", sleep(600 * MS))
    assert moved["compact_daemon_wake"] == 1
    assert (moved["compact_daemon_migrate_scanned"] > 0) == (threshold < 1000)
    blocks = machine.engine.zones()[0]["free_area"]
    assert sum(blocks[9:]) == (threshold < 1000)


def test_it_does_not_begin_while_kswapd_runs():
    """Looking at a page takes kswapd a fifth of a millisecond, so it is at work when the time for a look has come."""
    machine = lab(swap=4000, cpus=3, costs={"c_reclaim_scan": MS // 5}, vm={"watermark_scale_factor": 300})
    machine.do("a", store(range(5_000)))
    before_look(machine, 50 * MS)
    moved = machine.do("b", store(range(1_200)), sleep(100 * MS))
    assert moved["pgscan_kswapd"] > 0
    assert moved["compact_migrate_scanned"] == 0
    assert machine.do("a", sleep(5 * SECOND))["compact_migrate_scanned"] > 0


def test_it_stops_at_the_next_page_block_while_kswapd_runs():
    """Moving a page takes a millisecond, and kswapd gets work for seconds in the middle of a page block."""
    costs = {"c_migrate": MS, "c_reclaim_scan": MS}
    machine = lab(swap=4000, cpus=3, costs=costs, vm={"watermark_scale_factor": 300})
    leave_holes(machine)
    before_look(machine, MS)
    first = machine.do("a", sleep(100 * MS))["pgmigrate_success"]
    assert 32 < first < BLOCK
    rest = machine.do("b", store(range(3_000)), sleep(2 * SECOND))
    assert rest["pgscan_kswapd"] > 1000
    assert 0 < first + rest["pgmigrate_success"] <= BLOCK
    assert rest["pgmigrate_fail"] == 0
    assert in_pieces(machine) > 80


def test_it_goes_on_where_it_was():
    """Blocks are asked for twice: only the first time the frames that the kernel holds since boot are looked at."""
    machine = lab(swap=8000, unmovable=(511, 511), vm={"compaction_proactiveness": 1})
    scanned = []
    for filled, apart in (5_600, 1), (6_100, 2):  # what came into a page block together is given back by halves
        machine.do("a", store(range(filled)))
        machine.do("a", *given_back(p for p in range(1_500, 5_500) if p // apart % 2))
        scanned.append(machine.do("a", sleep(SECOND))["compact_daemon_migrate_scanned"])
    assert scanned[0] > HELD - 300
    assert 0 < scanned[1] < HELD - 300


def test_pages_under_writeback_are_not_isolated():
    """Pages of a file are being written when kcompactd looks, to a disk that takes 10 ms for each."""
    machine = lab(cpus=2, disk=Disk("sata", write=10 * MS, queue_depth=1))
    machine.do("a", *(op(Op.WRITE, 8000 + p, 1) for p in range(0, 200, 2)))
    leave_holes(machine, 5_700)
    before_look(machine, 20 * MS)
    moved = machine.do("a", op(Op.FSYNC, 8000, 1))
    assert moved["pgmigrate_success"] > 32
    assert moved["pgmigrate_fail"] == 0
    assert machine.engine.node_stats()["nr_file_pages"] >= 100


def test_a_program_exits_while_its_pages_are_being_moved():
    """The page block that is emptied first is full of pages of a task that exits when some have been moved: the others
    go back and are free then, and none is left on a list."""
    machine = lab(cpus=2, costs={"c_migrate": 400_000})
    machine.do("b", store(range(2_000)))
    machine.do("a", store(range(3_900)))
    machine.do("a", *given_back(range(1, 3_900, 2)))
    before_look(machine, 0)
    assert 0 < machine.do("a", sleep(30 * MS))["pgmigrate_success"] < 200
    machine.exit("b")
    machine.do("a", sleep(SECOND))
    left = machine.counts()
    assert left["nr_inactive_anon"] + left["nr_active_anon"] == 1_950
    assert machine.free() > PAGES - HELD - 1_950 - 50


def test_the_summary_tells():
    result = calm()
    assert not [line for line in story(result) if "kcompactd" in line]
    busy = replace(result, vmstat={**result.vmstat, "compact_isolated": 512})
    assert [line for line in story(busy) if line.startswith("kcompactd: free memory was in small pieces; 2.0 MiB of")]


@given(
    st.sampled_from(["6.1", "6.12"]), st.integers(0, 2), st.sampled_from([0, 300, 1022]),
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 3_900), st.integers(1, 900),
                       st.integers(1, 3)), min_size=1, max_size=14),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_random_programs(kernel, cpus, unmovable, steps):
    """Stores, loads, memory given back and pauses of two tasks; every invariant after each step."""
    machine = lab(kernel=kernel, cpus=cpus + 1, unmovable=unmovable, swap=6000, vm={"compaction_proactiveness": 100})
    for name, what, first, count, stride in steps:
        pages = range(first, min(first + count * stride, 4_000), stride)
        records = {
            0: [store(pages)], 1: [load(pages)], 2: given_back(pages), 3: [sleep(600 * MS)],
        }[what]  # fmt: skip
        machine.do(name, *records)
