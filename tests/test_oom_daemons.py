"""Killers in user space: each decision against a table worked out by hand from the sources of the daemon."""

import numpy as np
import pytest
from test_oom import facts

from pymem.oom import EarlyOom, Lmkd, System, SystemdOomd
from pymem.oom.lmkd import PsiTrigger, watermark

MS, SECOND = 10**6, 10**9
GIB = 1 << 20  # KiB
CALM = {"total": 0, "avg": [0.0, 0.0, 0.0]}
#: free 500 pages: above high + protection = 300 + 50
ZONE = {"free": 500, "min": 100, "low": 200, "high": 300, "protection": [0, 50, 20], "managed": 100_000}


def system(now=0, *, mem=50, swap=50, some=0, full=0, full_avg=0.0, free=500, **vmstat):
    """A machine of 1 GiB and 1 GiB of swap; `mem` and `swap` percent available and free, stalls in ms."""
    counters = "pgscan_direct pgscan_kswapd workingset_refault_file nr_inactive_file nr_active_file".split()
    available = GIB * mem // 100
    return System(
        now_ns=now,
        meminfo={
            "MemTotal": GIB, "MemAvailable": available, "AnonPages": GIB - available, "SwapTotal": GIB,
            "SwapFree": GIB * swap // 100, "MemFree": 4 * free, "Cached": 0, "Buffers": 0, "Shmem": 0, "Unevictable": 0,
        },
        vmstat={**dict.fromkeys(counters, 0), **vmstat},
        psi={"memory_some": {**CALM, "total": some * MS},
             "memory_full": {"total": full * MS, "avg": [full_avg, 0.0, 0.0]}},
        zones=[{**ZONE, "free": free}],
    )  # fmt: skip


THREE = facts([{"rss_anon": 10}, {"rss_anon": 30}, {"rss_anon": 20}])


# ---- earlyoom ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mem", "swap", "signal"),
    [
        (50, 50, None),
        (10, 11, None),  # both have to be low
        (11, 10, None),
        (10, 10, "SIGTERM"),
        (5, 6, "SIGTERM"),
        (6, 5, "SIGTERM"),
        (5, 5, "SIGKILL"),
        (0, 0, "SIGKILL"),
    ],
)
def test_limits_of_earlyoom(mem, swap, signal):
    # whole percents of 1 GiB are rounded down to KiB, so they are at or below the limit
    kill = EarlyOom().check(THREE, system(mem=mem, swap=swap))
    assert (kill.signal if kill else None) == signal


def test_earlyoom_without_swap_looks_at_memory_alone():
    machine = system(mem=4)
    machine.meminfo.update(SwapTotal=0, SwapFree=0)
    assert EarlyOom().check(THREE, machine).signal == "SIGKILL"


# ms = KiB of memory above 10 % of (available + anonymous) / 6000 + KiB of swap above 10 % / 800, 100 to 1000
@pytest.mark.parametrize(
    ("mem", "swap", "ms"),
    [
        (10, 10, 100),
        (0, 0, 100),
        (5, 20, 131),  # 10 % of 1048576 = 104857 KiB of swap: 104857 // 800 = 131
        (50, 10, 100),  # 419430 // 6000 = 69
        (100, 15, 222),  # 943718 // 6000 = 157, 52428 // 800 = 65
        (50, 50, 593),  # 419430 // 6000 + 419430 // 800 = 69 + 524
        (100, 100, 1000),  # 157 + 1179
    ],
)
def test_how_long_earlyoom_sleeps(mem, swap, ms):
    daemon = EarlyOom()
    daemon.check(facts([]), system(mem=mem, swap=swap))  # nobody to kill
    assert daemon.interval_ns() // MS == pytest.approx(ms, abs=1)  # percents of 1 GiB are not whole KiB


