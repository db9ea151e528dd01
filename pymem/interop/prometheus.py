"""The counters of a result in the text format of Prometheus, named as node_exporter names them.

``node_vmstat_*``, ``node_memory_*_bytes`` and ``node_pressure_*_seconds_total`` mean what they mean on a real machine,
so dashboards and rules made for node_exporter work; what is of the simulation alone is called ``pymem_*``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pymem.result import Result

PRESSURE = {
    "memory_some": ("memory_waiting", "some task waited for memory"),
    "memory_full": ("memory_stalled", "all tasks waited for memory"),
    "io_some": ("io_waiting", "some task waited for I/O"),
    "io_full": ("io_stalled", "all tasks waited for I/O"),
    "cpu_some": ("cpu_waiting", "some task waited for a CPU"),
}
QUANTILES = (50, 90, 99, 99.9)

Sample = tuple[Mapping[str, object], float]


def metrics(result: Result) -> str:
    """The text, ready for the textfile collector of node_exporter or for ``promtool check metrics``."""
    out: list[str] = []

    def add(name: str, kind: str, words: str, samples: Iterable[Sample], suffix: str = "") -> None:
        if not suffix:
            out.extend((f"# HELP {name} {words}", f"# TYPE {name} {kind}"))
        for labels, value in samples:
            inside = ",".join(f'{key}="{_escaped(str(label))}"' for key, label in labels.items())
            out.append(f"{name}{suffix}{f'{{{inside}}}' if inside else ''} {_number(value)}")

    for name, count in result.vmstat.items():
        kind = "gauge" if name.startswith("nr_") and name not in _GROWING else "counter"
        add(f"node_vmstat_{name}", kind, f"/proc/vmstat field {name}", [({}, count)])
    for name, kib in result.meminfo.items():
        field = re.sub(r"\((\w+)\)", r"_\1", name)
        add(f"node_memory_{field}_bytes", "gauge", f"/proc/meminfo field {name}", [({}, kib * 1024)])
    for key, (name, words) in PRESSURE.items():
        if key in result.psi:
            seconds = result.psi[key]["total"] / 1e9
            add(f"node_pressure_{name}_seconds_total", "counter", f"Time in which {words}", [({}, seconds)])
    add("pymem_simulated_seconds", "gauge", "Simulated time at the end", [({}, result.time_ns / 1e9)])
    tasks = [({"task": name}, task) for name, task in result.tasks.items()]
    add("pymem_task_accesses_total", "counter", "Accesses", [(labels, t.accesses) for labels, t in tasks])
    add("pymem_task_cpu_seconds_total", "counter", "CPU time", [(labels, t.cpu_ns / 1e9) for labels, t in tasks])
    add("pymem_task_killed", "gauge", "1 if it was killed", [(labels, t.state == "killed") for labels, t in tasks])
    add(
        "pymem_task_stall_seconds_total", "counter", "Waiting time by cause",
        [({**labels, "cause": cause}, ns / 1e9) for labels, t in tasks for cause, ns in t.stalls.items()],
    )  # fmt: skip
    name = "pymem_access_latency_seconds"
    used = [({**labels, "kind": kind}, h) for labels, t in tasks for kind, h in t.latency.items() if h.count]
    add(
        name, "summary", "Accesses that did not hit, by what they turned out to be",
        [({**labels, "quantile": p / 100}, h.percentile(p) / 1e9) for labels, h in used for p in QUANTILES],
    )  # fmt: skip
    add(name, "", "", [(labels, h.total_ns / 1e9) for labels, h in used], "_sum")
    add(name, "", "", [(labels, h.count) for labels, h in used], "_count")
    return "\n".join(out) + "\n"


#: Fields of /proc/vmstat that only grow, although they are called nr_*.
_GROWING = {
    "nr_vmscan_write", "nr_vmscan_immediate_reclaim", "nr_dirtied", "nr_written", "nr_throttled_written"
}  # fmt: skip


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
