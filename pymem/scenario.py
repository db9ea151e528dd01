"""Scenarios: a machine, its tunables and its tasks, from Python objects or from TOML; validated here, once.

In TOML::

    name = "three programs"
    kernel = "6.12"
    seed = 1

    [machine]
    memory = "256MiB"
    cpus = 2
    swap = [{ size = "1GiB", kind = "nvme" }]

    [vm]
    swappiness = 60

    [[tasks]]
    name = "app"
    workload = { kind = "zipf", size = "300MiB", accesses = 5_000_000, s = 0.9, writes = 0.3 }
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymem import oom, tunables, units
from pymem.content import ContentError
from pymem.content import parse as parse_content
from pymem.errors import PymemError, ScenarioError
from pymem.mempolicy import MemPolicy, parse_nodelist, policy_from
from pymem.topology import Machine, machine_from

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymem.workloads import Workload

KERNELS = ("6.1", "6.12")
MAX_TASKS = 100_000
MAX_COST = 10**9  # ns


@dataclass(frozen=True)
class Task:
    """A program: its access stream and how the system treats it.

    Parameters
    ----------
    name : str
        Unique in the scenario.
    workload : pymem.workloads.Workload
    oom_score_adj : int
        -1000 (never killed) to 1000.
    nice : int
        -20 to 19.
    start, stop : int or str, optional
        Simulated times: ns or ``"1.5s"``.  A task ends when its records end or at `stop`.
    affinity : sequence of int or str, optional
        CPUs it may use; default all.  ``"node:0,2-3"`` stands for the CPUs of these nodes.
    content : str, mapping or pymem.content.Content, optional
        What its anonymous pages contain, as far as compression sees it: see `pymem.content.spec`.  None: typical
        memory (15 % zero pages, 3 % incompressible ones), where anything compresses.
    policy : pymem.MemPolicy, str or mapping, optional
        From which NUMA nodes its memory comes, see `pymem.MemPolicy`; regions may have policies of their own.
    """

    name: str
    workload: Workload
    oom_score_adj: int = 0
    nice: int = 0
    start: int | str = 0
    stop: int | str | None = None
    affinity: tuple[int, ...] | str | None = None
    content: Any = None
    policy: MemPolicy | None = None

    def __post_init__(self) -> None:
        key = f"task {self.name!r}"
        if not isinstance(self.name, str) or not self.name or len(self.name) > 200:
            raise ScenarioError(f"tasks.name: {self.name!r}; accepted is a text of 1 to 200 characters")
        for name, low, high in (("oom_score_adj", -1000, 1000), ("nice", -20, 19)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ScenarioError(f"{key}.{name}: {value!r}; accepted is {low} to {high}")
        if not hasattr(self.workload, "chunks") or not hasattr(self.workload, "regions"):
            raise ScenarioError(f"{key}.workload: {self.workload!r}; accepted is an object of pymem.workloads")
        object.__setattr__(self, "start", units.parse_time(self.start, f"{key}.start"))
        if self.stop is not None:
            object.__setattr__(self, "stop", units.parse_time(self.stop, f"{key}.stop"))
            if self.stop_ns <= self.start_ns:
                raise ScenarioError(f"{key}.stop: {self.stop_ns} ns; accepted is after its start, {self.start_ns}")
        object.__setattr__(self, "policy", policy_from(self.policy, f"{key}.policy"))
        if isinstance(self.affinity, str):
            head, colon, nodes = self.affinity.partition(":")
            if head != "node" or not colon:
                raise ScenarioError(f"{key}.affinity: {self.affinity!r}; accepted are numbers of CPUs, or 'node:0,2-3'")
            parse_nodelist(nodes, f"{key}.affinity")
        elif self.affinity is not None:
            if not isinstance(self.affinity, (list, tuple)) or not self.affinity:
                raise ScenarioError(f"{key}.affinity: {self.affinity!r}; accepted are one or more numbers of CPUs")
            object.__setattr__(self, "affinity", tuple(self.affinity))
        for content in (self.content, *(getattr(region, "content", None) for region in self.workload.regions)):
            try:
                parse_content(content)
            except ContentError as error:
                raise ScenarioError(f"{key}.content: {error}") from None

    def cpus(self, per_node: Sequence[int]) -> tuple[int, ...] | None:
        """Numbers of the CPUs it may use, given how many each node has (`per_node`); None: all.

        Raises
        ------
        ScenarioError
            For nodes and CPUs that do not exist, and nodes without CPUs.
        """
        key = f"task {self.name!r}.affinity"
        first = [sum(per_node[:node]) for node in range(len(per_node))]
        if isinstance(self.affinity, str):
            nodes = parse_nodelist(self.affinity.partition(":")[2], key)
            for node in nodes:
                if node >= len(per_node):
                    raise ScenarioError(f"{key}: node {node}; accepted is 0 to {len(per_node) - 1}")
            cpus = tuple(c for node in nodes for c in range(first[node], first[node] + per_node[node]))
            if not cpus:
                raise ScenarioError(f"{key}: {self.affinity!r}; accepted are nodes that have CPUs")
            return cpus
        for cpu in self.affinity or ():
            if isinstance(cpu, bool) or not isinstance(cpu, int) or not 0 <= cpu < sum(per_node):
                raise ScenarioError(f"{key}: CPU {cpu!r}; accepted is 0 to {sum(per_node) - 1}")
        return self.affinity

    @property
    def start_ns(self) -> int:
        """When it begins."""
        return int(self.start)

    @property
    def stop_ns(self) -> int:
        """When it is ended; 0: when its records end."""
        return int(self.stop or 0)


@dataclass(frozen=True)
class Scenario:
    """Everything a run depends on.

    Parameters
    ----------
    machine : Machine
    vm : mapping
        Tunables by sysctl name, with or without ``vm.``; see ``pymem tunables``.
    tasks : sequence of Task
    seed : int
        Of all random draws; the same scenario and seed give the same result.
    kernel : {"6.12", "6.1"}
        Whose behaviour is simulated.
    name : str
    sample_interval : int or str
        Distance of the rows of the time line in simulated time; ``0`` turns it off.
    time_limit : int or str, optional
        The run ends at this simulated time at the latest.
    costs : mapping
        Simulated times by name, for example ``{"anon_fault": "1us"}``; see `pymem.tunables.COSTS`.
    oom_policy : str or policy
        Who is killed when memory runs out; see `pymem.oom`.

    Raises
    ------
    ScenarioError, TunableError
        Named key, what was found, what is accepted.
    """

    machine: Machine = field(default_factory=Machine)
    vm: Mapping[str, Any] = field(default_factory=dict)
    tasks: Sequence[Task] = ()
    seed: int = 0
    kernel: str = "6.12"
    name: str = ""
    sample_interval: int | str = "10ms"
    time_limit: int | str | None = None
    costs: Mapping[str, Any] = field(default_factory=dict)
    oom_policy: Any = "kernel"

    def __post_init__(self) -> None:
        if not isinstance(self.machine, Machine):
            raise ScenarioError(f"machine: {self.machine!r}; accepted is a pymem.Machine")
        if self.kernel not in KERNELS:
            raise ScenarioError(f"kernel: {self.kernel!r}; accepted are {' and '.join(map(repr, KERNELS))}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 1 << 64:
            raise ScenarioError(f"seed: {self.seed!r}; accepted is an integer from 0 to 2^64 - 1")
        if not isinstance(self.name, str):
            raise ScenarioError(f"name: {self.name!r}; accepted is a text")
        for key, kind, accepted in (
            ("tasks", Sequence, "a sequence of pymem.Task objects"), ("vm", Mapping, "a mapping of tunables by name"),
            ("costs", Mapping, "a mapping of times by name"),
        ):  # fmt: skip
            if not isinstance(getattr(self, key), kind) or isinstance(getattr(self, key), str):
                raise ScenarioError(f"{key}: {getattr(self, key)!r}; accepted is {accepted}")
        object.__setattr__(self, "tasks", tuple(self.tasks))
        if not 1 <= len(self.tasks) <= MAX_TASKS:
            raise ScenarioError(f"tasks: {len(self.tasks)}; accepted are 1 to {MAX_TASKS}")
        seen = set()
        per_node = [node.cpus for node in self.machine.all_nodes]
        for task in self.tasks:
            if not isinstance(task, Task):
                raise ScenarioError(f"tasks: {task!r}; accepted are pymem.Task objects")
            if task.name in seen:
                raise ScenarioError(f"tasks.name: {task.name!r} twice; names must differ")
            seen.add(task.name)
            task.cpus(per_node)
        object.__setattr__(self, "sample_interval", units.parse_time(self.sample_interval, "sample_interval"))
        if self.time_limit is not None:
            object.__setattr__(self, "time_limit", units.parse_time(self.time_limit, "time_limit"))
        pages = [sum(zone.managed for zone in zones) for zones in self.machine.layout()]
        self._check_policies(pages)
        managed = sum(pages)
        tunables.engine_params(tunables.resolve(self.vm, self.kernel), self.kernel, managed)
        self.cost_ns()
        self.policy()
        self._check_fit(managed)

    def policy(self) -> oom.Policy:
        """The OOM policy object."""
        return oom.by_name(self.oom_policy)

    def cost_ns(self) -> dict[str, int]:
        """The cost model in ns, defaults filled in."""
        known = {name.removeprefix("c_"): name for name in tunables.COSTS}
        out = {name: cost.default for name, cost in tunables.COSTS.items()}
        for name, value in self.costs.items():
            short = str(name).removeprefix("c_")
            if short not in known:
                raise ScenarioError(f"costs.{name}: unknown; accepted are {', '.join(sorted(known))}")
            ns = units.parse_time(value, f"costs.{name}")
            least = 1 if short.startswith("sched_") else 0  # a quantum of nothing would never let time pass
            if not least <= ns <= MAX_COST:
                raise ScenarioError(f"costs.{name}: {value!r}; accepted is {least}ns to 1s")
            out[known[short]] = ns
        return out

    def _check_policies(self, pages: Sequence[int]) -> None:
        """Refuse memory policies for nodes that do not exist or have no memory, and modes that the kernel lacks."""
        for task in self.tasks:
            if task.policy is not None:
                task.policy.check(f"task {task.name!r}.policy", pages, self.kernel)
            for number, region in enumerate(task.workload.regions):
                if region.policy is not None:
                    region.policy.check(f"task {task.name!r}.regions[{number}].policy", pages, self.kernel)

    def _check_fit(self, managed: int) -> None:
        """Refuse memory locked at the start that can never fit into so many pages."""
        locked = sum(r.pages for task in self.tasks for r in task.workload.regions if r.locked)
        if locked > managed:
            raise ScenarioError(
                f"tasks: {locked} pages are locked in memory and can never fit; accepted is up to the {managed} pages "
                "of the machine"
            )

    def with_settings(self, settings: Mapping[str, Any]) -> Scenario:
        """A copy with other settings.

        Parameters
        ----------
        settings : mapping
            By dotted names: ``vm.swappiness``, ``machine.memory``, ``seed``, ...  Values may be strings, as on the
            command line.  All are set before any is checked against the others.

        Raises
        ------
        ScenarioError, TunableError
            Unknown name, or a value that is not accepted.
        """
        tables = {"vm": dict(self.vm), "costs": dict(self.costs)}
        machine: dict[str, Any] = {}
        others: dict[str, Any] = {}
        for key, value in settings.items():
            head, _, rest = key.partition(".")
            name = key.removeprefix("machine.")
            if head in tables and rest:
                tables[head].pop(rest, None)  # the last of several spellings counts
                tables[head][rest] = value
            elif name in ("memory", "cpus"):
                if self.machine.nodes and not isinstance(self.machine.nodes, int):
                    raise ScenarioError(f"{key}: the machine has nodes of its own; accepted is a change of the nodes")
                machine[name] = _integer(key, value) if name == "cpus" else value
            elif key in ("seed", "kernel", "sample_interval", "time_limit", "oom_policy", "name"):
                others[key] = _integer(key, value) if key == "seed" else value
            else:
                raise ScenarioError(
                    f"{key}: unknown setting; accepted are vm.NAME, costs.NAME, machine.memory, machine.cpus, seed, "
                    "kernel, sample_interval, time_limit, oom_policy, name"
                )
        others.update(tables, machine=replace(self.machine, **machine))
        return replace(self, **others)


def _integer(key: str, value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,30}", value.strip()):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ScenarioError(f"{key}: {value!r}; accepted is an integer")
    return value


def _tasks_from(value: Any, base: Path) -> list[Task]:
    from pymem import workloads

    if not isinstance(value, list):
        raise ScenarioError(f"tasks: {value!r}; accepted is an array of tables ([[tasks]])")
    accepted = [f.name for f in fields(Task)] + ["count"]
    out = []
    for number, item in enumerate(value):
        key = f"tasks[{number}]"
        if not isinstance(item, dict):
            raise ScenarioError(f"{key}: {item!r}; accepted is a table")
        for name in item:
            if name not in accepted:
                raise ScenarioError(f"{key}.{name}: unknown key; accepted are {', '.join(accepted)}")
        for name in ("name", "workload"):
            if name not in item:
                raise ScenarioError(f"{key}.{name}: missing")
        entry = dict(item)
        count = _integer(f"{key}.count", entry.pop("count", 1))
        if not 1 <= count <= MAX_TASKS:
            raise ScenarioError(f"{key}.count: {count}; accepted is 1 to {MAX_TASKS}")
        entry["workload"] = workloads.from_dict(entry["workload"], f"{key}.workload", base)
        for copy in range(count):
            name = entry["name"] if count == 1 else f"{entry['name']}-{copy + 1}"
            out.append(Task(**{**entry, "name": name}))
    return out


def scenario_from(value: Mapping[str, Any], base: Path) -> Scenario:
    """The scenario of a TOML document; relative paths in it start at `base`."""
    accepted = [f.name for f in fields(Scenario)]
    for name in value:
        if name not in accepted:
            raise ScenarioError(f"{name}: unknown key; accepted are {', '.join(accepted)}")
    table = dict(value)
    table["machine"] = machine_from(table.get("machine", {}))
    for name in ("vm", "costs"):
        if not isinstance(table.get(name, {}), dict):
            raise ScenarioError(f"{name}: {table[name]!r}; accepted is a table")
    table["tasks"] = _tasks_from(table.get("tasks", []), base)
    return Scenario(**table)


def load(path: str | Path, read: Callable[[Path], bytes] = Path.read_bytes) -> Scenario:
    """The scenario of a TOML file.

    Parameters
    ----------
    path : str or Path
        Relative paths in the file start at its folder; a scenario without a name gets that of the file.
    read : function
        Gives the bytes of a path, instead of reading the file.

    Raises
    ------
    ScenarioError
        With the file name in front: not readable, not TOML, or anything in it that is not accepted.
    """
    path = Path(path)
    try:
        document = tomllib.loads(read(path).decode("utf-8"))
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ScenarioError(f"{path}: not a TOML file ({error})") from None
    try:
        scenario = scenario_from(document, path.parent)
    except PymemError as error:
        raise type(error)(f"{path}: {error}") from None
    return scenario if scenario.name else replace(scenario, name=path.stem)