def test_whom_earlyoom_kills():
    """The highest oom_score, of equals the larger resident set, of those the lower pid; -1000 never."""
    rows = [
        {"rss_anon": 900_000, "oom_score_adj": -1000},
        {"rss_anon": 100, "swapents": 7900},  # badness 8000 of 4 million: 1000 + 2 = 1002, * 2 / 3 = 668
        {"rss_anon": 8000},
        {"rss_anon": 8000},
        {"rss_anon": 5900},  # 1000 + 1 = 1001: 667
    ]
    kill = EarlyOom().check(facts(rows), system(mem=3, swap=3))
    assert kill.victim == 2
    assert kill.scores.tolist() == [-np.inf, 668, 668, 668, 667]


def test_earlyoom_waits_for_its_victim_and_escalates():
    daemon = EarlyOom()
    assert daemon.check(THREE, system(mem=10, swap=10)).signal == "SIGTERM"
    assert daemon.interval_ns() == 100 * MS
    assert daemon.check(THREE, system(mem=9, swap=9)) is None  # still there, not worse
    kill = daemon.check(THREE, system(mem=5, swap=5))
    assert (kill.victim, kill.signal) == (1, "SIGKILL")
    assert daemon.check(THREE, system(mem=1, swap=1)) is None  # once is enough
    gone = facts([{"rss_anon": 10}])
    assert daemon.check(gone, system(mem=1, swap=1)) is None  # sees that it is gone
    assert daemon.check(gone, system(mem=1, swap=1)).victim == 0


def test_earlyoom_gives_up_waiting_after_ten_seconds():
    daemon = EarlyOom()
    daemon.check(THREE, system(mem=3, swap=3))
    polls = 1
    while daemon.check(THREE, system(mem=3, swap=3)) is None:
        polls += 1
    assert polls == 101  # 100 polls of 100 ms, the last of which gives up, and then the next kill


# ---- systemd-oomd ------------------------------------------------------------------------------------------

SWAPPERS = facts([{"swapents": 13_107}, {"swapents": 13_108}, {"swapents": 20_000, "oom_score_adj": -1000}])


@pytest.mark.parametrize(
    ("mem", "swap", "kills"), [(9, 9, True), (11, 9, False), (9, 11, False), (50, 5, False), (0, 0, True)]
)
def test_oomd_kills_when_memory_and_swap_are_nearly_full(mem, swap, kills):
    kill = SystemdOomd().check(SWAPPERS, system(150 * MS, mem=mem, swap=swap))
    assert (kill is not None) == kills
    # more than 5 % of 262144 slots, 13107.2: the second just has it, the third is omitted
    assert kill is None or (kill.victim, kill.signal) == (1, "SIGKILL")


def test_oomd_spares_who_uses_little_swap():
    small = facts([{"swapents": 13_107, "rss_anon": 10**6}])
    assert SystemdOomd().check(small, system(150 * MS, mem=1, swap=1)) is None


def test_oomd_does_nothing_about_swap_where_there_is_none():
    machine = system(150 * MS, mem=1)
    machine.meminfo.update(SwapTotal=0, SwapFree=0)
    assert SystemdOomd().check(SWAPPERS, machine) is None


def under_pressure(daemon, seconds, avg, scan=True):
    """One look per second; the seconds at which it killed."""
    killed = []
    for second in seconds:
        machine = system(second * SECOND, full_avg=avg, pgscan_direct=second if scan else 7)
        kill = daemon.check(THREE, machine)
        if kill:
            killed.append((second, kill.victim))
    return killed


def test_oomd_kills_the_largest_after_thirty_seconds_of_pressure():
    """Above the limit from second 1 on, so at 31; then 15 s pass by, and pressure is still there."""
    assert under_pressure(SystemdOomd(), range(1, 64), 60.5) == [(31, 1), (46, 1), (61, 1)]
    assert under_pressure(SystemdOomd(), range(1, 64), 60.0) == []


def test_oomd_begins_anew_when_pressure_was_below_the_limit():
    daemon = SystemdOomd()
    assert under_pressure(daemon, range(1, 31), 70) == []
    assert under_pressure(daemon, [31], 10) == []
    assert under_pressure(daemon, range(32, 65), 70) == [(62, 1)]


