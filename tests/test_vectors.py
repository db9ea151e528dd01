"""Single formulas of the engine against vectors.

The vectors were computed by an independent implementation of the formulas in the kernel's sources (6.12), some
read off live machines; where none exist, the expected value is worked out beside the test.
"""

import math

import numpy as np
import pytest
from lab import MS, NO_SLAB, Lab, anon, file, machine, sleep, zone

from memcore import _testing as door
from pymem import Machine, oom
from pymem.result import bucket_edges
from pymem.topology import Node

pytestmark = pytest.mark.engine

GIB_KB = 1 << 20
GIB_PAGES = 1 << 18

# ---- watermarks and reserves --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "gib, kb",
    [(1, 4096), (2, 5792), (4, 8192), (8, 11585), (16, 16384), (32, 23170), (64, 32768), (128, 46340)],
)
def test_min_free_kbytes(gib, kb):
    assert door.py_min_free_kbytes(gib * GIB_KB) == kb


@pytest.mark.parametrize("kb, expected", [(16 << 10, 512), (128 << 10, 1448), (1, 128), (4096 * GIB_KB, 262144)])
def test_min_free_kbytes_is_bounded(kb, expected):
    assert door.py_min_free_kbytes(kb) == expected


@pytest.mark.parametrize("x", [0, 1, 2, 3, 4, 15, 16, 17, 2**31, 2**52 - 1, 2**62 - 1, 2**62])
def test_isqrt(x):
    assert door.py_isqrt(x) == math.isqrt(x)


# what a PC with three zones shows, and one with two nodes (four zones): rec = 512 * zones * 11 pages
@pytest.mark.parametrize(
    "own, zones, lowmem, kb",
    [
        (5792, 3, 2_087_477, 67584),
        (8192, 4, 4_000_000, 90112),
        (4096, 3, 100_000, 20000),  # bounded by a 20th of memory: 5000 pages
        (30000, 3, 100_000, 30000),
    ],
)
def test_huge_pages_raise_min_free_kbytes(own, zones, lowmem, kb):
    assert door.py_thp_min_free_kbytes(own, zones, lowmem) == kb


@pytest.mark.parametrize(
    "managed, marks",
    [
        (3840, (31, 38, 45, 52)),
        (772_917, (6255, 7818, 9381, 10944)),
        (1_310_720, (10608, 13260, 15912, 18564)),
    ],
)
def test_watermarks_of_a_live_machine(managed, marks):
    assert door.py_wmarks(managed, 2_087_477, 67584, 10) == marks


def test_scale_factor_widens_the_gap():
    # 10 % of 100000 is more than a quarter of min (1024 kB * 100000/100000 = 256 pages)
    assert door.py_wmarks(100_000, 100_000, 1024, 1000) == (256, 10256, 20256, 30256)


# min: managed / 1024 between 32 and 128; the gap as in any zone, here a quarter of 256 * managed / 100000
@pytest.mark.parametrize(
    "managed, marks", [(10_000, (32, 42, 52, 62)), (50_000, (48, 98, 148, 198)), (200_000, (128, 328, 528, 728))]
)
def test_watermarks_of_movable_memory(managed, marks):
    assert door.py_wmarks(managed, 100_000, 1024, 10, True) == marks


@pytest.mark.parametrize(
    "kernel, normal, movable", [("6.12", (80, 100, 120), (32, 52, 72)), ("6.1", (40, 50, 60), (40, 50, 60))]
)
def test_movable_memory_has_no_part_in_the_reserve(kernel, normal, movable):
    """320 kB are 80 pages: of the normal zone alone (6.12), or of both (6.1)."""
    zones = (zone(2000, 1), zone(2000, 1 << 20, "Movable"))
    where = Machine(nodes=(Node(zones=zones, cpus=1),), boot=NO_SLAB)
    lab = Lab(where, kernel=kernel, a=[anon(1)], vm={"min_free_kbytes": 320})
    assert [tuple(z[k] for k in ("min", "low", "high")) for z in lab.engine.zones()] == [normal, movable]
    assert lab.engine.total_pages == 4000


