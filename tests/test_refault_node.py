"""A page comes back to another node than the one it left: on which of them that counts."""

import pytest
from lab import Lab, anon, file, load, machine, op, store

from pymem import SwapDevice
from pymem.records import Op


@pytest.mark.parametrize(("kernel", "node"), [("6.1", 0), ("6.12", 1)])
def test_a_refault_counts_where_the_page_was_in_6_1_and_where_it_is_since(kernel, node):
    """A page of a file leaves node 0, which then fills up: the page comes back on node 1, and a clock advances.

    One eviction lies between, its own, and what is left on node 0 is far more: the page is activated.
    """
    nodes = machine(4096, 4096, swap=(SwapDevice("64MiB"),))
    lab = Lab(nodes, kernel=kernel, a=[anon(6000), file(64, advice="random")])
    lab.do("a", store(range(1000)))
    lab.do("a", load(6000), op(Op.PAGEOUT, 6000))
    lab.do("a", store(range(1000, 5000)))
    ages = [n["nonresident_age"] for n in lab.engine.nodes()]
    assert ages == [1, 0]
    moved = lab.do("a", load(6000))
    assert moved["workingset_refault_file"] == moved["workingset_activate_file"] == 1
    assert lab.engine.node_stats(1)["nr_active_file"] == 1
    there = [lab.engine.node_stats(i)["workingset_activate_file"] for i in range(2)]
    assert there == [int(i == node) for i in range(2)]
    ages[node] += 1
    assert [n["nonresident_age"] for n in lab.engine.nodes()] == ages