def test_oomd_sees_no_sense_in_a_kill_without_reclaim():
    """Reclaim was last seen at second 1, and 30 s later it may still kill: at 31, not at 46."""
    assert under_pressure(SystemdOomd(), range(1, 64), 70, scan=False) == [(31, 1)]
    daemon = SystemdOomd(pressure_duration="40s")
    assert under_pressure(daemon, range(1, 64), 70, scan=False) == []


def test_oomd_looks_at_swap_every_150_ms_and_at_pressure_every_second():
    daemon, now, looks = SystemdOomd(), 0, []
    while now < 1_300 * MS:
        now += daemon.interval_ns()
        looks.append(now // MS)
        daemon.check(THREE, system(now))
    assert looks == [150, 300, 450, 600, 750, 900, 1000, 1050, 1200, 1350]


# ---- lmkd --------------------------------------------------------------------------------------------------


def test_psi_trigger():
    """70 ms in a window of 1 s: totals in ms at times in ms, and whether the kernel signals."""
    trigger = PsiTrigger(70 * MS)
    looks = [
        (100, 30, False),
        (200, 69, False),
        (300, 70, True),
        (400, 500, False),  # at most once in a window
        (1200, 500, False),  # 1200 > 1000: a new window begins with growth 500 before it, but 1200 < 300 + 1000
        (1300, 500, True),  # 500 * (1000 - 100) / 1000 = 450 of it still counts
        (2200, 500, False),
        (2300, 520, False),  # 20 + nothing: the window of 1200 had no growth
    ]
    assert [(now, total, trigger.update(now * MS, total * MS)) for now, total, _ in looks] == looks


def test_watermarks_include_the_reserves():
    assert [watermark(system(free=free)) for free in (149, 150, 249, 250, 349, 350)] == [0, 1, 1, 2, 2, 3]


APPS = facts(
    [
        {"rss_anon": 1, "oom_score_adj": 900},
        {"rss_anon": 9, "oom_score_adj": 900},
        {"rss_anon": 5, "oom_score_adj": 200},
        {"rss_anon": 8, "oom_score_adj": 200},
        {"rss_anon": 99, "oom_score_adj": 0},
        {"rss_anon": 999, "oom_score_adj": -800},
    ]
)


def look(tasks, *machines, **settings):
    """What lmkd does at the last of several looks, 100 ms apart unless told otherwise."""
    daemon, kill = Lmkd(**settings), None
    for i, machine in enumerate(machines, 1):
        kill = daemon.check(tasks, system(machine.pop("now", 100 * i * MS), **machine))
    return kill


LOW = {"some": 80, "swap": 5, "free": 200, "pgscan_kswapd": 10}  # an event, swap low, free below low


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, "free memory is below low and swap is low"),
        ({"some": 60}, None),  # no event
        ({"free": 300}, None),  # above low
        ({"swap": 15}, None),
        ({"pgscan_kswapd": 0}, None),  # neither reclaim nor refaults: not looked at further
        ({"swap": 15, "full": 700}, "nobody gets on"),
        ({"swap": 15, "full": 690}, None),
        ({"swap": 15, "workingset_refault_file": 2, "free": 200},
         "free memory is below low and the page cache thrashes (200 %)"),
        ({"swap": 15, "workingset_refault_file": 1, "free": 200}, None),  # 100 %: at the limit
        ({"swap": 15, "workingset_refault_file": 2, "free": 400}, None),
        ({"swap": 15, "workingset_refault_file": 2, "free": 400, "pgscan_direct": 1},
         "direct reclaim and the page cache thrashes (200 %)"),
        ({"workingset_refault_file": 2, "free": 400}, "swap is low and the page cache thrashes (200 %)"),
    ],
)  # fmt: skip
def test_rules_of_lmkd(change, reason):
    """At the first look there is no base yet: thrashing is 100 % per refault."""
    kill = look(APPS, {**LOW, **change})
    assert (kill.reason if kill else None) == reason
    assert kill is None or (kill.victim, kill.signal) == (0, "SIGKILL")


