"""The words of a report: each verdict from the figures that call for it, and advice that fits."""

from dataclasses import replace

import numpy as np
import pytest
from results import calm, killed, numa, thrashing

from pymem.reports.diagnosis import VERDICTS, Storm, _listed, _storm, diagnose, machine_line
from pymem.reports.summary import render
from pymem.result import OomKill
from pymem.tunables import TUNABLES, canonical


def changed(result, **counters):
    """A result with other counters; `stalls`, `status`, `swap` and `oom_kills` are taken as they are."""
    same = {k: counters.pop(k) for k in ("status", "swap", "oom_kills", "timeline") if k in counters}
    stalls = counters.pop("stalls", {})
    tasks = {n: replace(t, stalls={**dict.fromkeys(t.stalls, 0), **stalls}) for n, t in result.tasks.items()}
    return replace(result, vmstat={**result.vmstat, **counters}, tasks=tasks, **same)


def test_the_verdicts_of_real_runs():
    assert diagnose(calm()).verdict == "calm"
    assert diagnose(thrashing()).verdict == "thrash"
    assert diagnose(killed()).verdict == "oom"
    assert diagnose(killed()).headline.startswith("Memory ran out: the OOM killer ended leak, first at ")


def test_a_calm_run_has_nothing_to_say():
    found = diagnose(calm())
    assert (found.findings, found.advice, found.level) == ([], [], 0)


def test_thrashing_needs_both_refaults_and_waiting():
    base, life = calm(), calm().tasks["a"].end_ns
    reclaimed = {"pgsteal_kswapd": 1000, "pgsteal_direct": 0}
    for refaults, waited, verdict in ((500, 0.25, "thrash"), (499, 0.25, "calm"), (500, 0.24, "calm")):
        stalls = {"swap_in": int(waited * life) + 1}
        result = changed(base, **reclaimed, workingset_refault_anon=refaults, stalls=stalls)
        assert diagnose(result).verdict == verdict


def test_direct_reclaim_is_a_headline_from_one_percent_of_the_time_of_a_task():
    base, life = calm(), calm().tasks["a"].end_ns
    for share, verdict in ((0.011, "stalls"), (0.009, "reclaim")):
        result = changed(base, allocstall_normal=3, stalls={"direct_reclaim": int(share * life)})
        assert diagnose(result).verdict == verdict


@pytest.mark.parametrize(("status", "level"), [("panic", 3), ("stuck", 3)])
def test_a_run_that_broke_down_says_so_first(status, level):
    found = diagnose(changed(thrashing(), status=status))
    assert (found.verdict, found.level) == (status, level)


def test_a_daemon_is_not_the_kernel():
    kill = OomKill(5_000_000, "leak", "", {"leak": 1.0}, "", by="earlyoom", signal="SIGTERM", reason="mem 1.00 %")
    found = diagnose(changed(calm(), oom_kills=[kill]))
    assert found.headline == "earlyoom ended leak before the kernel had to, first at 5.00 ms."


def test_a_storm_is_traffic_in_both_directions_at_once():
    # Ten windows of 100 ms on 10 000 pages: 1 % per second is 100 pages/s, 10 a window.
    times = np.arange(11) * 100_000_000
    went = np.array([0, 10, 10, 10, 10, 0, 0, 0, 0, 50])
    came = np.array([0, 0, 10, 20, 9, 0, 0, 0, 0, 10])
    columns = {"time_ns": times, "pswpout": np.append(0, np.cumsum(went)), "pswpin": np.append(0, np.cumsum(came))}
    assert _storm(columns, 10_000) == Storm(200_000_000, 300_000_000, 200.0, 300_000_000)
    assert _storm({**columns, "pswpin": np.zeros(11, int)}, 10_000) is None


def advised(result):
    return [advice.setting for advice in diagnose(result).advice if advice.setting]


def test_swappiness_follows_what_is_read_again():
    base = thrashing()  # swappiness 60, with swap
    few = {"pgsteal_kswapd": 10**6, "pgsteal_file": 5}
    assert advised(changed(base, **few, workingset_refault_anon=100, workingset_refault_file=400)) == [
        "vm.swappiness=100"
    ]
    assert advised(changed(base, **few, workingset_refault_anon=400, workingset_refault_file=100)) == [
        "vm.swappiness=20"
    ]
    assert advised(changed(base, **few, workingset_refault_anon=399, workingset_refault_file=100)) == []
    assert advised(changed(base, **few, workingset_refault_anon=0, workingset_refault_file=30)) == []  # below 1 %


def test_page_cluster_follows_the_hits_of_readahead():
    base = changed(calm(), swap_ra=1000, swap_ra_hit=499)
    assert advised(base) == ["vm.page-cluster=2"]
    assert advised(changed(calm(), swap_ra=1000, swap_ra_hit=500)) == []
    assert advised(changed(calm(), swap_ra=999, swap_ra_hit=0)) == []


def test_watermarks_are_raised_only_where_kswapd_slept():
    base, life = killed(), killed().tasks["leak"].end_ns - killed().tasks["leak"].start_ns
    stalls = {"direct_reclaim": life // 10}
    for awake, settings in ((0, ["vm.watermark_scale_factor=50"]), (1, [])):
        timeline = type(base.timeline)({**base.timeline.columns, "kswapd_awake": np.full(len(base.timeline), awake)})
        assert advised(changed(base, timeline=timeline, stalls=stalls)) == settings


def test_every_setting_that_is_advised_exists():
    for result in (calm(), thrashing(), killed(), numa()):
        for setting in advised(result):
            name, value = setting.removeprefix("vm.").split("=")
            assert canonical(name) in TUNABLES
            assert int(value) >= 0


def test_findings_are_in_order_of_time_and_carry_the_figures_of_the_result():
    result = thrashing()
    found = diagnose(result).findings
    times = [f.time_ns for f in found if f.time_ns is not None]
    assert times == sorted(times)
    first = next(f for f in found if f.kind == "kswapd")
    wakes = result.events_of("kswapd_wake")["time"]
    assert first.time_ns == wakes[0]
    assert f"{len(wakes):,} times in all" in first.text


def test_names_are_listed_once_and_not_for_ever():
    assert _listed(["a"]) == "a"
    assert _listed(["a", "b", "a"]) == "a and b"
    assert _listed(["a", "b", "c", "d", "e"]) == "a, b and 3 more"


def test_the_machine_in_a_line():
    assert machine_line(thrashing()) == "Linux 6.12, 16.0 MiB of memory, 32.0 MiB of swap"
    assert machine_line(numa()) == "Linux 6.12, 64.0 MiB of memory, 2 NUMA nodes, no swap"


def test_every_verdict_has_a_colour_in_the_summary():
    from pymem.reports.summary import COLOURS

    assert set(VERDICTS.values()) == set(range(len(COLOURS)))
    assert diagnose(thrashing()).headline in [getattr(part, "plain", "") for part in render(thrashing())]