@pytest.mark.parametrize(
    "zone_idx, expected",
    [
        (0, [0, 772_917 // 256, (772_917 + 1_310_720) // 256, (772_917 + 1_310_720) // 256]),
        (1, [0, 0, 1_310_720 // 256, 1_310_720 // 256]),
        (2, [0, 0, 0, 0]),
    ],
)
def test_lowmem_reserve(zone_idx, expected):
    managed = [3840, 772_917, 1_310_720, 0]
    assert door.py_lowmem_reserve(managed, [256, 256, 32, 0], zone_idx) == expected


def test_no_reserve_without_a_ratio():
    assert door.py_lowmem_reserve([100, 200, 300, 0], [0, 0, 0, 0], 0) == [0, 0, 0, 0]


@pytest.mark.parametrize("managed, batch", [(GIB_PAGES, 63), (8 * GIB_PAGES, 63), (3840, 1), (0, 1)])
def test_batch_of_the_per_cpu_lists(managed, batch):
    assert door.py_batchsize(managed) == batch


def test_marks_of_a_machine_follow_from_its_zones():
    """Two zones share min_free_kbytes in proportion; the lower one keeps a reserve from requests of the upper."""
    zones = (zone(3000, 1, "DMA32"), zone(1000, 1 << 20, "Normal"))
    lab = Lab(Machine(nodes=(Node(zones=zones, cpus=1),), boot=NO_SLAB), a=[anon(1)],
              vm={"min_free_kbytes": 320})  # fmt: skip
    low, high = lab.engine.zones()
    # 80 pages: 60 and 20; gaps a quarter of that (more than 0.1 %)
    assert [low[k] for k in ("min", "low", "high", "promo")] == [60, 75, 90, 105]
    assert [high[k] for k in ("min", "low", "high", "promo")] == [20, 25, 30, 35]
    assert low["protection"] == [0, 0, 1000 // 256, 1000 // 256]
    assert lab.engine.total_pages == 4000


# ---- scan balance -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "swappiness, anon_cost, file_cost, ap, fp",
    [
        (60, 0, 0, 60, 140), (60, 100, 100, 119, 279), (60, 1000, 0, 89, 419), (60, 0, 1000, 179, 209),
        (60, 300, 900, 143, 239), (100, 300, 900, 239, 171), (200, 10, 10, 393, 0), (1, 500, 500, 1, 397),
        (0, 5, 5, 0, 387),
    ],
)  # fmt: skip
def test_shares_of_anon_and_file(swappiness, anon_cost, file_cost, ap, fp):
    assert door.py_fractions(swappiness, anon_cost, file_cost) == (ap, fp)


@pytest.mark.parametrize("cpus, needed", [(1, 130), (2, 195), (8, 585)])
def test_statistics_are_summed_up_for_more_batches_than_cpus(cpus, needed):
    """A batch is complete with its 65th update."""
    assert not door.py_stats_due(needed - 1, cpus)
    assert door.py_stats_due(needed, cpus)


def test_scan_counts_of_a_million_pages():
    ap, fp = door.py_fractions(60, 100, 100)
    scan = 1_000_000 >> 12
    assert (scan, scan * ap // (ap + fp), scan * fp // (ap + fp)) == (244, 72, 171)


@pytest.mark.parametrize(
    "gib, ratio",
    [(0.5, 1), (1, 3), (2, 4), (4, 6), (10, 10), (16, 12), (64, 25), (100, 31), (256, 50), (1024, 101)],
)
def test_inactive_ratio(gib, ratio):
    """Low means that inactive * ratio < active: looked for where it turns."""
    total = int(gib * GIB_PAGES)
    inactive = total // (ratio + 1)  # the largest with inactive * ratio <= active
    assert not door.py_inactive_is_low(inactive + 1, total - inactive - 1)
    assert door.py_inactive_is_low(inactive - 1, total - inactive + 1)


@pytest.mark.parametrize(
    "targets, remaining, after",
    [
        ([100, 50, 400, 300], [60, 20, 300, 200], [0, 0, 92, 44]),
        ([400, 100, 100, 50], [300, 80, 40, 10], [168, 47, 0, 0]),
    ],
)
def test_stop_rule(targets, remaining, after):
    assert door.py_stop_rule(targets, remaining) == after


def test_costs_halve_when_they_exceed_a_quarter_of_the_lists():
    anon_, file_ = False, True
    events = [(file_, 0, 20), (file_, 32, 10), (anon_, 10, 100), (file_, 0, 3000), (anon_, 100, 0), (file_, 1, 1)]
    states = [(0, 20), (0, 1054), (420, 1054), (210, 2027), (1705, 1013), (1705, 1046)]
    assert door.py_note_cost(16384, events) == states


def test_costs_of_6_1_are_pages_of_io():
    # without weights and rotations: 32, then 10; 4096 pages of lists allow 1024
    assert door.py_note_cost(4096, [(True, 32, 10), (False, 10, 100), (True, 0, 50)], True) == [
        (0, 32), (10, 32), (10, 32),
    ]  # fmt: skip


# ---- refaults -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file, can_swap, room",
    [(True, False, 8), (True, True, 8 + 1 + 2), (False, True, 4 + 8 + 2), (False, False, 4 + 8)],
)
def test_refault_distance(file, can_swap, room):
    """A page comes back within the room that the other lists could have given it, or it does not.

    Lists: 1 inactive anon, 2 active anon, 4 inactive file, 8 active file. The eviction itself ages the list by one.
    """
    assert door.py_refault(room - 1, [1, 2, 4, 8], file, can_swap)
    assert not door.py_refault(room, [1, 2, 4, 8], file, can_swap)


# ---- readahead ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prev, cur, hits, most, prev_win, window",
    [
        (10, 11, 0, 8, 0, 2), (10, 20, 0, 8, 8, 4), (10, 20, 0, 8, 4, 2), (10, 20, 1, 8, 0, 4),
        (10, 20, 3, 8, 8, 8), (10, 20, 9, 8, 8, 8), (10, 9, 0, 8, 2, 2), (10, 20, 0, 8, 0, 1),
    ],
)  # fmt: skip
def test_swap_readahead_window(prev, cur, hits, most, prev_win, window):
    assert door.py_swapin_nr_pages(prev, cur, hits, most, prev_win) == window


# get_init_ra_size: the request rounded up to a power of two; times 4 up to max/32, times 2 up to max/4, else max
@pytest.mark.parametrize(
    "request_pages, most, first",
    [(1, 32, 4), (2, 32, 4), (3, 32, 8), (4, 32, 8), (8, 32, 16), (9, 32, 32), (64, 32, 32), (4, 128, 16), (1, 8, 2)],
)
def test_first_window_of_a_stream(request_pages, most, first):
    assert door.py_ra_init_size(request_pages, most) == first


# get_next_ra_size: times 4 below max/16, times 2 up to max/2, else max
@pytest.mark.parametrize(
    "size, most, following",
    [(1, 32, 4), (2, 32, 4), (4, 32, 8), (16, 32, 32), (17, 32, 32), (7, 128, 28), (8, 128, 16)],
)
def test_following_windows(size, most, following):
    assert door.py_ra_next_size(size, most) == following


# ---- dirty pages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dirty, ratio",
    [
        (150_000, 2045), (160_000, 1244), (170_000, 1031), (175_000, 1024), (180_000, 1016), (190_000, 803),
        (199_999, 2), (200_000, 0),
    ],
)  # fmt: skip
def test_pos_ratio(dirty, ratio):
    assert door.py_pos_ratio(100_000, 200_000, dirty) == ratio


# dirty_poll_interval: 1 << (ilog2(thresh - dirty) >> 1)
@pytest.mark.parametrize("room, pages", [(0, 1), (-5, 1), (1, 1), (3, 1), (4, 2), (1024, 32), (4095, 32), (4096, 64)])
def test_poll_interval(room, pages):
    assert door.py_dirty_poll_interval(100_000 - room, 100_000) == pages


def test_dirty_thresholds_of_an_idle_machine():
    """Dirtyable: 4096 free, without the reserve (high, 96 pages), plus 1. Ratios in 1/4096: 819 and 409.

    The flusher looks at them first; there is one where there is a file.
    """
    lab = Lab(machine(4096), a=[file(1)])
    lab.do("a", sleep(MS))
    dirtyable = 4096 - 96 + 1
    assert lab.engine.thresholds() == {
        "dirty": dirtyable * 819 // 4096, "background": dirtyable * 409 // 4096, "limit": dirtyable * 819 // 4096,
    }  # fmt: skip


# ---- pressure -----------------------------------------------------------------------------------------------


def test_psi_averages():
    expected = [
        (18.11, 3.27, 0.68), (32.94, 6.43, 1.36), (45.09, 9.49, 2.03), (55.04, 12.45, 2.70), (63.18, 15.32, 3.37),
        (51.73, 14.82, 3.34), (42.36, 14.33, 3.32), (34.69, 13.86, 3.30), (28.40, 13.41, 3.28), (23.26, 12.97, 3.25),
    ]  # fmt: skip
    got = door.py_psi([1.0] * 5 + [0.0] * 5)
    assert [tuple(round(x, 2) for x in row) for row in got] == expected


# ---- OOM scores ---------------------------------------------------------------------------------------------


def facts(*, total=4_000_000, **columns):
    n = len(next(iter(columns.values())))
    zero = np.zeros(n, np.int64)
    known = dict.fromkeys(
        "pid rss_anon rss_file rss_shmem swapents page_tables total_vm oom_score_adj nice start_ns cpu_ns".split(), zero
    )
    known |= {name: np.asarray(values, np.int64) for name, values in columns.items()}
    return oom.OomFacts(
        name=np.array([f"t{i}" for i in range(n)], object), total_pages=total, allocating=-1,
        now_ns=86_400 * 10**9, **known,
    )  # fmt: skip


def test_oom_score():
    badness = [0, 1000, 400_000, 4_000_000, 8_000_000]
    assert oom.oom_score(facts(rss_anon=badness)).tolist() == [666, 666, 733, 1333, 2000]
    # -999/1000 of 4 million pages, and a task that is never killed
    assert oom.badness(facts(rss_anon=[0], oom_score_adj=[-999])).tolist() == [-3_996_000]
    assert oom.oom_score(facts(rss_anon=[0, 5], oom_score_adj=[-999, -1000])).tolist() == [0, 0]


def test_badness_adds_what_killing_would_free():
    f = facts(rss_anon=[10], rss_file=[20], rss_shmem=[30], swapents=[40], page_tables=[5], oom_score_adj=[2])
    assert oom.badness(f).tolist() == [10 + 20 + 30 + 40 + 5 + 2 * 4000]


def test_badness_of_2_6_24():
    # 100000 pages that ran for a day and used an hour of CPU: // isqrt(360000 >> 10) // isqrt(isqrt(86400 >> 10)),
    # which is 18 and 3 (vector: 3702 when niced)
    hour = 3600 * 10**9
    points = oom.Historical().points(facts(total_vm=[100_000, 100_000], cpu_ns=[hour, hour], nice=[0, 5]))
    assert points.tolist() == [1851, 3702]
    fresh = facts(total_vm=[100_000], start_ns=[86_400 * 10**9])
    assert oom.Historical().points(fresh).tolist() == [100_000]


# ---- histograms ---------------------------------------------------------------------------------------------


def test_latency_buckets_meet_their_edges():
    edges = bucket_edges(320)
    for number in [0, 1, 7, 8, 9, 15, 16, 100, 200, 319]:
        assert door.py_latency_bucket(int(edges[number])) == number
        if number > 0:
            assert door.py_latency_bucket(int(edges[number]) - 1) == number - 1
    assert np.all(np.diff(edges[:320]) > 0)
    assert np.all(np.diff(edges[9:]) / edges[9:-1] <= 0.125)
