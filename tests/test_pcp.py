"""Lists of pages per CPU in front of the buddy allocator: those of the kernel's types, fetched in batches."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import NO_SLAB, Lab, anon, file, op, store

from memcore import _testing as door
from pymem import Machine
from pymem.devices import SwapDevice
from pymem.records import Op
from pymem.topology import Node, Zone

BATCH = 15  # of a zone of 65,535 pages (zone_batchsize)
FREE = 21_022
#: Pages of one type in a CPU's lists after a long time: of single ones half of a batch, 7; of blocks of 2 pages 3 (of
#: 7), of 4 one (of 3), of 8 one (of 2).
HALF = 7 + 3 * 2 + 4 + 8


def lab(kernel="6.1", cpus=1, pages=1 << 15, **more):
    zone = Zone("Normal", 1, 65_535, 65_535, 65_535, FREE, unmovable=1022, **more)
    return Lab(Machine(nodes=[Node(zones=(zone,), cpus=cpus)], boot=NO_SLAB), kernel=kernel, a=(anon(pages),))


def free(machine):
    return machine.engine.zones()[0]["free"]


def listed(machine):
    return [p["count"] for p in machine.engine.zones()[0]["pcp"]]


@pytest.mark.parametrize("stores", [1, 14, 15, 16, 30])
def test_the_kernel_fetches_a_batch_of_its_own_pages_at_a_time(stores):
    """Each store has a page table to itself, and the tables have one above them. Programs and the kernel have a list
    each, both of batches of 15 in 6.1."""
    machine = lab()
    moved = machine.do("a", store([512 * k for k in range(stores)]))
    assert (moved["nr_anon_pages"], moved["nr_page_table_pages"]) == (stores, stores + 1)
    fetched = BATCH * (-(-stores // BATCH) + -(-(stores + 1) // BATCH))
    assert FREE - free(machine) == fetched
    assert listed(machine) == [fetched - stores - (stores + 1)]


def test_batches_of_6_12_double_for_both_lists_together():
    """A refill of either list doubles the next: one batch for the kernel's tables, two for the program."""
    machine = lab("6.12")
    machine.do("a", store([0]))
    assert FREE - free(machine) == 15 + 30


def test_a_zone_without_blocks_of_the_kernel_has_one_list():
    zone = Zone("Normal", 1, 65_535, 65_535, 65_535, FREE)
    machine = Lab(Machine(nodes=[Node(zones=(zone,), cpus=1)], boot=NO_SLAB), kernel="6.1", a=(anon(512),))
    machine.do("a", store([0]))  # a page and two tables
    assert FREE - free(machine) == BATCH
    assert listed(machine) == [BATCH - 3]


@pytest.mark.parametrize(("percpu", "cpus", "kept"), [(24, 1, 0), (25, 1, 25), (64, 1, 25), (64, 2, 50), (40, 2, 25)])
def test_what_lies_in_lists_at_the_start_is_partly_the_kernels(percpu, cpus, kept):
    machine = lab(percpu=percpu, cpus=cpus)
    assert free(machine) == FREE
    assert sum(listed(machine)) == percpu
    assert listed(machine)[-1] == percpu - kept + (HALF if kept == cpus * HALF else 0)
    machine.engine.verify()


def test_tables_come_out_of_the_list_before_any_page_block_is_asked():
    machine = lab(percpu=64)
    machine.do("a", store([512 * k for k in range(6)]))  # seven tables
    assert free(machine) == FREE
    machine.do("a", store([512 * 6]))
    assert free(machine) == FREE - BATCH


@pytest.mark.parametrize(("metadata", "kept"), [(0, HALF), (10, 0)])
def test_where_there_is_no_room_for_it_the_kernel_has_no_pages_in_lists(metadata, kept):
    """Programs have all from the third page block on, 480 pages of the second are the kernel's. With 25 pages more for
    programs these would lie in the first one, and what is held below has no place any more."""
    pages = 126 * 512 + 480
    zone = Zone("Normal", 1, 65_535, 65_535, 65_535, pages, unmovable=480, percpu=HALF, metadata=metadata)
    machine = Lab(Machine(nodes=[Node(zones=(zone,), cpus=1)], boot=NO_SLAB), kernel="6.1", a=(anon(1 << 13),))
    assert (free(machine), listed(machine)) == (pages, [HALF])
    machine.do("a", store([512 * k for k in range(10)]))
    # 11 tables are more than the seven single pages that the kernel may have; if it has none, the program has 25
    assert pages - free(machine) == (2 * BATCH if kept else BATCH)


# ---- one zone, step by step: free pages, those in the program's list, those in the kernel's ---------------


def zone(*steps, blocks=((0, 512), (0, 400)), low=120, v61=True):
    """In 6.1 a list is spilled when all together have `low` pages, a batch of 15 at first."""
    free = 8000 + sum(pages for _, pages in blocks)
    return [tuple(a - b for a, b in zip(s, (free, 0, 0), strict=True)) for s in door.py_pcp(steps, blocks, low, v61)]


def test_batches_by_order():
    assert zone(("kernel", 0)) == [(-15, 0, 14)]
    assert zone(("kernel", 1)) == [(-14, 0, 12)]  # seven blocks
    assert zone(("kernel", 2)) == [(-12, 0, 8)]
    assert zone(("kernel", 3)) == [(-16, 0, 8)]  # two, as 15 pages are not two
    # what is there is used first, and one order says nothing of another
    assert zone(("kernel", 0), ("kernel", 2), ("kernel", 0))[-1] == (-27, 0, 13 + 8)