def test_lmkd_takes_the_least_important_and_there_the_first():
    assert look(APPS, dict(LOW)).victim == 0
    assert look(APPS, dict(LOW), kill_heaviest_task=True).victim == 1
    assert look(APPS, dict(LOW)).scores.tolist() == [900, 900] + [-np.inf] * 4


def test_lmkd_spares_perceptible_apps_unless_free_memory_is_below_min():
    perceptible = facts([{"rss_anon": 5, "oom_score_adj": 200}, {"rss_anon": 8, "oom_score_adj": 200}])
    assert look(perceptible, dict(LOW)) is None
    assert look(perceptible, {**LOW, "free": 100}).victim == 1  # from 200 down the heaviest
    assert look(perceptible, {**LOW, "workingset_refault_file": 3}).victim == 1  # 300 %: critical
    stalled = {**LOW, "full_avg": 40.0}
    assert look(perceptible, stalled, stall_limit_critical=30).victim == 1
    assert look(perceptible, stalled, stall_limit_critical=50) is None


def test_lmkd_never_kills_below_zero():
    assert look(facts([{"rss_anon": 9, "oom_score_adj": -1}]), {**LOW, "free": 100}) is None


def test_lmkd_polls_after_an_event_and_kills_again_when_it_did_not_help():
    daemon = Lmkd()
    assert daemon.interval_ns() == 100 * MS
    assert daemon.check(APPS, system(100 * MS, **LOW)).victim == 0
    assert daemon.interval_ns() == 10 * MS  # a kill: it looks closely
    # the victim is still there: nothing for 100 ms
    assert daemon.check(APPS, system(110 * MS, **{**LOW, "free": 100, "pgscan_kswapd": 20})) is None
    assert daemon.interval_ns() == 10 * MS
    left = facts([{"rss_anon": 3, "oom_score_adj": 100}])
    left.pid[0] = 5000
    kill = daemon.check(left, system(120 * MS, **{**LOW, "swap": 50, "free": 100, "pgscan_kswapd": 30}))
    assert kill.reason == "free memory is below min even after a kill"


def test_lmkd_stops_polling_a_second_after_the_event():
    daemon = Lmkd()
    quiet = {**LOW, "swap": 50}
    assert daemon.check(APPS, system(100 * MS, **quiet)) is None
    times = []
    now = 100 * MS
    for _ in range(12):
        now += daemon.interval_ns()
        times.append(now // MS)
        daemon.check(APPS, system(now, **quiet))
    assert times == list(range(200, 1400, 100))  # swap is not low: every 100 ms, as the triggers


def test_thrashing_is_halved_for_every_second():
    """Base 0 pages at first; the reset at 1.1 s counts 90 refaults of 1 page: 9000 %, kept as it is over the limit."""
    daemon = Lmkd()
    assert daemon._thrashing(500 * MS, 90, 99) == 9000
    assert daemon._thrashing(1100 * MS, 90, 99) == 9000
    assert daemon._thrashing(1200 * MS, 140, 99) == 50 + 9000  # 50 refaults of 99 + 1 pages
    assert daemon._thrashing(2150 * MS, 140, 99) == 25  # below the limit: 50 % halved
    assert daemon._thrashing(6200 * MS, 440, 99) == 300 >> 4


@pytest.mark.parametrize(("free", "lowest"), [(100, 0), (449, 0), (450, 200), (569, 200), (570, None)])
def test_levels_of_minfree(free, lowest):
    """Free less the reserve of 350 pages, against 100 and 220 pages; no page cache."""
    kill = look(APPS, {**LOW, "free": free}, minfree=[[200, "880KiB"], [0, "400KiB"]])
    if lowest is None:
        assert kill is None
    else:
        assert kill.reason == f"free memory and page cache are below the level of {lowest}"
        assert APPS.oom_score_adj[np.isfinite(kill.scores)].min() == lowest
