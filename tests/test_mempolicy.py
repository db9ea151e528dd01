"""Memory policies: which node a page comes from, what the counters say of it, and what is refused."""

import numpy as np
import pytest
from lab import MS, SECOND, VM, Lab, Script, anon, file, finish, load, machine, op, store

from pymem import Machine, MemPolicy, Node, Scenario, SwapDevice, Task
from pymem.errors import ScenarioError
from pymem.mempolicy import parse_nodelist, policy_from
from pymem.records import Op
from pymem.simulation import Simulation
from pymem.workloads import Uniform

pytestmark = pytest.mark.engine

LOCAL, REMOTE = 90, 180  # ns of an access from node 0, at distances 10 and 20


def numastat(lab, nid):
    return next(zone["stat"] for zone in lab.engine.zones() if zone["node"] == nid)


def lab(*nodes, policy=None, regions, cpus=1, vm=None, **more):
    return Lab(machine(*nodes, cpus=cpus, **more), a=regions, vm=vm, settings={"a": {"policy": policy}})


def node_of(bench, page):
    """0 or 1, by what an access from node 0 costs: independent of any counter."""
    before = bench.engine.now
    bench.do("a", load(page))
    return {LOCAL: 0, REMOTE: 1}[bench.engine.now - before]


def anon_pages(bench):
    return [bench.engine.node_stats(n)["nr_anon_pages"] for n in range(len(bench.engine.nodes()))]


# ---- bind -------------------------------------------------------------------------------------------------


def test_a_bound_task_gets_everything_from_its_node():
    """100 pages, a leaf and a directory; the preferred zone is the first that the policy allows, so all are hits."""
    bench = lab(4096, 4096, policy="bind:1", regions=[anon(100)])
    bench.do("a", store(range(100)))
    assert anon_pages(bench) == [0, 100]
    there = numastat(bench, 1)
    assert (there["numa_hit"], there["numa_miss"], there["numa_local"], there["numa_other"]) == (102, 0, 0, 102)
    assert set(numastat(bench, 0).values()) == {0}


def test_page_cache_of_a_bound_task_too():
    bench = lab(4096, 4096, policy="bind:1", regions=[file(100)])
    bench.do("a", op(Op.READ, 0, 100))
    assert bench.engine.node_stats(1)["nr_file_pages"] == 100
    assert bench.engine.node_stats(0)["nr_file_pages"] == 0


def test_a_bound_region_leaves_the_rest_alone():
    """Page tables and the other region follow the task, which has no policy: they are local."""
    bench = lab(4096, 4096, regions=[anon(100, policy="bind:1"), anon(50)])
    bench.do("a", store(range(150)))
    assert anon_pages(bench) == [50, 100]
    assert bench.engine.node_stats(0)["nr_page_table_pages"] == 2


def test_a_local_region_of_a_bound_task():
    bench = lab(4096, 4096, policy="bind:1", regions=[anon(100), anon(50, policy="local")])
    bench.do("a", store(range(150)))
    assert anon_pages(bench) == [50, 100]


def test_a_full_node_is_reclaimed_while_another_is_empty():
    """BIND never falls back: 2000 pages in 1024 go to swap and come back, readahead included, to the same node."""
    bench = lab(1024, 4096, policy="bind:0", regions=[anon(2000)], swap=[SwapDevice("16MiB")])
    moved = bench.do("a", store(range(2000)))
    assert moved["pswpout"] >= 2000 - 1024
    back = bench.do("a", load(range(2000)))
    assert back["pswpin"] >= 2000 - 1024
    assert anon_pages(bench)[1] == bench.engine.node_stats(1)["nr_file_pages"] == 0
    # nothing but the kernel's own, slabs for swap cache and its writes, goes where there is room
    there = bench.engine.node_stats(1)
    assert 0 < numastat(bench, 0)["numa_foreign"] <= there["nr_slab_reclaimable"] + there["nr_slab_unreclaimable"]


def test_without_swap_somebody_on_the_node_is_killed():
    """The other node's 4096 pages do not help, and who is bound there is not asked."""
    tasks = [
        Task("there", Script([anon(2000)], np.concatenate([store(range(2000)), op(Op.SLEEP, 9 * SECOND)])),
             policy="bind:1"),
        Task("here", Script([anon(1500)], store(range(1500))), policy="bind:0", start="1s"),
    ]  # fmt: skip
    result = finish(Simulation(Scenario(machine=machine(1024, 4096), vm=VM, tasks=tasks)), budget=1000)
    (kill,) = result.oom_kills
    assert kill.task == "here"
    assert kill.scores["there"] == -np.inf
    assert "constraint=CONSTRAINT_MEMORY_POLICY,nodemask=0" in kill.report
    assert result.vmstat["oom_kill"] == 1


def test_a_bound_region_runs_out_like_a_bound_task():
    work = Script([anon(1500, policy="bind:0")], store(range(1500)))
    result = finish(Simulation(Scenario(machine=machine(1024, 4096), vm=VM, tasks=[Task("a", work)])), budget=1000)
    assert "constraint=CONSTRAINT_MEMORY_POLICY,nodemask=0" in result.oom_kills[0].report


