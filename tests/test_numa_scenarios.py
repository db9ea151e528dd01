"""Several nodes as a user meets them: shorthands and presets, what is refused, results and summary."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from pymem import Machine, Node, Scenario, SwapDevice, Task, load, simulate
from pymem.errors import ScenarioError
from pymem.numa import PRESETS, split_memory
from pymem.reports.summary import render, story
from pymem.topology import machine_from
from pymem.workloads import FileStream, Uniform

pytestmark = pytest.mark.engine

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-c", "from pymem.cli import main; main()"]


def facts(machine):
    nodes = machine.all_nodes
    return [(int(node.memory) >> 20, node.cpus) for node in nodes], machine.all_distances


# ---- shorthands ---------------------------------------------------------------------------------------------


def test_a_number_of_nodes_shares_memory_and_cpus():
    assert facts(Machine("1GiB", cpus=4, nodes=2)) == ([(512, 2), (512, 2)], ((10, 20), (20, 10)))
    assert machine_from({"memory": "1GiB", "cpus": 4, "nodes": 2}) == Machine("1GiB", cpus=4, nodes=2)


def test_a_number_for_all_distances():
    assert Machine("1GiB", nodes=3, distances=31).all_distances == ((10, 31, 31), (31, 10, 31), (31, 31, 10))
    given = [Node("64MiB"), Node("64MiB")]
    assert Machine(nodes=given, distances=40).all_distances == ((10, 40), (40, 10))
    assert Machine(nodes=given).all_distances == ((10, 20), (20, 10))


def test_what_does_not_divide_goes_to_the_first_node():
    assert split_memory(PRESETS["2-socket-cxl"], 1000) == [375, 375, 250]
    assert split_memory(PRESETS["2-socket-cxl"], 1001) == [376, 375, 250]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_runs(name):
    machine = machine_from({"preset": name, "memory": "256MiB"})
    shape = PRESETS[name]
    work = Uniform("1MiB", accesses=1000, writes=1.0)
    result = simulate(Scenario(machine=machine, tasks=[Task("a", work)]))
    assert result.status == "complete"
    assert [node["cpus"] for node in result.nodes] == [2 if i < shape.sockets else 0 for i in range(len(shape.shares))]
    assert [node["distance"] for node in result.nodes] == [list(row) for row in shape.distances]
    assert sum(zone["present"] for zone in result.zones) == 65536


def test_presets_by_hand():
    assert facts(Machine("4GiB", preset="2-socket")) == ([(2048, 2), (2048, 2)], ((10, 21), (21, 10)))
    nodes, distances = facts(Machine("4GiB", cpus=8, preset="2-socket-cxl"))
    assert nodes == [(1536, 4), (1536, 4), (1024, 0)]
    assert distances == ((10, 21, 14), (21, 10, 24), (14, 24, 10))
    # the fourth socket is beyond RECLAIM_DISTANCE
    assert [row[2] for row in Machine("4GiB", preset="4-socket").all_distances] == [31, 21, 10, 21]


def test_the_cxl_node_is_a_slower_tier():
    """170 ns at distance 14 are 238 ns, against 90 of ordinary memory."""
    work = Uniform("1MiB", accesses=1000, writes=1.0)
    scenario = Scenario(machine=Machine("256MiB", preset="2-socket-cxl"), tasks=[Task("a", work)])
    nodes = simulate(scenario).nodes
    assert [node["tier"] for node in nodes] == [0, 0, 1]
    assert [node["toptier"] for node in nodes] == [True, True, False]
    assert [node["demotion"] for node in nodes] == [[2], [2], []]
    assert nodes[0]["access_ns"] == [90, 189, 238]
    assert nodes[1]["access_ns"] == [189, 90, 408]


def test_a_preset_takes_other_sizes_later():
    scenario = Scenario(machine=Machine("256MiB", preset="2-socket"), tasks=[Task("a", Uniform("1MiB", accesses=1))])
    other = scenario.with_settings({"machine.memory": "512MiB", "machine.cpus": "6"})
    assert facts(other.machine)[0] == [(256, 3), (256, 3)]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"preset": "3-socket"}, "machine.preset: '3-socket'; accepted are 2-socket, 4-socket, 2-socket-cxl"),
        ({"preset": 2}, "machine.preset: 2; accepted are 2-socket"),
        ({"preset": "2-socket", "nodes": 2}, "machine.nodes: given together with machine.preset"),
        ({"preset": "4-socket", "cpus": 6}, "machine.cpus: 6; accepted is a multiple of 4, the nodes that have CPUs"),
        ({"preset": "2-socket", "cpus": 0}, "machine.cpus: 0; accepted is a multiple of 2"),
        ({"preset": "2-socket", "cpus": "4"}, "machine.cpus: '4'; accepted is 0 to 256"),
        ({"preset": "4-socket", "memory": "32MiB"}, "machine.memory: '32MiB' gives node 0 8.0 MiB; accepted is 16MiB"),
        ({"nodes": 0}, "machine.nodes: 0; accepted is 1 to 64"),
        ({"nodes": 65}, "machine.nodes: 65; accepted is 1 to 64"),
        ({"nodes": True}, "machine.nodes: True; accepted is 1 to 64"),
        ({"nodes": 2, "distances": 9}, "machine.distances: 9; accepted is 10 to 254"),
        ({"preset": "2-socket", "distances": [[10]]}, "machine.distances: 1 rows of [1]; accepted are 2 rows of 2"),
        ({"nodes": [{"memory": "64MiB", "tier": 99}]}, "machine.nodes.tier: 99; accepted is 0 to 63"),
    ],
)
def test_what_is_no_topology(table, message):
    with pytest.raises(ScenarioError) as caught:
        machine_from(table)
    assert str(caught.value).startswith(message)


# ---- a scenario file -------------------------------------------------------------------------------------------

FULL = """
[machine]
preset = "2-socket-cxl"
memory = "512MiB"
swap = [{ size = "64MiB" }]
interleave_weights = [3, 3, 1]

