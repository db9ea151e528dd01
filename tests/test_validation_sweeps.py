"""Does a setting move a counter as it does in the kernel: which scenarios are compared, what counts, and the result."""

import re

import pytest

from pymem.validation import page, recording, runner, score, sweeps, table


@pytest.fixture(scope="module")
def known():
    return recording.load()


def made(name, seed=1, counted=0, **config):
    """A recording of which only the configuration and one counter matter."""
    data = {
        "name": name, "seed": seed, "kernel": "Linux version 6.1.0",
        "zoneinfo_start": [], "params": {}, "sysctl_vm": {},
        "config": {"spec": "region,kind=anon,pages=1", **config}, "vmstat_start": {"pgfault": 100},
        "vmstat_end": {"pgfault": 100 + counted, **dict.fromkeys(score.GAUGES, 0)},
    }  # fmt: skip
    return recording.Recording(f"{name}.json", data)


def faults(below, above, simulated):
    """The order of pgfault between two scenarios, or None if they do not differ clearly."""
    recordings = [made("a", i, n) for i, n in enumerate(below)] + [made("b", i, n) for i, n in enumerate(above)]
    counters = {r.label: {"pgfault": n} for r, n in zip(recordings, simulated, strict=True)}
    found = [o for o in sweeps.orders(recordings, counters) if o.counter == "pgfault"]
    return found[0] if found else None


def test_sweeps_are_found_by_what_the_recordings_share(known):
    found = sweeps.sweeps(known)
    swappiness = [f"06_mixed_swappiness{n}" for n in ("0", "10", "100", "200", "60")]
    assert found["06_mixed_swappiness0"] == swappiness
    assert sweeps.varied(known, swappiness) == ["swappiness"]
    assert set(found["08_disk_zipf125"]) == {"08_disk_zipf125", "08_zram_lzorle_zipf125", "08_zswap_lzo_zbud_zipf125"}
    assert "09_uniform_minfree4x" in found["02_anon_uniform"]  # the same accesses, recorded under another number
    names = [name for group in found.values() for name in group]
    assert len(names) == len(set(names))
    assert not any(name.startswith(("10_oom", "12_mglru", "14_k612")) for name in names)


@pytest.mark.parametrize("other", [{"mem": 512}, {"numa": 1}, {"spec": "region,kind=anon,pages=2"}, {"kernel": "k612"}])
def test_other_machines_and_other_accesses_are_no_sweep(other):
    assert sweeps.sweeps([made("a", mem=256), made("b", mem=256, sys={"swappiness": 1})]) == {"a": ["a", "b"]}
    assert sweeps.sweeps([made("a", mem=256), made("b", **{"mem": 256, **other})]) == {}


def test_settings_are_called_as_their_files():
    recordings = [
        made("a", sys={"swappiness": 60}, opt="ck=20"),
        made("b", sys={"swappiness": 60}, pre={"/sys/module/zswap/parameters/zpool": "zbud"}, smp=2, opt="ck=10"),
    ]
    assert sweeps.varied(recordings, ["a", "b"]) == ["zpool", "smp"]


@pytest.mark.parametrize(("above", "clear"), [(1138, False), (1139, True)])
def test_only_what_the_score_tells_apart_is_a_difference(above, clear):
    # 1010 may be 1074 (64 events more), so what is more must be more than that without 64 events
    assert (faults((1000, 1010), (above,), (0, 0, 1)) is not None) is clear


@pytest.mark.parametrize(
    ("simulated", "right"),
    [((10, 12, 13, 99), True), ((10, 13, 13, 99), False), ((13, 10, 12, 99), False), ((0, 0, 0, 0), False)],
)
def test_every_run_of_the_one_lies_below_every_run_of_the_other(simulated, right):
    found = faults((100, 200), (1000, 2000), simulated)
    assert (found.lower, found.higher, found.kernel) == ("a", "b", (200, 1000))
    assert found.simulated == (max(simulated[:2]), min(simulated[2:]))
    assert found.right is right
    upside_down = faults((1000, 2000), (100, 200), (*simulated[2:], *simulated[:2]))
    assert (upside_down.lower, upside_down.right) == ("b", right)


def test_what_was_not_simulated_is_not_compared():
    recordings = [made("a", counted=1), made("b", counted=9999)]
    assert sweeps.orders(recordings, {"a.s1": {"pgfault": 1}}) == []
    assert sweeps.orders(recordings, {"a.s1": {"pgfault": 1}, "b.s1": {}}) == []


def test_terminal_and_page_name_what_lies_otherwise():
    (r,) = recording.load(pattern="10_oom_m1000_0_0.s2")
    replays = [runner.Replay(r.label)]
    orders = [faults((1,), (1000,), (1, 2)), faults((1,), (1000,), (2, 1))]
    shown = " ".join(str(part) for part in table.render([], replays, orders=orders))
    assert "pgfault: the kernel counts less in a (1) than in b (1,000), simulated 2 and 1" in shown
    assert shown.count("the kernel counts less") == 1
    text = page.page([], replays, [r], orders)
    assert "<b>1 of 2</b> clear differences" in text
    assert re.findall(r"<tr class=wrong><td>(\w+)<td>a<td>1<td>2<td>b<td>1,000<td>1</tr>", text) == ["pgfault"]
    assert "Sweeps" not in page.page([], replays, [r])


@pytest.mark.parametrize("pattern", ["08_*zipf125.s1", "11_numa_anon_zrm[037]*"])
def test_compressed_swap_and_node_reclaim_move_every_counter_as_recorded(known, pattern):
    counters = runner.counters(runner.replay_all(recording.load(pattern=pattern)))
    orders = sweeps.orders(known, counters)
    assert len(orders) > 30
    assert [o for o in orders if not o.right] == []


@pytest.mark.slow
def test_the_sweeps_do_not_get_worse(known):
    counters = runner.counters(runner.replay_all(known))
    orders = sweeps.orders(known, counters)
    assert len(orders) > 1000
    assert sum(o.right for o in orders) / len(orders) >= 0.985
