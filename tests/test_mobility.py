"""Page blocks of unmovable memory: when programs and the kernel take each other's, and what that has for a result."""

import pytest
from lab import MS, NO_SLAB, Lab, anon, file, op, sleep, store

from pymem import Machine
from pymem.errors import ScenarioError
from pymem.records import Op
from pymem.topology import Boot, Node, Zone

BLOCK = 512
PAGES = 4096
FOREIGN = 300  # far above HIGH, 96 pages: when all others are used up, no watermark is near


def lab(kernel, foreign=FOREIGN, movable=PAGES, spanned=2 * PAGES, **vm):
    """A zone of `spanned` pages from page 1 on: the last `movable` are free, below them so many of a foreign block."""
    zone = Zone("Normal", 1, spanned - 1, spanned - 1, spanned - 1, movable + foreign, foreign=foreign)
    return Lab(Machine(nodes=[Node(zones=(zone,), cpus=1)], boot=NO_SLAB), kernel=kernel, vm=vm, a=(anon(PAGES + 256),))


def first_block(kernel, **vm):
    """The zone begins with page 1, so its first page block is not complete: 224 free pages are the rest of it."""
    return lab(kernel, foreign=224, movable=PAGES - BLOCK, spanned=PAGES, min_free_kbytes=128, **vm)


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


def give_back(lab):
    lab.do("a", op(Op.MUNMAP, 0, PAGES + 256), op(Op.MMAP, 0, PAGES + 256))


def test_6_1_makes_the_free_pages_of_a_block_movable_at_once_and_keeps_it_if_that_is_half_of_it():
    machine = lab("6.1")
    assert kswapd_runs(machine, 320, 290, 250, 150) == [0, 1, 0, 0]
    give_back(machine)
    assert kswapd_runs(machine, 320, 290, 250, 150) == [0, 0, 0, 0]


def test_6_1_goes_on_for_as_long_as_a_block_stays_of_the_kernel():
    """Of the 224 pages the first fallback takes the largest block, 128 pages, the second the next, 64, and never more
    than half of the page block: what is given back is foreign again. Programs keep at most the 53 pages that nobody
    had used, as far as they find no neighbour to merge with."""
    machine = first_block("6.1")
    assert kswapd_runs(machine, 234, 210, 110, 85) == [0, 1, 0, 1]
    give_back(machine)
    assert kswapd_runs(machine, 234, 224 - 53 - 32) == [0, 1]


def test_6_12_takes_page_by_page_and_raises_the_watermarks_each_time():
    first, *later = kswapd_runs(lab("6.12"), 400, 270, 230, 190)
    assert first == 0
    assert min(later) >= 1  # 40 pages are more than a refill brings


@pytest.mark.parametrize("kernel", ["6.1", "6.12"])
def test_without_foreign_blocks_kswapd_waits_for_the_watermark(kernel):
    assert kswapd_runs(lab(kernel, foreign=0), 320, 290, 250, 150) == [0, 0, 0, 0]


@pytest.mark.parametrize("kernel", ["6.1", "6.12"])
def test_no_boost_with_factor_0(kernel):
    assert kswapd_runs(lab(kernel, watermark_boost_factor=0), 320, 290, 250, 150) == [0, 0, 0, 0]


def test_pages_of_foreign_blocks_return_to_them_in_6_12():
    machine = lab("6.12")
    assert kswapd_runs(machine, 200)[0] >= 1
    give_back(machine)
    # as at the beginning: with 360 left none of them was needed, with 250 some are
    first, second = kswapd_runs(machine, 360, 250)
    assert first == 0
    assert second >= 1


@pytest.mark.parametrize("kernel", ["6.1", "6.12"])
def test_a_page_block_that_is_all_free_changes_sides_unnoticed(kernel):
    """Page tables soon need more than the two foreign pages: the kernel takes the largest block, 1024 pages, and uses
    a few of them. Of the rest programs get 512 in one block without a word, about 500 when these are used up too."""
    first, second, third = kswapd_runs(lab(kernel, foreign=2), 1100, 560, 470)
    assert (first, second) == (0, 0)
    assert third == 1 if kernel == "6.1" else third >= 1


def test_the_kernel_holds_a_page_of_every_foreign_block():
    with pytest.raises(ScenarioError, match=r"zone Normal\.foreign: 513 pages.* would begin at 3070, before the zone"):
        Zone("Normal", 3072, 1024, 1024, 1024, 1024, foreign=513)
    assert Zone("Normal", 2048, 2048, 2048, 2048, 1024, foreign=513).foreign == 513
    with pytest.raises(ScenarioError, match=r"zone Normal\.foreign: 224 pages leave no room for 8 of percpu and 2"):
        Zone("Normal", 1, 4095, 4095, 4095, 3808, foreign=224, percpu=8, metadata=2)


def test_what_the_kernel_holds_lies_below_the_foreign_blocks():
    zone = Zone("Normal", 1, 8191, 8191, 8191, 4396, foreign=300, percpu=64, metadata=16)
    boot = Boot(kernel=0, slab_reclaimable=0, slab_freeable=400 * 4096, slab_unreclaimable=0)
    lab = Lab(Machine(nodes=[Node(zones=(zone,), cpus=1)], boot=boot), kernel="6.1", a=[anon(4000), file(400)])
    lab.do("a", store(range(4000)), op(Op.READ, 4000, 400))
    assert lab.counts()["slabs_scanned"] > 0
