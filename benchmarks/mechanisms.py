"""One named scenario per mechanism, as a user would write it, and what one unit of its work is.

Every scenario does one thing nearly all the time, so that its time per unit says what that thing costs.  `UNITS`
of each name a counter of `/proc/vmstat`, or ``accesses``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pymem
from pymem.workloads import DirtyWriter, FileStream, Leak, Sequential, Uniform, Zipf

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 256  # pages
NVME = pymem.SwapDevice("2GiB", kind="nvme")
PMEM = pymem.SwapDevice("2GiB", kind="pmem")


@dataclass(frozen=True)
class Mechanism:
    """A scenario and the counter whose increase is its work."""

    name: str
    build: Callable[[int], pymem.Scenario]  # of the scale: 1 is a fraction of a second
    unit: str


def machine(mib: int, **settings: Any) -> pymem.Machine:
    """Memory beside what the simulated kernel itself holds."""
    return pymem.Machine(memory=f"{mib + 64}MiB", **{"cpus": 2, **settings})


def scenario(host: pymem.Machine, *work: Any, content: Any = None, **vm: Any) -> pymem.Scenario:
    """Tasks on a machine, without the time line."""
    tasks = [pymem.Task(f"task{i}", each, content=content) for i, each in enumerate(work)]
    vm = {"transparent_hugepage": "never", **{key.replace("__", "."): value for key, value in vm.items()}}
    return pymem.Scenario(machine=host, vm=vm, tasks=tasks, sample_interval=0, seed=1)


def hit(scale: int) -> pymem.Scenario:
    return scenario(machine(320), Zipf("256MiB", accesses=4_000_000 * scale, writes=0.3))


def minor(scale: int) -> pymem.Scenario:
    return scenario(machine(640 * scale), Sequential(f"{512 * scale}MiB", writes=1.0))


def file_hit(scale: int) -> pymem.Scenario:
    return scenario(machine(256), FileStream("128MiB", mode="read", passes=40 * scale))


def file_major(scale: int) -> pymem.Scenario:
    return scenario(machine(64), FileStream("256MiB", passes=4 * scale))


def writeback(scale: int) -> pymem.Scenario:
    return scenario(machine(128), DirtyWriter("256MiB", passes=3 * scale))


def kswapd(scale: int) -> pymem.Scenario:
    # slow enough that background reclaim keeps up
    slow = Leak("1GiB", rate="400MiB")
    return scenario(machine(128 * scale, swap=[NVME]), slow, watermark_scale_factor=300)


def direct(scale: int) -> pymem.Scenario:
    # faster than kswapd: a small distance between the watermarks, and many tasks at once
    work = [Sequential(f"{48 * scale}MiB", writes=1.0, passes=3) for _ in range(6)]
    return scenario(machine(128 * scale, cpus=6, swap=[NVME]), *work, min_free_kbytes=512, watermark_scale_factor=1)


def swap(scale: int) -> pymem.Scenario:
    return scenario(machine(96, swap=[NVME]), Zipf("256MiB", accesses=1_000_000 * scale, writes=1.0))


def swap_pmem(scale: int) -> pymem.Scenario:
    return scenario(machine(96, swap=[PMEM]), Zipf("256MiB", accesses=1_000_000 * scale, writes=1.0))


def zswap(scale: int) -> pymem.Scenario:
    work = Zipf("256MiB", accesses=1_000_000 * scale, writes=1.0)
    settings = {"zswap__enabled": 1, "zswap__max_pool_percent": 40}
    return scenario(machine(96, swap=[NVME]), work, content="typical", **settings)


def numa(scale: int) -> pymem.Scenario:
    node = pymem.Node(memory="320MiB", cpus=1)
    host = pymem.Machine(nodes=[node, node])
    return scenario(host, *[Uniform("192MiB", accesses=2_000_000 * scale, writes=0.3) for _ in range(2)])


def oom(scale: int) -> pymem.Scenario:
    return scenario(machine(32), *[Leak("256MiB") for _ in range(20 * scale)])


def multi_task(scale: int) -> pymem.Scenario:
    work = [Zipf("64MiB", accesses=500_000 * scale, writes=1.0) for _ in range(8)]
    return scenario(machine(256, cpus=4, swap=[NVME]), *work)


MECHANISMS = [
    Mechanism("hit", hit, "accesses"),
    Mechanism("minor", minor, "pgfault"),
    Mechanism("file hit", file_hit, "accesses"),
    Mechanism("file major", file_major, "pgsteal_file"),
    Mechanism("writeback", writeback, "nr_written"),
    Mechanism("kswapd", kswapd, "pgsteal_kswapd"),
    Mechanism("direct", direct, "pgsteal_direct"),
    Mechanism("swap", swap, "pswpin"),
    Mechanism("swap, pmem", swap_pmem, "pswpin"),
    Mechanism("zswap", zswap, "zswpin"),
    Mechanism("numa", numa, "accesses"),
    Mechanism("oom", oom, "oom_kill"),
    Mechanism("multi-task", multi_task, "pgfault"),
]


def prepare(mechanism: Mechanism, scale: int = 1) -> Callable[[], pymem.Result]:
    """The run of one mechanism, its machine built and its inputs drawn as far as they are not drawn on the way."""
    simulation = pymem.Simulation(mechanism.build(scale))

    def run() -> pymem.Result:
        while simulation.step():
            pass
        return simulation.result()

    return run


def units(mechanism: Mechanism, result: pymem.Result) -> int:
    """How much work a run did."""
    if mechanism.unit == "accesses":
        return int(sum(task.accesses for task in result.tasks.values()))
    return int(result.vmstat[mechanism.unit])