def test_bound_to_two_nodes_takes_the_nearer_first():
    distances = ((10, 30, 20), (30, 10, 20), (20, 20, 10))
    bench = lab(1024, 1024, 4096, policy="bind:1,2", regions=[anon(100)], distances=distances)
    bench.do("a", store(range(100)))
    assert anon_pages(bench) == [0, 0, 100]


# ---- preferred --------------------------------------------------------------------------------------------


def test_a_preferred_node_gives_until_it_is_low_and_then_the_next():
    bench = lab(4096, 1024, policy="preferred:1", regions=[anon(3000)])
    moved = bench.do("a", store(range(2000)))
    assert moved["pgscan_direct"] == moved["pgscan_kswapd"] == 0
    here, there = numastat(bench, 0), numastat(bench, 1)
    assert there["numa_hit"] > 900
    assert there["numa_hit"] + here["numa_miss"] == moved["pgalloc_normal"]
    assert here["numa_miss"] == there["numa_foreign"] > 0
    assert here["numa_hit"] == 0
    # local is where the CPU is, whatever was preferred
    assert (here["numa_local"], there["numa_other"]) == (here["numa_miss"], there["numa_hit"])


# ---- interleave -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("whose", ["task", "region"])
def test_interleaved_pages_alternate_by_place_not_by_time(whose, order):
    """Page k of a mapping is on the (k mod 2)-th node, in whichever order they are touched."""
    policy = "interleave:0-1"
    bench = lab(
        4096, 4096, policy=policy if whose == "task" else None,
        regions=[anon(64, policy=policy if whose == "region" else None)],
    )  # fmt: skip
    bench.do("a", store(range(64)[::order]))
    assert [node_of(bench, page) for page in range(8)] == [0, 1] * 4
    assert anon_pages(bench) == [32, 32]
    # of a task two page tables take turns too
    tables = 1 if whose == "task" else 0
    assert [numastat(bench, n)["numa_interleave"] for n in (0, 1)] == [32 + tables, 32 + tables]


def test_interleaved_page_cache_takes_turns():
    """Fault and read order decide here: 1, 3, 5, ... are read, and they alternate all the same."""
    bench = lab(4096, 4096, policy="interleave:0-1", regions=[file(100)], vm={"read_ahead_kb": 0})
    bench.do("a", *[op(Op.READ, page) for page in range(1, 100, 2)])
    assert [bench.engine.node_stats(n)["nr_file_pages"] for n in (0, 1)] == [25, 25]


def test_weighted_interleave_gives_several_in_a_row():
    """Weights 3 and 1: pages 0 to 2 of every four on node 0."""
    bench = lab(4096, 4096, policy="weighted-interleave:0,1", regions=[anon(400)], interleave_weights=(3, 1))
    bench.do("a", store(range(400)))
    assert [node_of(bench, page) for page in range(8)] == [0, 0, 0, 1] * 2
    assert anon_pages(bench) == [300, 100]


def test_weighted_page_cache():
    """Turns of the task: 3, 1, 3, 1, ...: 75 of 100 pages."""
    bench = lab(
        4096, 4096, policy="weighted-interleave:0,1", regions=[file(100)], interleave_weights=(3, 1),
        vm={"read_ahead_kb": 0},
    )  # fmt: skip
    bench.do("a", op(Op.READ, 0, 100))
    assert [bench.engine.node_stats(n)["nr_file_pages"] for n in (0, 1)] == [75, 25]


def test_weights_do_not_concern_a_plain_interleave():
    bench = lab(4096, 4096, policy="interleave:0,1", regions=[anon(400)], interleave_weights=(3, 1))
    bench.do("a", store(range(400)))
    assert anon_pages(bench) == [200, 200]


def test_a_full_node_of_the_mask_is_passed_over_silently():
    """The fallback is a miss here and foreign there, and no interleave hit."""
    bench = lab(8192, 512, regions=[anon(3000, policy="interleave:0-1")])
    moved = bench.do("a", store(range(3000)))
    assert moved["pgscan_direct"] == 0
    here, there = numastat(bench, 0), numastat(bench, 1)
    assert here["numa_interleave"] == 1500
    assert there["numa_interleave"] == there["numa_hit"] < 512
    assert here["numa_miss"] == there["numa_foreign"] == 1500 - there["numa_interleave"]


# ---- the Python and TOML side -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["bind:0,2-3", {"mode": "bind", "nodes": [3, 2, 0]}, {"mode": "bind", "nodes": "0,2-3"},
              MemPolicy("bind", (0, 2, 3))],
)  # fmt: skip
def test_spellings_of_one_policy(value):
    assert policy_from(value, "here") == MemPolicy("bind", (0, 2, 3))


def test_no_policy_and_the_local_one():
    assert policy_from(None, "here") is None
    assert policy_from("local", "here") == MemPolicy("local")