def test_what_is_freed_goes_to_the_list_of_its_page_block():
    assert zone(("kernel", 0), ("free kernel", 1)) == [(-15, 0, 14), (-15, 0, 15)]
    assert zone(("page", 2), ("kernel", 2), ("free kernel", 1), ("free page", 1))[-1] == (-15 - 12, 14, 12)


def test_the_list_that_grew_is_spilled_first():
    """A program's list has 10 pages, and 130 of the kernel's come back: at 120 pages some go, the kernel's own."""
    *_, before, after = zone(("page", 5), *[("kernel", 0)] * 130, ("free kernel", 130))
    assert before == (-15 - 135, 10, 5)
    assert after[1] == 10
    assert after[2] < 120 - 10
    # the other way round programs' pages go and the kernel's stay
    *_, before, after = zone(("kernel", 0), ("page", 130), ("free page", 130))
    assert before == (-15 - 135, 5, 14)
    assert after[2] == 14
    assert after[1] < 120 - 14


def test_a_spill_that_finds_too_few_goes_on_with_the_next_list():
    """The kernel's lists hold 14 single pages, 2 blocks of 4 and one of 8; the program's 10, and 80 are freed. At 60
    pages 15 go, then 30, then 45, when the program has 30: after them come the larger blocks, and single pages of the
    kernel's would be last. Of the 80 the last 15 stay."""
    steps = (("kernel", 0), ("kernel", 2), ("kernel", 3), ("page", 80), ("free page", 80))
    before, after = zone(*steps, low=60)[-2:]
    assert before[1:] == (10, 14 + 8 + 8)
    assert after[1:] == (15, 14)


def test_6_1_empties_all_lists_when_a_larger_block_comes_among_many_pages():
    """So that it can merge (free_high). After a single page, or in 6.12, it stays."""
    many = [("page", 150), ("free page", 150)]
    kept = zone(("kernel", 2), ("free kernel", 1))[-1]
    assert kept == (-12, 0, 12)
    *_, before, after = zone(("kernel", 2), *many, ("free kernel", 1))
    assert before[1] > 0
    assert before[2] == 8
    assert after == (0, 0, 0)
    assert zone(("kernel", 2), *many, ("free kernel", 1), v61=False)[-1][2] > 0


@pytest.mark.parametrize("v61", [True, False])
def test_draining_leaves_nothing_in_any_list(v61):
    steps = [("page", 3), *[("kernel", order) for order in (0, 1, 2, 3, 3)], ("drain", 0)]
    assert zone(*steps, v61=v61)[-1] == (-(3 + 1 + 2 + 4 + 8 + 8), 0, 0)


def test_every_second_a_list_of_6_12_may_be_an_eighth_shorter():
    """1000 pages are fetched in batches of 15, 30, ... 480 and 480, which raises the mark from 120 to 1545. 425 are
    left; after nine seconds the mark is 467, after the tenth 409. The kernel's single pages go first."""
    seconds = [("second", 0)] * 10
    *_, ninth, tenth = zone(("page", 1000), *seconds, v61=False)
    assert (ninth, tenth) == ((-1425, 425, 0), (-1425 + 16, 409, 0))
    *_, tenth = zone(("page", 1000), ("kernel", 3), ("kernel", 0), *seconds, v61=False)
    # its refills of a block of 8 and of 480 single pages raised the mark to 2040, which is 539 after ten seconds
    assert tenth[1:] == (425, 539 - 425)


# ---- machines ---------------------------------------------------------------------------------------------


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["store", "read", "write", "give back", "madvise"]), st.integers(0, 2000), st.integers(1, 900)
    ),
    min_size=1, max_size=12,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, kernel=st.sampled_from(["6.1", "6.12"]), cpus=st.integers(1, 3), unmovable=st.integers(0, 900),
       reclaimable=st.integers(0, 900), percpu=st.integers(0, 90))  # fmt: skip
def test_no_page_is_lost_between_lists_and_blocks(steps, kernel, cpus, unmovable, reclaimable, percpu):
    """Whatever programs and reclaim do, every frame is in one place; the lab looks after each step."""
    free = 3000 + unmovable + reclaimable
    zone = Zone("Normal", 1, 8191, 8191, 8191, free, percpu, unmovable=unmovable, reclaimable=reclaimable)
    machine = Machine(nodes=[Node(zones=(zone,), cpus=cpus)], boot=NO_SLAB, swap=(SwapDevice(size="32MiB"),))
    bench = Lab(machine, kernel=kernel, a=(anon(3000), file(3000)), b=(anon(3000),))
    for i, (what, at, count) in enumerate(steps):
        task = "b" if what in ("store", "give back") and i % 2 else "a"
        if what == "store":
            bench.do(task, store(range(at, at + count)))
        elif what == "give back":
            bench.do(task, op(Op.MUNMAP, at, count), op(Op.MMAP, at, count))
        elif what == "madvise":
            bench.do("a", op(Op.PAGEOUT, at, count))
        else:
            bench.do("a", op(Op.READ if what == "read" else Op.WRITE, 3000 + at, count))
