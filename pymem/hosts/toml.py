"""A host as the text of a scenario file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pymem.units import format_bytes

if TYPE_CHECKING:
    from pymem.devices import Disk, SwapDevice
    from pymem.hosts.host import Host
    from pymem.topology import Zone

_WIDTH = 116


def host_toml(host: Host) -> str:
    """The text of a scenario file; see `Host.to_toml`."""
    machine = host.machine
    lines = [
        *_comment(f"The machine of {host.source}" + (f", Linux {host.release}" if host.release else "") + "."),
        *(_line for text in host.state for _line in _comment(text)),
        "#",
        *_comment("Left out or assumed:"),
        *(_line for text in host.notes for _line in _comment(text, "- ")),
        "",
        'name = "host"',
        f"kernel = {_value(host.kernel)}",
        "",
        "[machine]",
    ]
    if not machine.nodes:
        lines += [f"memory = {_value(machine.memory)}", f"cpus = {machine.all_nodes[0].cpus}"]
    lines += [f"filesystem = {_value(machine.filesystem)}", f"disk = {_value(_disk(machine.disk))}"]
    if machine.swap:
        lines += ["swap = [", *(f"    {_value(_swap(device))}," for device in machine.swap), "]"]
    if machine.distances:
        lines.append(f"distances = {_value([list(row) for row in machine.all_distances])}")
    given = vars(machine.boot).items()
    boot = {name: value for name, value in given if value is not None and not name.startswith("ramfs")}
    if boot:
        lines.append(f"boot = {_value(boot)}")
    for number, node in enumerate(machine.all_nodes if machine.nodes else ()):
        managed = sum(zone.managed for zone in node.zones)
        lines += ["", f"[[machine.nodes]]  # {number}: {format_bytes(managed * 4096)}", f"cpus = {node.cpus}"]
        if node.zones:
            lines += ["zones = [", *(f"    {_value(_zone(zone))}," for zone in node.zones), "]"]
    lines += ["", "[vm]"]
    vm = [f"{_key(name)} = {_value(value)}" for name, value in host.vm.items()]
    lines += vm or ["# everything as the kernel has it"]
    lines += [
        "",
        "# An example: put the programs that the machine runs in its place (docs/scenarios.md).",
        "[[tasks]]",
        'name = "example"',
        'workload = { kind = "uniform", size = "64MiB", accesses = 1_000_000, writes = 0.3 }',
    ]
    return "\n".join(lines) + "\n"


def _comment(text: str, bullet: str = "") -> list[str]:
    import textwrap

    printable = "".join(c if c.isprintable() else "?" for c in text)
    return textwrap.wrap(
        printable, _WIDTH, initial_indent=f"# {bullet}", subsequent_indent="# " + " " * len(bullet),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _key(name: str) -> str:
    return name if all(c.isalnum() or c in "-_." for c in name) else json.dumps(name)


def _value(value: Any) -> str:
    """A value of TOML; the strings of JSON are strings of TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)


def _disk(disk: Disk) -> dict[str, Any]:
    return {name: value for name, value in vars(disk).items() if value is not None}


def _swap(device: SwapDevice) -> dict[str, Any]:
    out: dict[str, Any] = {"size": device.size, "kind": device.kind}
    if device.priority is not None:
        out["priority"] = device.priority
    if device.compression is not None:
        out["codec"] = device.compression.codec
        if device.compression.mem_limit:
            out["mem_limit"] = device.compression.mem_limit
    return out


def _zone(zone: Zone) -> dict[str, Any]:
    apart = ("unmovable", "reclaimable", "watermarks", "protection")
    out = {name: value for name, value in vars(zone).items() if name not in apart}
    if zone.watermarks is not None:
        out["watermarks"] = zone.watermarks
    if zone.protection:
        out["protection"] = zone.protection
    return out
