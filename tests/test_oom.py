"""Who is killed: badness and scores against the kernel's arithmetic, policies against tables computed by hand."""

import math

import numpy as np
import pytest

from pymem import oom
from pymem.errors import ScenarioError
from pymem.oom import OomFacts

SECOND = 10**9


def facts(rows, total=4_000_000, allocating=-1, now=0):
    """Facts from one dict per task; what is left out is 0."""
    names = (
        "rss_anon",
        "rss_file",
        "rss_shmem",
        "swapents",
        "page_tables",
        "total_vm",
        "oom_score_adj",
        "nice",
        "start_ns",
        "cpu_ns",
    )
    columns = {name: np.array([row.get(name, 0) for row in rows], np.int64) for name in names}
    return OomFacts(
        name=np.array([f"t{i}" for i in range(len(rows))], object),
        pid=np.arange(1000, 1000 + len(rows)),
        total_pages=total,
        allocating=allocating,
        now_ns=now,
        **columns,
    )


#        rss  swap  tables  adj  with 2 000 400 pages in all: points = rss + swap + tables + adj * 2000
TABLE = [
    ({"rss_anon": 100, "rss_file": 20, "rss_shmem": 3, "swapents": 40, "page_tables": 5}, 168),
    ({"rss_anon": 100, "oom_score_adj": 1}, 2100),
    ({"rss_anon": 5000, "oom_score_adj": -2}, 1000),
    ({"rss_anon": 100, "oom_score_adj": -500}, -999_900),
    ({"rss_anon": 900_000, "oom_score_adj": -1000}, -1_100_000),
]


def test_badness_is_resident_swapped_and_page_tables_plus_the_adjustment():
    found = oom.badness(facts([row for row, _ in TABLE], total=2_000_400))
    assert found.tolist() == [points for _, points in TABLE]


# (1000 + badness * 1000 / total) * 2 / 3 in C's division, total 4 000 000 pages
@pytest.mark.parametrize(
    ("row", "score"),
    [
        ({}, 666),
        ({"rss_anon": 1000}, 666),
        ({"swapents": 400_000}, 733),
        ({"rss_file": 4_000_000}, 1333),
        ({"rss_anon": 4_000_000, "oom_score_adj": 1000}, 2000),
        ({"oom_score_adj": -999}, 0),
        ({"oom_score_adj": -1000, "rss_anon": 4_000_000}, 0),
        # badness -2001: -2001000 / 4000000 is 0 in C and -1 with floor; 1000 * 2 / 3 = 666
        ({"oom_score_adj": -1, "rss_anon": 1999}, 666),
    ],
)
def test_oom_score(row, score):
    assert oom.oom_score(facts([row])).tolist() == [score]


def test_the_kernel_kills_the_worst_and_of_equals_the_later():
    policy = oom.KernelBadness()
    assert policy.choose(facts([row for row, _ in TABLE], total=2_000_400)) == 1
    assert policy.choose(facts([{"rss_anon": 7}, {"swapents": 7}, {"rss_file": 6}])) == 1
    assert policy.scores(facts([row for row, _ in TABLE], total=2_000_400))[4] == -math.inf


@pytest.mark.parametrize("name", sorted(oom.POLICIES))
def test_no_policy_kills_a_protected_task(name):
    policy = oom.by_name(name)
    protected = {"rss_anon": 9999, "total_vm": 9999, "oom_score_adj": -1000}
    assert policy.choose(facts([protected] * 2, allocating=0, now=SECOND)) is None
    assert policy.choose(facts([])) is None
    small = {"rss_anon": 1, "total_vm": 1, "start_ns": SECOND}
    assert policy.choose(facts([protected, small, protected], allocating=0, now=SECOND)) == (
        None if name == "panic" else 1
    )


# Linux 2.6.24: total_vm / isqrt(CPU s / 10.24) / isqrt(isqrt(run s / 1024)), doubled if niced, shifted by oom_adj.
# 3600 s of CPU time: isqrt(351) = 18; 86400 s of run time: isqrt(isqrt(84)) = 3; 100000 // 18 // 3 = 1851.
DAY = {"total_vm": 100_000, "cpu_ns": 3600 * SECOND}


