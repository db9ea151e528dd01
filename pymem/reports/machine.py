"""A machine as its kernel sees it: nodes, zones, watermarks, reserves, swap areas, tunables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymem import tunables
from pymem.simulation import build
from pymem.topology import ZONE_NAMES
from pymem.units import PAGE_SIZE, format_bytes, format_pages

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pymem.scenario import Scenario

_MARKS = ("min", "low", "high", "promo")
_SIZES = ("spanned", "present", "managed", "free")


def figures(scenario: Scenario) -> dict[str, Any]:
    """What the kernel of a scenario computes for its machine, before the tasks begin; pages unless the name says KiB.

    Returns
    -------
    dict
        ``kernel``, ``min_free_kbytes``, ``nodes`` (managed, cpus, distances), ``zones`` (sizes, watermarks,
        protection by zone), ``swap`` (slots, kind, priority), ``tunables`` (name: value, default).
    """
    engine, _ = build(scenario)
    machine = scenario.machine
    vm = tunables.resolve(scenario.vm, scenario.kernel)
    return {
        "kernel": scenario.kernel,
        "min_free_kbytes": engine.min_free_kbytes,
        "nodes": [
            {"managed": facts["managed"], "cpus": node.cpus, "distances": list(row)}
            for facts, node, row in zip(engine.nodes(), machine.all_nodes, machine.all_distances, strict=True)
        ],
        "zones": [
            {
                "node": z["node"], "zone": ZONE_NAMES[z["idx"]], "start_pfn": z["start_pfn"],
                **{name: z[name] for name in (*_SIZES, *_MARKS)},
                "protection": dict(zip(ZONE_NAMES, z["protection"], strict=True)),
            }
            for z in engine.zones()
        ],
        "swap": [{"slots": d.slots, "kind": d.kind, "priority": d.priority} for d in machine.swap],
        "tunables": {
            name: {"value": value, "default": tunables.TUNABLES[name].default}
            for name, value in vm.items()
            if value != tunables.TUNABLES[name].default
        },
    }  # fmt: skip


def render(shown: dict[str, Any]) -> list[RenderableType]:
    """Tables for a terminal of what `figures` returns."""
    from rich.table import Table
    from rich.text import Text

    out: list[RenderableType] = [Text(f"kernel {shown['kernel']}, min_free_kbytes {shown['min_free_kbytes']}")]

    def table(title: str, *columns: str) -> Table:
        new = Table(box=None, pad_edge=False, header_style="bold")
        for i, column in enumerate(columns):
            new.add_column(column, justify="left" if i == 0 else "right")
        out.extend([Text(), Text(title, style="italic"), new])
        return new

    nodes = table("nodes", "node", "memory", "CPUs", "distances")
    for i, node in enumerate(shown["nodes"]):
        nodes.add_row(str(i), format_pages(node["managed"]), str(node["cpus"]), " ".join(map(str, node["distances"])))
    zones = table("zones, in pages", "zone", *_SIZES, *_MARKS)
    for z in shown["zones"]:
        zones.add_row(f"{z['node']} {z['zone']}", *(f"{z[name]:,}" for name in (*_SIZES, *_MARKS)))
    reserves = table("kept from requests that could use a higher zone (lowmem_reserve), in pages", "zone", *ZONE_NAMES)
    for z in shown["zones"]:
        reserves.add_row(f"{z['node']} {z['zone']}", *(f"{pages:,}" for pages in z["protection"].values()))
    if shown["swap"]:
        swap = table("swap", "kind", "size", "priority")
        for area in shown["swap"]:
            priority = "in order" if area["priority"] is None else str(area["priority"])
            swap.add_row(area["kind"], format_bytes(area["slots"] * PAGE_SIZE), priority)
    if shown["tunables"]:
        settings = table("tunables that differ from the default", "name", "value", "default")
        for name, row in shown["tunables"].items():
            settings.add_row(name, str(row["value"]), "auto" if row["default"] == -1 else str(row["default"]))
    else:
        out += [Text(), Text("all tunables have their defaults")]
    return out
