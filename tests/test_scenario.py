"""Scenarios from objects and from TOML: everything validated early, each error with file, key, found and accepted."""

import copy
import itertools
import tomllib

import numpy as np
import pytest

from pymem import oom
from pymem.devices import SwapDevice
from pymem.errors import PymemError, ScenarioError, TunableError, UnitError
from pymem.regions import Anon
from pymem.scenario import Scenario, Task, load, scenario_from
from pymem.topology import Machine, Node
from pymem.tunables import COSTS
from pymem.workloads import Trace, Uniform, Zipf

ZERO = np.zeros(1, np.uint32)
WORK = Uniform("1MiB", accesses=10)
GOOD = """
name = "all of it"
kernel = "6.1"
seed = 3
sample_interval = "1ms"
time_limit = "2s"
oom_policy = "largest"

[machine]
memory = "64MiB"
cpus = 2
swap = [{ size = "1GiB", kind = "sata", priority = 2 }]
disk = { kind = "hdd", read = "9ms" }
boot = { kernel = "2MiB" }

[vm]
swappiness = 10
swap.vma_ra_enabled = 0

[costs]
anon_fault = "2us"

[[tasks]]
name = "app"
workload = { kind = "zipf", size = "30MiB", accesses = 1000, s = 0.9, writes = "30%" }
oom_score_adj = 100
nice = 5
start = "1ms"
stop = "1s"
affinity = [0, 1]

[[tasks]]
name = "worker"
count = 2
workload = { kind = "uniform", region = { kind = "file", size = "1MiB", name = "db" }, accesses = 5 }
"""


def scenario(**changes):
    return Scenario(**{"tasks": [Task("a", WORK)], **changes})


def written(tmp_path, text):
    path = tmp_path / "case.toml"
    path.write_text(text, encoding="utf-8")
    return path


# ---- what is accepted -------------------------------------------------------------------------------------


def test_a_file_gives_what_the_objects_give(tmp_path):
    found = load(written(tmp_path, GOOD))
    assert (found.name, found.kernel, found.seed) == ("all of it", "6.1", 3)
    assert (found.sample_interval, found.time_limit) == (1_000_000, 2_000_000_000)
    assert found.machine.swap == (SwapDevice("1GiB", "sata", 2),)
    assert found.machine.disk.figures()["read_ns"] == 9_000_000
    assert [task.name for task in found.tasks] == ["app", "worker-1", "worker-2"]
    app = found.tasks[0]
    assert app.workload == Zipf("30MiB", accesses=1000, s=0.9, writes="30%")
    assert (app.oom_score_adj, app.nice, app.start_ns, app.stop_ns, app.affinity) == (100, 5, 10**6, 10**9, (0, 1))
    assert found.cost_ns() == {name: cost.default for name, cost in COSTS.items()} | {"c_anon_fault": 2000}
    assert isinstance(found.policy(), oom.Largest)


def test_a_file_without_name_is_called_as_the_file(tmp_path):
    text = '[[tasks]]\nname = "a"\nworkload = { kind = "uniform", size = "1MiB", accesses = 1 }\n'
    assert load(written(tmp_path, text)).name == "case"


def test_relative_paths_start_at_the_file(tmp_path):
    path = written(tmp_path, '[[tasks]]\nname = "a"\nworkload = { kind = "recorded", path = "none.pmt" }\n')
    with pytest.raises(PymemError, match=str(tmp_path / "none.pmt")):
        load(path)


def test_a_task_that_ends_by_itself_has_no_stop():
    assert Task("a", WORK).stop_ns == 0
    assert Task("a", WORK, start="1s", stop="1.5s").stop_ns == 1_500_000_000