@pytest.mark.parametrize(
    ("row", "points"),
    [
        ({"total_vm": 100_000, "start_ns": 86400 * SECOND}, 100_000),
        (DAY, 1851),
        (DAY | {"nice": 1}, 3702),
        (DAY | {"nice": -5}, 1851),
        (DAY | {"oom_score_adj": 118}, 1851 << 2),  # 118 * 17 / 1000 = 2
        (DAY | {"oom_score_adj": -118}, 1851 >> 2),  # towards zero, as /proc/PID/oom_adj shows it
        (DAY | {"oom_score_adj": 1000}, 1851 << 15),  # the largest oom_adj is 15
        (DAY | {"total_vm": 0, "oom_score_adj": 59}, 1 << 1),
        (DAY | {"total_vm": 0}, 0),
    ],
)
def test_points_of_old_kernels(row, points):
    assert oom.Historical().points(facts([row], now=86400 * SECOND)).tolist() == [points]


def test_simple_policies():
    rows = [
        {"rss_anon": 50, "swapents": 60, "start_ns": 5},
        {"rss_anon": 90, "start_ns": 2},
        {"rss_anon": 80, "rss_file": 20, "rss_shmem": 10, "start_ns": 2, "oom_score_adj": 999},
        {"rss_anon": 1, "start_ns": 7, "page_tables": 500},
    ]
    assert oom.Largest().points(facts(rows)).tolist() == [110, 90, 110, 1]
    assert oom.Largest().choose(facts(rows)) == 2  # of equals the later
    assert oom.Oldest().points(facts(rows, now=10)).tolist() == [5, 8, 8, 3]
    assert oom.Oldest().choose(facts(rows, now=10)) == 2
    assert oom.Panic().choose(facts(rows)) is None


def test_the_allocating_task_unless_it_is_protected():
    rows = [{"rss_anon": 1}, {"rss_anon": 9}, {"oom_score_adj": -1000}]
    assert oom.KillAllocating().choose(facts(rows, allocating=0)) == 0
    assert oom.KillAllocating().choose(facts(rows, allocating=2)) == 1
    assert oom.KillAllocating().choose(facts(rows, allocating=-1)) == 1


def test_a_function_of_ones_own():
    policy = oom.by_name(lambda f: -f.rss)
    assert isinstance(policy, oom.Custom)
    assert policy.choose(facts([{"rss_anon": 5}, {"rss_anon": 3}, {"rss_anon": 1, "oom_score_adj": -1000}])) == 1
    assert oom.by_name(policy) is policy


@pytest.mark.parametrize("answer", [[1.0], 1.0, [1, 2, 3], [math.nan, 1], None, "ab", ["a", "b"], [[1, 2]]], ids=repr)
def test_a_function_that_gives_no_scores(answer):
    with pytest.raises(ScenarioError, match=r"^oom_policy: the function gave .*; accepted are 2 numbers, one per"):
        oom.by_name(lambda _: answer).choose(facts([{}, {}]))


def test_names_of_policies():
    for name, cls in oom.POLICIES.items():
        assert type(oom.by_name(name)) is cls
    for wrong in ("Kernel", "", 3, None):
        with pytest.raises(ScenarioError, match=r"^oom_policy: .*; accepted are"):
            oom.by_name(wrong)


def test_facts_from_the_engine():
    columns = (
        "pid",
        "rss_anon",
        "rss_file",
        "rss_shmem",
        "swapents",
        "page_tables",
        "total_vm",
        "oom_score_adj",
        "start_ns",
        "cpu_ns",
    )
    rows = [dict(zip(columns, range(k, k + len(columns)), strict=True)) for k in (0, 100)]
    found = oom.facts_from([("a", 1, rows[0]), ("b", -2, rows[1])], allocating=1, total_pages=9, now_ns=8)
    for i, column in enumerate(columns):
        assert getattr(found, column).tolist() == [i, 100 + i]
    assert (found.name.tolist(), found.nice.tolist()) == (["a", "b"], [1, -2])
    assert (found.total_pages, found.allocating, found.now_ns) == (9, 1, 8)
    assert found.rss.tolist() == [1 + 2 + 3, 101 + 102 + 103]