[vm]
demotion_enabled = true
numa_balancing = 2
zone_reclaim_mode = 1

[[tasks]]
name = "app"
affinity = "node:0"
policy = "weighted-interleave:0-2"
workload = { kind = "sequential", size = "28MiB", writes = 1.0 }

[[tasks]]
name = "db"
affinity = "node:1"
policy = { mode = "preferred", nodes = [2] }
workload = { kind = "sequential", region = { kind = "anon", size = "8MiB", policy = "local" }, writes = 1.0 }
"""


def test_everything_in_toml(tmp_path):
    (tmp_path / "s.toml").write_text(FULL)
    scenario = load(tmp_path / "s.toml")
    result = simulate(scenario)
    app, db = result.tasks["app"], result.tasks["db"]
    # of 7168 pages 3 of 7 on node 0
    assert (app.local, app.remote) == (3072, 4096)
    assert app.local_ns == 3072 * 90
    assert app.remote_ns == 3072 * 189 + 1024 * 238
    assert app.remote_share == 4096 / 7168
    assert (db.local, db.remote, db.local_ns, db.remote_ns) == (2048, 0, 2048 * 90, 0)
    # 3072, 3072 and 1024 pages of it, and turns of page tables
    hits = [node["numastat"]["interleave_hit"] for node in result.nodes]
    assert all(hit >= pages for hit, pages in zip(hits, (3072, 3072, 1024), strict=True))
    assert sum(hits) - 7168 == 14 + 1  # a leaf for every 512 pages, and a directory


def test_a_mistake_in_a_file_is_one_line_and_exit_code_2(tmp_path):
    (tmp_path / "s.toml").write_text(FULL.replace("0-2", "0-3"))
    done = subprocess.run(
        [*COMMAND, "run", "s.toml", "--out", "out"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "error: s.toml: task 'app'.policy.nodes: 3; accepted is 0 to 2, the nodes of the machine"
    )
    assert not (tmp_path / "out").exists()


# ---- results ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_sockets():
    """A task on node 0 with more memory than that has."""
    machine = Machine("128MiB", preset="2-socket", swap=[SwapDevice("64MiB")])
    work = Uniform("80MiB", accesses=100_000, writes=1.0)
    tasks = [Task("app", work, affinity="node:0"), Task("reader", FileStream("8MiB"), affinity="node:1")]
    return simulate(Scenario(machine=machine, tasks=tasks, name="sockets"))


def test_nodes_add_up_to_the_machine(two_sockets):
    result = two_sockets
    for kernel, node in (("numa_hit", "numa_hit"), ("numa_miss", "numa_miss"), ("numa_foreign", "numa_foreign"),
                         ("numa_interleave", "interleave_hit"), ("numa_local", "local_node"),
                         ("numa_other", "other_node")):  # fmt: skip
        assert result.vmstat[kernel] == sum(n["numastat"][node] for n in result.nodes)
    for name in ("nr_free_pages", "nr_file_pages", "nr_anon_pages", "nr_slab_reclaimable", "numa_hit"):
        assert result.vmstat[name] == sum(n["vmstat"][name] for n in result.nodes)
    for name in ("MemTotal", "MemFree", "AnonPages", "SUnreclaim", "Active(file)"):
        assert result.meminfo[name] == sum(n["meminfo"][name] for n in result.nodes)
    assert result.vmstat["numa_miss"] == result.vmstat["numa_foreign"] > 0


def test_local_and_remote_are_all_loads_and_stores(two_sockets):
    app, reader = two_sockets.tasks["app"], two_sockets.tasks["reader"]
    assert app.local + app.remote == app.accesses == 100_000
    assert app.remote > 10_000
    assert app.remote_ns == app.remote * 189
    # read() copies, which is neither
    assert (reader.local, reader.remote) == (0, 0)


def test_the_summary_tells_of_other_nodes(two_sockets):
    line = next(line for line in story(two_sockets) if line.startswith("NUMA: "))
    app = two_sockets.tasks["app"]
    assert f"{100 * app.remote / 100_000:.1f} % of the accesses went to memory of other nodes" in line
    text = io.StringIO()
    console = Console(file=text, width=120)
    for part in render(two_sockets):
        console.print(part)
    rows = {row.split()[0]: row.split() for row in text.getvalue().splitlines() if row.strip()}
    assert "own node" in text.getvalue()
    assert "foreign" in text.getvalue()
    assert f"{app.remote:,}" in text.getvalue()
    assert f"{two_sockets.nodes[1]['numastat']['numa_miss']:,}" in rows["1"]


def test_the_summary_of_one_node_is_silent():
    result = simulate(Scenario(tasks=[Task("a", Uniform("1MiB", accesses=1000))]))
    assert not [line for line in story(result) if "NUMA" in line]
    assert len(result.nodes) == 1


def test_the_folder_shows_nodes_as_the_kernel_does(two_sockets, tmp_path):
    two_sockets.save(tmp_path / "out")
    place = tmp_path / "out" / "sys" / "node1"
    assert [line.split()[0] for line in (place / "numastat").read_text().splitlines()] == [
        "numa_hit", "numa_miss", "numa_foreign", "interleave_hit", "local_node", "other_node",
    ]  # fmt: skip
    first = (place / "meminfo").read_text().splitlines()[0]
    total = two_sockets.nodes[1]["meminfo"]["MemTotal"]
    assert first == f"Node 1 MemTotal:       {total:8d} kB"
    assert f"nr_anon_pages {two_sockets.nodes[1]['vmstat']['nr_anon_pages']}\n" in (place / "vmstat").read_text()
    stored = json.loads((tmp_path / "out" / "result.json").read_text())
    assert stored["nodes"] == two_sockets.nodes
    assert stored["tasks"]["app"]["remote_ns"] == two_sockets.tasks["app"].remote_ns


def test_one_node_leaves_no_folder_of_nodes(tmp_path):
    simulate(Scenario(tasks=[Task("a", Uniform("1MiB", accesses=1000))])).save(tmp_path / "out")
    assert not (tmp_path / "out" / "sys").exists()


# ---- the example --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "remote"), [(0, True), (1, False)])
def test_the_example_shows_what_node_reclaim_does(mode, remote):
    scenario = load(ROOT / "examples" / "numa.toml").with_settings({"vm.zone_reclaim_mode": mode})
    result = simulate(scenario)
    assert (result.tasks["program"].remote_share > 0.3) == remote
    assert (result.vmstat["zone_reclaim_success"] > 0) != remote


@pytest.mark.parametrize(("balancing", "demotion", "helps"), [(0, 0, False), (2, 0, False), (2, 1, True)])
def test_the_example_of_tiers_needs_both_ways(balancing, demotion, helps):
    """Nothing can be promoted to a node that is full, and only demotion makes room on it."""
    settings = {"vm.numa_balancing": balancing, "vm.demotion_enabled": demotion}
    result = simulate(load(ROOT / "examples" / "tiering.toml").with_settings(settings))
    assert (result.tasks["program"].remote_share < 0.6) == helps
    assert (result.vmstat["pgpromote_success"] > 1000) == helps
    assert (result.vmstat["pgdemote_kswapd"] > 1000) == helps
