"""Results that tests of reports share: small machines, one of each kind of trouble."""

from functools import cache

from pymem.result import Result
from pymem.scenario import Scenario, Task
from pymem.simulation import simulate
from pymem.topology import Machine, Node, SwapDevice
from pymem.workloads import Leak, Uniform


@cache
def calm() -> Result:
    """Everything fits."""
    work = Uniform("4MiB", accesses=50_000, writes=1.0)
    machine = Machine("64MiB", cpus=1)
    return simulate(Scenario(name="calm", machine=machine, tasks=[Task("a", work)], sample_interval="500us"))


@cache
def thrashing() -> Result:
    """A task of 20 MiB on 16 MiB, with swap."""
    machine = Machine("16MiB", cpus=1, swap=[SwapDevice("32MiB")])
    work = Uniform("20MiB", accesses=60_000, writes=1.0)
    return simulate(Scenario(name="thrash", machine=machine, tasks=[Task("app", work)], sample_interval="2ms"))


@cache
def killed() -> Result:
    """A leak without swap beside a task that may not die, whose name is as awkward as names can be."""
    tasks = [
        Task('</script><b>"x', Uniform("4MiB", accesses=2_000_000, writes=1.0), oom_score_adj=-1000),
        Task("leak", Leak("64MiB", rate="1GiB")),
    ]
    return simulate(Scenario(name="<i>kill</i>", machine=Machine("32MiB", cpus=2), tasks=tasks, sample_interval="1ms"))


@cache
def numa() -> Result:
    """Two nodes, and a task that needs both."""
    machine = Machine(nodes=[Node(memory="32MiB", cpus=1), Node(memory="32MiB", cpus=1)])
    work = Uniform("40MiB", accesses=50_000, writes=1.0)
    return simulate(Scenario(name="numa", machine=machine, tasks=[Task("wide", work)]))
