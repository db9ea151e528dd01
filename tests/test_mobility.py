"""Page blocks of unmovable memory: when programs get their pages, and what the kernel does to make that rarer."""

import pytest
from lab import MS, NO_SLAB, Lab, anon, op, sleep, store

from pymem import Machine
from pymem.records import Op
from pymem.topology import Node, Zone

PAGES = 4096
FOREIGN = 300  # far above HIGH, 96 pages: when all others are used up, no watermark is near


def lab(kernel, foreign=FOREIGN, **vm):
    zone = Zone("Normal", 1, PAGES, PAGES, PAGES, PAGES, foreign=foreign)
    return Lab(Machine(nodes=[Node(zones=(zone,), cpus=1)], boot=NO_SLAB), kernel=kernel, vm=vm, a=(anon(PAGES),))


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


def test_6_1_makes_the_free_pages_of_the_blocks_movable_at_the_first_fallback():
    assert kswapd_runs(lab("6.1"), 320, 290, 250, 150) == [0, 1, 0, 0]


def test_6_12_takes_page_by_page_and_raises_the_watermarks_each_time():
    first, *later = kswapd_runs(lab("6.12"), 400, 310, 270, 230, 190)
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
    machine.do("a", op(Op.MUNMAP, 0, PAGES), op(Op.MMAP, 0, PAGES))
    # as at the beginning: with 360 left none of them was needed, with 250 some are
    first, second = kswapd_runs(machine, 360, 250)
    assert first == 0
    assert second >= 1