# ---- the report -------------------------------------------------------------------------------------------

NODE = dict.fromkeys(
    (
        "nr_active_anon nr_inactive_anon nr_isolated_anon nr_active_file nr_inactive_file nr_isolated_file "
        "nr_unevictable nr_dirty nr_writeback nr_slab_reclaimable nr_slab_unreclaimable nr_mapped "
        "nr_shmem nr_page_table_pages "
        "nr_file_pages nr_swapcached"
    ).split(),
    0,
) | {"nr_active_anon": 11, "nr_file_pages": 77, "nr_swapcached": 2}
ZONE = {
    "node": 0,
    "idx": 1,
    "free": 30,
    "boost": 0,
    "min": 10,
    "low": 12,
    "high": 14,
    "present": 1000,
    "managed": 900,
    "lru": [1, 2, 3, 4, 5],
    "write_pending": 6,
    "pcp": [{"count": 7}, {"count": 8}],
    "protection": [0, 0, 9],
    "free_area": [2, 2, 0, 3],
}


def report(choice):
    rows = [
        {"rss_anon": 10, "rss_file": 20, "rss_shmem": 3, "swapents": 4, "page_tables": 5, "total_vm": 600},
        {"oom_score_adj": -1000},
    ]
    return oom.oom_report(
        facts(rows), choice, asker=("app", 5), node_stats=NODE, zones=[ZONE], swap={"free": 1, "total": 25}
    ).splitlines()


def test_the_report_has_the_kernels_layout():
    lines = report(0)
    assert lines[0].endswith("order=0, oom_score_adj=5")
    assert lines[0].startswith("app invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), ")
    assert lines[1:3] == ["Mem-Info:", "active_anon:11 inactive_anon:0 isolated_anon:0"]
    assert " free:30 free_pcp:15 free_cma:0" in lines
    assert (
        "Node 0 DMA32 free:120kB boost:0kB min:40kB low:48kB high:56kB active_anon:8kB inactive_anon:4kB "
        "active_file:16kB inactive_file:12kB unevictable:20kB writepending:24kB present:4000kB "
        "managed:3600kB free_pcp:60kB"
    ) in lines
    assert "lowmem_reserve[]: 0 0 9" in lines
    assert "Node 0 DMA32: 2*4kB 2*8kB 0*16kB 3*32kB = 120kB" in lines
    for line in (
        "77 total pagecache pages",
        "2 pages in swap cache",
        "Free swap  = 4kB",
        "Total swap = 100kB",
        "1000 pages RAM",
        "100 pages reserved",
    ):
        assert line in lines
    head = lines.index("Tasks state (memory values in pages):")
    # "[%7d] %5d %5d %8lu %8lu %8lu %8lu %9lu %8ld %8lu         %5hd %s"
    numbers = [(600, 8), (33, 8), (10, 8), (20, 8), (3, 9), (5 * 4096, 8), (4, 8)]
    columns = " ".join(str(number).rjust(width) for number, width in numbers)
    assert lines[head + 2] == f"[   1000]     0  1000 {columns}             0 t0"
    assert lines[head + 3].endswith("        -1000 t1")
    assert lines[-2].endswith("global_oom,task_memcg=/,task=t0,pid=1000,uid=0")
    assert lines[-1] == (
        "Out of memory: Killed process 1000 (t0) total-vm:2400kB, anon-rss:40kB, file-rss:80kB, shmem-rss:12kB, UID:0 "
        "pgtables:20kB oom_score_adj:0"
    )


def test_without_a_victim_the_report_ends_in_the_panic():
    lines = report(None)
    assert lines[-1] == "Kernel panic - not syncing: System is deadlocked on memory"
    assert not any("Killed process" in line for line in lines)
