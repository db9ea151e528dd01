"""Page blocks of unmovable and reclaimable memory: who takes whose pages when its own are used up, and what follows."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import MS, NO_SLAB, Lab, anon, file, op, sleep, store

from memcore import _testing as door
from pymem import Machine
from pymem.errors import ScenarioError
from pymem.records import Op
from pymem.topology import Boot, Node, Zone

BLOCK = 512
PAGES = 4096
KERNEL = 300  # far above HIGH, 96 pages: when all others are used up, no watermark is near
LOWEST = 64 * BLOCK  # a zone with frames of others before it


def lab(kernel, movable=PAGES, spanned=2 * PAGES, unmovable=KERNEL, reclaimable=0, **vm):
    """A zone of `spanned` pages from page 1 on: the last `movable` are free, below them those of the kernel's."""
    free = movable + unmovable + reclaimable
    zone = Zone("Normal", 1, spanned - 1, spanned - 1, spanned - 1, free, unmovable=unmovable, reclaimable=reclaimable)
    return Lab(Machine(nodes=[Node(zones=(zone,), cpus=1)], boot=NO_SLAB), kernel=kernel, vm=vm, a=(anon(PAGES + 256),))


def first_block(kernel, **vm):
    """The zone begins with page 1, so its first page block is not complete: 224 free pages are the rest of it."""
    return lab(kernel, unmovable=224, movable=PAGES - BLOCK, spanned=PAGES, min_free_kbytes=128, **vm)


def kswapd_runs(lab, *levels):
    """How often kswapd worked while memory was used until so many pages were free, one level after the other."""
    out, page = [], 0
    for free in levels:
        end = page + lab.free() - free
        before = lab.engine.events_count()["pageoutrun"]
        lab.do("a", store(range(page, end)))
        for _ in range(5):
            lab.do("a", sleep(200 * MS))
        out.append(lab.engine.events_count()["pageoutrun"] - before)
        page = end
    return out


def by_type(lab):
    """Free pages of the zone: unmovable, movable, reclaimable."""
    blocks = lab.engine.zones()[0]["pagetypeinfo"]
    return [sum(n << order for order, n in enumerate(of_type)) for of_type in blocks]


def give_back(lab):
    lab.do("a", op(Op.MUNMAP, 0, PAGES + 256), op(Op.MMAP, 0, PAGES + 256))


@pytest.mark.parametrize("kernel", ["6.1", "6.12"])
def test_the_free_pages_of_a_block_become_movable_at_once_and_it_stays_if_they_are_half_of_it(kernel):
    machine = lab(kernel)
    assert by_type(machine) == [KERNEL, PAGES, 0]
    assert kswapd_runs(machine, 320, 290, 250, 150) == [0, 1, 0, 0]
    assert by_type(machine)[0] == 0
    give_back(machine)
    assert kswapd_runs(machine, 320, 290, 250, 150) == [0, 0, 0, 0]


def test_6_1_takes_the_free_pages_of_a_block_that_stays_the_kernels():
    """All 224 pages are less than half of the page block: what is given back is unmovable again. Programs keep at most
    the 53 pages that nobody had used, as far as they find no neighbour to merge with."""
    machine = first_block("6.1")
    assert kswapd_runs(machine, 234, 210, 110, 85) == [0, 1, 0, 1]
    assert by_type(machine)[0] < 32
    give_back(machine)
    assert by_type(machine)[0] > 100
    assert kswapd_runs(machine, 234, 224 - 53 - 32) == [0, 1]


def test_6_12_takes_page_by_page_what_it_cannot_claim():
    """A claim is tried, and the watermarks rise, each time the list of a CPU is filled; then the smallest blocks go,
    and what is left of them stays where it was."""
    machine = first_block("6.12")
    first, *later = kswapd_runs(machine, 240, 190, 150, 110)
    assert first == 0
    assert min(later) >= 1  # 40 pages are more than a refill brings
    assert by_type(machine)[0] > 100 - 64


@pytest.mark.parametrize("kernel", ["6.1", "6.12"])
def test_without_blocks_of_the_kernels_kswapd_waits_for_the_watermark(kernel):
    assert kswapd_runs(lab(kernel, unmovable=0), 320, 290, 250, 150) == [0, 0, 0, 0]


@pytest.mark.parametrize("kernel", ["6.1", "6.12"])
def test_no_boost_with_factor_0(kernel):
    assert kswapd_runs(lab(kernel, watermark_boost_factor=0), 320, 290, 250, 150) == [0, 0, 0, 0]