# ---- what is refused: objects -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "tasks.name: ''; accepted is a text of 1 to 200 characters"),
        ({"name": 5}, "tasks.name: 5; accepted is a text of 1 to 200 characters"),
        ({"name": "x" * 201}, "accepted is a text of 1 to 200 characters"),
        ({"workload": "zipf"}, "task 'a'.workload: 'zipf'; accepted is an object of pymem.workloads"),
        ({"oom_score_adj": 1001}, "task 'a'.oom_score_adj: 1001; accepted is -1000 to 1000"),
        ({"oom_score_adj": True}, "task 'a'.oom_score_adj: True; accepted is -1000 to 1000"),
        ({"nice": -21}, "task 'a'.nice: -21; accepted is -20 to 19"),
        ({"start": "5MiB"}, "task 'a'.start: unit 'MiB' of '5MiB' is unknown; accepted is a whole number of ns"),
        ({"start": -1}, "task 'a'.start: -1 is negative; accepted is"),
        ({"start": "1s", "stop": "1s"}, "task 'a'.stop: 1000000000 ns; accepted is after its start, 1000000000"),
        ({"affinity": 0}, "task 'a'.affinity: 0; accepted are one or more numbers of CPUs"),
        ({"affinity": []}, "task 'a'.affinity: []; accepted are one or more numbers of CPUs"),
        ({"affinity": [0, 2]}, "task 'a'.affinity: CPU 2; accepted is 0 to 1"),
        ({"affinity": [True]}, "task 'a'.affinity: CPU True; accepted is 0 to 1"),
    ],
)
def test_tasks_that_cannot_be(changes, message):
    with pytest.raises(ScenarioError) as caught:
        Scenario(tasks=[Task(**{"name": "a", "workload": WORK, **changes})])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"machine": "1GiB"}, ScenarioError, "machine: '1GiB'; accepted is a pymem.Machine"),
        ({"kernel": "5.10"}, ScenarioError, "kernel: '5.10'; accepted are '6.1' and '6.12'"),
        ({"kernel": 6.12}, ScenarioError, "kernel: 6.12; accepted are '6.1' and '6.12'"),
        ({"seed": -1}, ScenarioError, "seed: -1; accepted is an integer from 0 to 2^64 - 1"),
        ({"seed": 1 << 64}, ScenarioError, "accepted is an integer from 0 to 2^64 - 1"),
        ({"seed": "1"}, ScenarioError, "seed: '1'; accepted is an integer"),
        ({"name": 3}, ScenarioError, "name: 3; accepted is a text"),
        ({"tasks": []}, ScenarioError, "tasks: 0; accepted are 1 to 100000"),
        ({"tasks": "ab"}, ScenarioError, "tasks: 'ab'; accepted is a sequence of pymem.Task objects"),
        ({"tasks": ["ab"]}, ScenarioError, "tasks: 'ab'; accepted are pymem.Task objects"),
        ({"tasks": [Task("a", WORK)] * 2}, ScenarioError, "tasks.name: 'a' twice; names must differ"),
        ({"vm": ["swappiness"]}, ScenarioError, "vm: ['swappiness']; accepted is a mapping of tunables by name"),
        ({"vm": {"swapiness": 1}}, TunableError, "vm.swapiness: unknown tunable; did you mean swappiness?"),
        (
            {"vm": {"swappiness": 201}},
            TunableError,
            "vm.swappiness: 201 is out of range; accepted is a whole number from 0",
        ),
        ({"costs": 3}, ScenarioError, "costs: 3; accepted is a mapping of times by name"),
        ({"costs": {"fault": 1}}, ScenarioError, "costs.fault: unknown; accepted are anon_fault, "),
        ({"costs": {"anon_fault": "1MB"}}, UnitError, "costs.anon_fault: unit 'MB' of '1MB' is unknown; accepted is"),
        ({"costs": {"anon_fault": "2s"}}, ScenarioError, "costs.anon_fault: '2s'; accepted is 0ns to 1s"),
        ({"costs": {"sched_quantum": 0}}, ScenarioError, "costs.sched_quantum: 0; accepted is 1ns to 1s"),
        ({"sample_interval": "often"}, UnitError, "sample_interval: 'often' is not understood; accepted is"),
        ({"time_limit": "2 weeks"}, UnitError, "time_limit: unit 'weeks' of '2 weeks' is unknown; accepted is"),
        ({"time_limit": "2000000h"}, UnitError, "time_limit: 2000000h is too large; accepted is up to"),
        ({"oom_policy": "youngest"}, ScenarioError, "oom_policy: 'youngest'; accepted are kernel, historical, largest"),
        ({"oom_policy": 3}, ScenarioError, "oom_policy: 3; accepted are a name, a function or a policy of pymem.oom"),
    ],
)
def test_scenarios_that_cannot_be(changes, error, message):
    with pytest.raises(error) as caught:
        scenario(**changes)
    assert message in str(caught.value)