def test_lists_of_nodes():
    assert parse_nodelist(" 0, 2-4 ", "here") == (0, 2, 3, 4)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("bnid:0", "policy.mode: 'bnid'; accepted are local, preferred, bind, interleave, weighted-interleave"),
        ("bind", "policy.nodes: missing; 'bind' takes one node or more"),
        ("bind:0-", "policy.nodes: '0-'; accepted is a list such as '0,2-3'"),
        ("bind:3-2", "policy.nodes: '3-2'; accepted is a list"),
        ("local:0", "policy.nodes: [0]; 'local' takes none"),
        ("preferred:0,1", "policy.nodes: [0, 1]; 'preferred' takes one node"),
        ({"mode": "bind", "node": 0}, "policy.node: unknown key; accepted are mode, nodes"),
        ({"nodes": [0]}, "policy.mode: missing; accepted are local"),
        ({"mode": "bind", "nodes": [-1]}, "policy.nodes: -1; accepted are numbers of nodes from 0 to 63"),
        ({"mode": "bind", "nodes": [True]}, "policy.nodes: True; accepted are numbers"),
        ({"mode": "bind", "nodes": 0.5}, "policy.nodes: 0.5; accepted are numbers"),
        (7, "policy: 7; accepted is a mode ('local'), or a mode and nodes"),
        ("bind:2", "task 'a'.policy.nodes: 2; accepted is 0 to 1, the nodes of the machine"),
    ],
)
def test_what_is_no_policy(value, message):
    with pytest.raises(ScenarioError) as caught:
        Scenario(
            machine=Machine(nodes=[Node("64MiB"), Node("64MiB")]),
            tasks=[Task("a", Uniform("1MiB", accesses=1), policy=value)],
        )  # fmt: skip
    assert message in str(caught.value)
    assert str(caught.value).startswith("task 'a'.policy")


def test_nodes_of_a_policy_need_memory():
    bare = Machine(nodes=[Node("64MiB"), Node(0)])
    with pytest.raises(ScenarioError, match=r"^task 'a'\.policy\.nodes: 1; accepted are nodes that have memory$"):
        Scenario(machine=bare, tasks=[Task("a", Uniform("1MiB", accesses=1), policy="bind:1")])


def test_a_policy_of_a_region_is_checked_too():
    work = Script([anon(10), anon(10, policy="bind:5")])
    with pytest.raises(ScenarioError, match=r"^task 'a'\.regions\[1\]\.policy\.nodes: 5; accepted is 0 to 0"):
        Scenario(tasks=[Task("a", work)])


def test_61_has_no_weights():
    with pytest.raises(ScenarioError, match=r"'weighted-interleave' came with Linux 6\.9"):
        Scenario(kernel="6.1", tasks=[Task("a", Uniform("1MiB", accesses=1), policy="weighted-interleave:0")])


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1], "accepted are 2 numbers from 1 to 255"), ([0, 1], r"\[0\]: 0; accepted is 1 to"), (3, "3; accepted are")],
)
def test_what_are_no_weights(weights, message):
    with pytest.raises(ScenarioError, match=rf"^machine\.interleave_weights.*{message}"):
        Machine("64MiB", nodes=2, interleave_weights=weights)


# ---- CPUs ---------------------------------------------------------------------------------------------------


def test_a_task_keeps_to_the_cpus_of_its_nodes():
    tasks = [Task(f"t{i}", Uniform("1MiB", accesses=200_000, writes=1.0), affinity="node:1") for i in range(3)]
    result = finish(Simulation(Scenario(machine=Machine(nodes=[Node("64MiB", 2), Node("64MiB", 1)]), tasks=tasks)))
    # one CPU for three: the last one has waited for the other two
    assert max(task.stalls["cpu"] for task in result.tasks.values()) >= 2 * 200_000 * LOCAL - 20 * MS
    assert all(task.remote == 0 and task.local == 200_000 for task in result.tasks.values())
    assert result.nodes[1]["numastat"]["local_node"] == result.nodes[1]["numastat"]["numa_hit"] > 3 * 256


@pytest.mark.parametrize(
    ("affinity", "message"),
    [
        ("node:2", "node 2; accepted is 0 to 1"),
        ("node:1", "'node:1'; accepted are nodes that have CPUs"),
        ("node:", "''; accepted is a list such as '0,2-3'"),
        ("socket:0", "'socket:0'; accepted are numbers of CPUs, or 'node:0,2-3'"),
        ([3], "CPU 3; accepted is 0 to 2"),
    ],
)
def test_what_is_no_affinity(affinity, message):
    with pytest.raises(ScenarioError) as caught:
        Scenario(
            machine=Machine(nodes=[Node("64MiB", 3), Node("64MiB", 0)]),
            tasks=[Task("a", Uniform("1MiB", accesses=1), affinity=affinity)],
        )  # fmt: skip
    assert str(caught.value) == f"task 'a'.affinity: {message}"