@pytest.mark.parametrize("kernel", ["6.1", "6.12"])
def test_a_page_block_that_is_all_free_changes_its_type_unnoticed(kernel):
    """Page tables soon need more than the two unmovable pages: the kernel takes the largest block, 1024 pages, and uses
    a few of them. Of the rest programs get 512 in one block without a word, about 500 when these are used up too."""
    first, second, third = kswapd_runs(lab(kernel, unmovable=2), 1100, 560, 470)
    assert (first, second) == (0, 0)
    assert third == 1 if kernel == "6.1" else third >= 1


def test_page_blocks_of_the_kernels_need_their_place():
    with pytest.raises(ScenarioError, match=r"zone Normal: 2 page blocks .* would begin at 2560, before the zone"):
        Zone("Normal", 3072, 1024, 1024, 1024, 1024, unmovable=513)
    assert Zone("Normal", 2048, 2048, 2048, 2048, 1024, unmovable=513).kernel_blocks == [(0, 1), (0, 512)]
    with pytest.raises(ScenarioError, match=r"zone Normal: 1 page blocks .* leave no room for 8 of percpu and 2"):
        Zone("Normal", 1, 4095, 4095, 4095, 3808, unmovable=224, percpu=8, metadata=2)
    with pytest.raises(ScenarioError, match=r"zone Normal: 4 page blocks .* have 1100 free pages, the zone 1000"):
        Zone("Normal", 1, 4095, 4095, 4095, 1000, unmovable=500, reclaimable=(512, 44, 44))
    for wrong in (-1, 1.5, (513,), (0,), [100, "x"], None):
        with pytest.raises(ScenarioError, match=r"zone Normal\.reclaimable: "):
            Zone("Normal", 1, 4095, 4095, 4095, 1000, reclaimable=wrong)


def test_a_number_of_pages_fills_page_blocks_and_a_sequence_says_what_each_has():
    zone = Zone("Normal", 1, 65_535, 65_535, 65_535, 20_000, unmovable=1100, reclaimable=[512, 3, 90])
    assert zone.kernel_blocks == [(0, 76), (0, 512), (0, 512), (2, 3), (2, 90), (2, 512)]
    lab = Lab(Machine(nodes=[Node(zones=(zone,), cpus=1)], boot=NO_SLAB), a=(anon(8),))
    assert by_type(lab) == [1100, 20_000 - 1100 - 605, 605]
    assert lab.engine.zones()[0]["free"] == 20_000


def test_what_the_kernel_holds_lies_below_its_free_pages():
    zone = Zone("Normal", 1, 8191, 8191, 8191, 4396, unmovable=300, percpu=64, metadata=16)
    boot = Boot(kernel=0, slab_reclaimable=0, slab_freeable=400 * 4096, slab_unreclaimable=0)
    lab = Lab(Machine(nodes=[Node(zones=(zone,), cpus=1)], boot=boot), kernel="6.1", a=[anon(4000), file(400)])
    lab.do("a", store(range(4000)), op(Op.READ, 4000, 400))
    assert lab.counts()["slabs_scanned"] > 0


# ---- one zone, request by request: free pages by type after each ---------------------------------------------


UNMOVABLE, RECLAIMABLE = 0, 2
#: Requests that leave no movable page.
USED_UP = [("movable", 10)] * 7 + [("movable", 9), ("movable", 8), ("movable", 6)]


def zone(*steps, blocks, v61=True):
    """A zone of 65,535 pages of which 8,000 movable ones are free, its last."""
    return door.py_mobility(steps, blocks, v61)


def test_each_type_comes_out_of_its_own_lists():
    blocks = [(UNMOVABLE, 300), (RECLAIMABLE, 40)]
    assert zone(("unmovable", 0), ("movable", 3), ("reclaimable", 1), blocks=blocks) == [
        (299, 8000, 40, 0), (299, 7992, 40, 0), (299, 7992, 38, 0)]  # fmt: skip


def test_who_takes_from_whom():
    """The largest block decides: of 1024 movable pages both page blocks change. Where there is none so large,
    reclaimable memory takes unmovable, and unmovable takes reclaimable: of a page block less than half free all that is
    free."""
    assert zone(("unmovable", 0), blocks=[(RECLAIMABLE, 100)])[-1] == (1023, 8000 - 1024, 100, 0)
    assert zone(*USED_UP, ("unmovable", 0), blocks=[(RECLAIMABLE, 100)])[-1] == (99, 0, 0, 1)
    assert zone(*USED_UP, ("reclaimable", 1), blocks=[(UNMOVABLE, 100)])[-1] == (0, 0, 98, 1)
    # programs ask reclaimable memory first, but for the largest block
    both = [(UNMOVABLE, 100), (RECLAIMABLE, 100)]
    assert zone(*USED_UP, ("movable", 0), blocks=both)[-1] == (100, 99, 0, 1)
    assert zone(*USED_UP, ("movable", 0), blocks=[(UNMOVABLE, 128), (RECLAIMABLE, 100)])[-1] == (0, 127, 100, 1)


