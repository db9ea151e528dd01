"""Counters of fixed scenarios do not change unless somebody means them to.

They guard against unintended change and say nothing about correctness: the numbers come out of the program. After
an intended change: ``python tests/golden/regenerate.py``, and commit `counters.json` with the change.
"""

import pytest
from golden.regenerate import counters, differences, stored
from golden.scenarios import scenarios

pytestmark = pytest.mark.engine

SCENARIOS = scenarios()
#: Counters that must move in one scenario or another, or the set has lost what it is there to watch.
REACHED = """
pgfault pgmajfault pgpgin pgpgout pswpin pswpout pgscan_kswapd pgscan_direct pgsteal_kswapd pgsteal_direct pgscan_anon
pgscan_file pgrefill pgactivate pgdeactivate pgrotated pgreuse pglazyfree workingset_refault_anon
workingset_refault_file workingset_activate_file swap_ra swap_ra_hit nr_dirtied nr_written allocstall_movable oom_kill
numa_miss unevictable_pgs_mlocked kswapd_low_wmark_hit_quickly
""".split()


@pytest.mark.parametrize("name", SCENARIOS)
def test_counters_are_what_they_were(name):
    moved = differences({name: stored().get(name, {})}, {name: counters(SCENARIOS[name])})
    assert not moved, "after an intended change run python tests/golden/regenerate.py\n" + "\n".join(moved)


def test_no_scenario_is_forgotten():
    assert list(stored()) == list(SCENARIOS)


def test_the_set_reaches_what_it_is_there_to_watch():
    seen = {name for values in stored().values() for name in values}
    assert [name for name in REACHED if name not in seen] == []


def test_differences_name_scenario_and_counter():
    old, new = {"s": {"a": 1, "b": 2}, "t": {}}, {"s": {"a": 1, "b": 3, "c": 4}}
    assert differences(old, new) == ["t: gone", "s: b: 2 -> 3", "s: c: 0 -> 4"]