def test_locked_memory_that_can_never_fit():
    machine = Machine("16MiB")
    managed = sum(zone.managed for zone in machine.layout()[0])
    fits = [Task("a", Trace(ZERO, regions=[Anon(managed - 1, locked=True)])), Task("b", Trace(ZERO, regions=[Anon(1)]))]
    assert Scenario(machine=machine, tasks=fits)
    tasks = [*fits, Task("c", Trace(ZERO, regions=[Anon(2, locked=True)]))]
    with pytest.raises(ScenarioError) as caught:
        Scenario(machine=machine, tasks=tasks)
    assert str(caught.value) == (
        f"tasks: {managed + 1} pages are locked in memory and can never fit; accepted is up to the {managed} pages "
        "of the machine"
    )


# ---- what is refused: files -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed = 3", "sead = 3", "sead: unknown key; accepted are machine, vm, tasks, seed, kernel, name"),
        ("seed = 3", "seed = ", "not a TOML file ("),
        ("[vm]", "[[vm]]", "vm: [{'swappiness': 10, 'swap': {'vma_ra_enabled': 0}}]; accepted is a table"),
        (
            'memory = "64MiB"',
            'memory = "64 pigs"',
            "machine.memory: unit 'pigs' of '64 pigs' does not fit; accepted is",
        ),
        ('memory = "64MiB"', 'memory = "64PiB"', "machine.memory: '64PiB'; accepted is 16MiB to 8TiB"),
        ('memory = "64MiB"', "ram = 1", "machine.ram: unknown key; accepted are memory, cpus"),
        ('size = "1GiB", ', "", "machine.swap[0].size: missing"),
        ("swappiness = 10", 'swappiness = "low"', "vm.swappiness: 'low' is not understood; accepted is a whole number"),
        ("anon_fault", "anonfault", "costs.anonfault: unknown; accepted are anon_fault"),
        ('name = "app"', 'title = "app"', "tasks[0].title: unknown key; accepted are name, workload, oom_score_adj"),
        ('name = "app"', "", "tasks[0].name: missing"),
        ('name = "app"', 'name = "worker-2"', "tasks.name: 'worker-2' twice; names must differ"),
        ('kind = "zipf"', 'kind = "zapf"', "tasks[0].workload.kind: 'zapf'; accepted are 'trace', "),
        ("s = 0.9", "skew = 0.9", "tasks[0].workload.skew: unknown key; accepted are kind, size"),
        ('size = "30MiB"', 'size = "30ms"', "tasks[0].workload.size: unit 'ms' of '30ms' does not fit; accepted is"),
        ('size = "30MiB"', 'size = "30000TiB"', "tasks[0].workload"),
        ("accesses = 1000, ", "", "tasks[0].workload.accesses: missing"),
        ("count = 2", "count = 0", "tasks[1].count: 0; accepted is 1 to 100000"),
        ("count = 2", "count = 2.5", "tasks[1].count: 2.5; accepted is an integer"),
        ('kind = "file"', 'kind = "pipe"', "tasks[1].workload.region.kind: 'pipe'; accepted are 'anon' and 'file'"),
    ],
)
def test_a_mistake_in_a_file_names_file_and_key(tmp_path, old, new, message):
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(PymemError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks = 3", "tasks: 3; accepted is an array of tables"),
        ("tasks = [3]", "tasks[0]: 3; accepted is a table"),
        ("", "tasks: 0; accepted are 1 to 100000"),
        ("vm = 3", "vm: 3; accepted is a table"),
        ("x = " + "[" * 5000, "not a TOML file ("),
    ],
)
def test_documents_that_are_no_scenario(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(ScenarioError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ScenarioError, match=r"none\.toml: No such file or directory$"):
        load(tmp_path / "none.toml")
    with pytest.raises(ScenarioError, match=r"Is a directory$"):
        load(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ScenarioError, match=r"binary\.toml: not a TOML file \("):
        load(tmp_path / "binary.toml")


def places(value, path=()):
    """Paths to every value of a document."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


@pytest.mark.parametrize(
    "wrong", [None, True, -1, 3, 1.5, 1 << 70, "", "x", "9PiB", [], [3], ["x"], {}, {"x": 1}], ids=repr
)
def test_no_value_anywhere_ends_in_another_exception(tmp_path, wrong):
    document = tomllib.loads(GOOD)
    refused = 0
    for path in itertools.islice(places(document), 1, None):
        changed = copy.deepcopy(document)
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = wrong
        try:
            scenario_from(changed, tmp_path)
        except PymemError as error:
            refused += 1
            assert "\n" not in str(error), path
            assert len(str(error)) < 2000
    assert refused >= 20  # names, for example, accept many values


# ---- with_settings ----------------------------------------------------------------------------------------


def test_settings_as_on_the_command_line():
    base = scenario(vm={"swappiness": 1}, costs={"anon_fault": 5})
    changed = base.with_settings(
        {
            "vm.swappiness": "10",
            "vm.swap.vma_ra_enabled": "n",
            "machine.memory": "2GiB",
            "cpus": "3",
            "seed": "7",
            "costs.anon_fault": "2us",
            "kernel": "6.1",
            "sample_interval": "0",
            "time_limit": "1s",
            "oom_policy": "panic",
            "name": "n",
        }
    )
    assert changed.vm == {"swappiness": "10", "swap.vma_ra_enabled": "n"}
    assert (changed.machine.memory, changed.machine.cpus, changed.seed) == ("2GiB", 3, 7)
    assert changed.cost_ns()["c_anon_fault"] == 2000
    assert (changed.kernel, changed.sample_interval, changed.time_limit) == ("6.1", 0, 10**9)
    assert (changed.oom_policy, changed.name, changed.tasks) == ("panic", "n", base.tasks)
    assert (base.vm, base.seed) == ({"swappiness": 1}, 0)


def test_settings_that_depend_on_each_other_are_set_together():
    base = scenario(vm={"dirty_ratio": 30})
    for order in itertools.permutations([("vm.dirty_bytes", "1MiB"), ("vm.dirty_ratio", "0")]):
        assert base.with_settings(dict(order)).vm["dirty_bytes"] == "1MiB"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("swappiness", "1", "swappiness: unknown setting; accepted are vm.NAME, costs.NAME, machine.memory"),
        ("vm", "1", "vm: unknown setting"),
        ("vm.", "1", "vm.: unknown setting"),
        ("machine.swap", "1", "machine.swap: unknown"),
        ("vm.swapiness", "1", "vm.swapiness: unknown tunable; did you mean swappiness?"),
        ("vm.swappiness", "300", "vm.swappiness: '300' is out of range; accepted is a whole number from 0 to 200"),
        ("seed", "x", "seed: 'x'; accepted is an integer"),
        ("seed", 1.5, "seed: 1.5; accepted is an integer"),
        ("seed", "9" * 5000, "accepted is an integer"),
        ("seed", "-1", "seed: -1; accepted is an integer from 0"),
        ("machine.cpus", "two", "machine.cpus: 'two'; accepted is an integer"),
        ("machine.cpus", "999", "machine.cpus: 999; accepted is 0 to 256"),
        ("machine.memory", "1GB/s", "machine.memory: '1GB/s' is not understood"),
        ("costs.exit", "1MiB", "costs.exit: unit 'MiB' of '1MiB' is unknown"),
    ],
)
def test_settings_that_cannot_be(key, value, message):
    with pytest.raises(PymemError) as caught:
        scenario().with_settings({key: value})
    assert message in str(caught.value)


@pytest.mark.parametrize("key", ["machine.memory", "memory", "cpus"])
def test_a_setting_that_would_change_nothing_is_refused(key):
    with pytest.raises(ScenarioError, match=f"^{key}: the machine has nodes of its own; accepted is"):
        scenario(machine=Machine(nodes=[Node("64MiB")])).with_settings({key: "1"})