def test_6_12_leaves_the_rest_of_a_block_it_cannot_claim():
    """100 pages are no half of a page block. The smallest sufficient piece goes, of 4 pages, and two remain there."""
    *_, last = zone(*USED_UP, ("reclaimable", 1), blocks=[(UNMOVABLE, 100)], v61=False)
    assert last == (98, 0, 0, 3)  # claims were tried, of 64 pages, of 32 and of 4
    # a block of which half is free it does claim
    *_, last = zone(*USED_UP, ("reclaimable", 1), blocks=[(UNMOVABLE, 256)], v61=False)
    assert last == (0, 0, 254, 1)


def test_once_6_12_has_found_nothing_to_claim_it_takes_the_rest_of_a_refill_one_by_one():
    """Of 64 and of 32 pages a claim is tried, once for ten pages; 6.1 takes all 100 at once."""
    assert zone(*USED_UP, ("refill", 10), blocks=[(UNMOVABLE, 100)], v61=False)[-1] == (90, 0, 0, 2)
    assert zone(*USED_UP, ("refill", 10), ("refill", 10), blocks=[(UNMOVABLE, 100)], v61=False)[-1] == (80, 0, 0, 4)
    assert zone(*USED_UP, ("refill", 10), blocks=[(UNMOVABLE, 100)])[-1] == (0, 90, 0, 1)


def test_a_page_block_full_of_pages_that_stay_is_claimed_for_them():
    """Nothing in it is on an LRU list, so the 448 pages in use count for the kernel: it gets the other 64 too."""
    assert zone(*USED_UP[:-1], ("unmovable", 0), blocks=[(RECLAIMABLE, 1)], v61=False)[-1] == (63, 0, 1, 1)


def test_pages_spilled_from_a_list_return_to_its_type_in_6_1_and_to_their_blocks_in_6_12():
    steps = [*USED_UP, ("movable", 0), ("spill", 0)]
    assert zone(*steps, blocks=[(UNMOVABLE, 100)])[-1][:3] == (0, 100, 0)
    assert zone(*steps, blocks=[(UNMOVABLE, 100)], v61=False)[-1][:3] == (100, 0, 0)


def test_tree_nodes_are_reclaimable_and_page_tables_unmovable():
    """Seven slabs of two pages are fetched at a time (of a batch of 15 pages), and 15 single pages."""
    zone = Zone("Normal", 1, 65_535, 65_535, 65_535, 20_000, unmovable=300, reclaimable=300)
    lab = Lab(Machine(nodes=[Node(zones=(zone,), cpus=1)], boot=NO_SLAB), kernel="6.1", a=(anon(8), file(8)))
    lab.do("a", op(Op.READ, 8, 1))
    unmovable, _, reclaimable = by_type(lab)
    assert (unmovable, reclaimable) == (300, 300 - 14)
    lab.do("a", store([0]))
    unmovable, _, reclaimable = by_type(lab)
    assert (unmovable, reclaimable) == (300 - 15, 300 - 14)


STEPS = st.lists(st.tuples(st.sampled_from(["unmovable", "movable", "reclaimable", "free"]),
                           st.integers(0, 9)), max_size=60)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, v61=st.booleans(), blocks=st.lists(
    st.tuples(st.sampled_from([UNMOVABLE, RECLAIMABLE]), st.integers(1, 512)), min_size=1, max_size=6))  # fmt: skip
def test_no_page_is_lost_between_types(steps, blocks, v61):
    """Requests of all orders and what is given back, in any order: the free pages of the three types are what is not
    held, free lists are whole, and only a fallback raises the watermarks."""
    unmovable, reclaimable = (sum(n for mt, n in blocks if mt == own) for own in (UNMOVABLE, RECLAIMABLE))
    before = (unmovable, 8000, reclaimable, 0)
    held = []
    for (what, order), after in zip(steps, zone(*steps, blocks=blocks, v61=v61), strict=True):
        gone = sum(before[:3]) - sum(after[:3])
        if what in ("unmovable", "movable", "reclaimable"):
            assert gone in (0, 1 << order)
            if gone:
                held.append(gone)
            own = ("unmovable", "movable", "reclaimable").index(what)
            if before[own] - after[own] == gone and after[3] == before[3]:
                assert after[:3] == tuple(n - gone * (i == own) for i, n in enumerate(before[:3]))
        else:
            assert -gone == (held.pop(0) if held else 0)
            assert after[3] == before[3]
        before = after
    assert sum(before[:3]) + sum(held) == 8000 + unmovable + reclaimable
