"""The tunables of a host, as far as they are simulated and differ from their defaults."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pymem.errors import HostError, TunableError
from pymem.tunables import ONLY_IN, TUNABLES, parse

if TYPE_CHECKING:
    from pymem.hosts.source import Files

#: Where a kernel keeps what is not under /proc/sys/vm.
_PLACES = {
    "numa_balancing": "proc/sys/kernel/numa_balancing",
    "numa_balancing_promote_rate_limit_MBps": "proc/sys/kernel/numa_balancing_promote_rate_limit_MBps",
    "transparent_hugepage": "sys/kernel/mm/transparent_hugepage/enabled",
    "swap.vma_ra_enabled": "sys/kernel/mm/swap/vma_ra_enabled",
    "demotion_enabled": "sys/kernel/mm/numa/demotion_enabled",
    "fault_around_bytes": "sys/kernel/debug/fault_around_bytes",
    **{
        f"numa.{name}": f"sys/kernel/debug/sched/numa_balancing/{name}"
        for name in ("scan_delay_ms", "scan_period_min_ms", "scan_size_mb", "hot_threshold_ms")
    },
    **{name: f"sys/module/zswap/parameters/{name.removeprefix('zswap.')}" for name in TUNABLES if "zswap." in name},
}
_RATIOS = "lowmem_reserve_ratio"
_SYSCTL_A = "sos_commands/kernel/sysctl_-a"
_ZONES = {"DMA": "dma", "DMA32": "dma32", "Normal": "normal"}


def settings(
    files: Files, kernel: str, zones: list[str], disk: str | None, notes: list[str]
) -> tuple[dict[str, int | str], int | None]:
    """Tunables by name, and min_free_kbytes apart, because its default depends on the machine; None: unknown.

    Parameters
    ----------
    files : Files
    kernel : str
    zones : list of str
        All zones of the kernel, in its order: so it prints ``lowmem_reserve_ratio``.
    disk : str, optional
        The device of which ``read_ahead_kb`` is taken.
    notes : list of str
        Gets a text for everything that is left out.

    Raises
    ------
    HostError
        A file that holds no setting.
    """
    listed = _sysctl_a(files)
    vm: dict[str, int | str] = {}
    for name, tunable in TUNABLES.items():
        if name.startswith(_RATIOS) or name == "hz":
            continue
        path = _PLACES.get(name, f"proc/sys/vm/{name}")
        if name == "read_ahead_kb":
            path = f"sys/block/{disk}/queue/read_ahead_kb"
        text = files.word(path)
        where = f"{files.shown(path)}, line 1"
        if text is None:
            text, where = listed.get(name, (None, ""))
        if text is None:
            continue
        value = _value(name, text, where, notes)
        if name == "zswap.zpool" and value == int(kernel == "6.1"):
            continue  # what auto comes to
        if value is None or value == tunable.default:
            continue
        if ONLY_IN.get(name, kernel) != kernel:
            notes.append(f"vm.{name} = {text}: the simulated kernel {kernel} does not have it")
            continue
        words = {number: word for word, number in tunable.words.items() if not word.isdigit() and len(word) > 1}
        vm[name] = words.get(value, value) if tunable.unit in ("name", "mode") else value
    hz = _hz(files)
    if hz and hz != TUNABLES["hz"].default:
        vm["hz"] = hz
    _ratios(files, listed, zones, vm)
    for stem in ("dirty", "dirty_background"):
        if vm.get(f"{stem}_bytes"):
            vm.pop(f"{stem}_ratio", None)  # the kernel shows 0 for the one that does not count
    known = sorted(name for name in files.names("proc/sys/vm") if name not in TUNABLES and name != _RATIOS)
    if known:
        notes.append(f"settings under /proc/sys/vm without effect in the simulation: {', '.join(known)}")
    if not files.names("proc/sys/vm") and not listed:
        notes.append("/proc/sys/vm is not there: all its settings are taken to be the defaults")
    least = vm.pop("min_free_kbytes", None)
    return vm, None if least is None else int(least)


def _value(name: str, text: str, where: str, notes: list[str]) -> int | None:
    """The number of a setting; None, with a note, if it is one that the simulation does not take."""
    tunable = TUNABLES[name]
    try:
        return parse(tunable, text)
    except TunableError as error:
        if re.fullmatch(r"-?\d{1,20}", text) or (tunable.unit == "name" and re.fullmatch(r"[a-z0-9][\w-]*", text)):
            notes.append(f"vm.{name} = {text}: not simulated; accepted is {tunable.accepted}")
            return None
        raise HostError(f"{where}: {error}") from None


def _ratios(files: Files, listed: dict[str, tuple[str, str]], zones: list[str], vm: dict[str, int | str]) -> None:
    """lowmem_reserve_ratio: one number per zone that the kernel was built with, whichever these are."""
    path = f"proc/sys/vm/{_RATIOS}"
    text, where = files.word(path), f"{files.shown(path)}, line 1"
    if text is None:
        text, where = listed.get(_RATIOS, (None, ""))
    if text is None:
        return
    if not re.fullmatch(r"\d{1,10}(\s+\d{1,10})*", text):
        raise HostError(f"{where}: {text!r} is not understood; accepted are numbers such as '256 256 32'")
    for zone, ratio in zip(zones, text.split(), strict=False):
        name = f"{_RATIOS}.{_ZONES.get(zone)}"
        if name in TUNABLES and int(ratio) != TUNABLES[name].default:
            vm[name] = int(ratio)


def _sysctl_a(files: Files) -> dict[str, tuple[str, str]]:
    """What ``sysctl -a`` said when an sosreport was made: value and place by name."""
    out: dict[str, tuple[str, str]] = {}
    for number, line in enumerate((files.text(_SYSCTL_A) or "").splitlines(), 1):
        found = re.fullmatch(r"(?:vm|kernel)\.([\w.-]+) = (.*)", line)
        if found:
            out[found[1]] = (found[2].strip(), f"{files.shown(_SYSCTL_A)}, line {number}")
    return out


def _hz(files: Files) -> int | None:
    """CONFIG_HZ, where the configuration of the kernel is there."""
    for name in files.names("boot"):
        if name.startswith("config-"):
            found = re.search(r"^CONFIG_HZ=(\d+)$", files.text(f"boot/{name}") or "", re.MULTILINE)
            return int(found[1]) if found and 100 <= int(found[1]) <= 1000 else None
    return None
