"""Settings as a sysctl.conf: what sysctl(8) takes as it is, the rest for `pymem run --sysctl` with a remark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymem.tunables import TUNABLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Where a kernel has what is no sysctl; names by their beginning.
_ELSEWHERE = {
    "zswap.": "/sys/module/zswap/parameters/",
    "swap.vma_ra_enabled": "/sys/kernel/mm/swap/vma_ra_enabled",
    "demotion_enabled": "/sys/kernel/mm/numa/demotion_enabled",
    "transparent_hugepage": "/sys/kernel/mm/transparent_hugepage/enabled",
    "fault_around_bytes": "/sys/kernel/debug/fault_around_bytes",
    "read_ahead_kb": "/sys/block/DEVICE/queue/read_ahead_kb",
    "numa.": "/sys/kernel/debug/sched/numa_balancing/",
    "hz": "CONFIG_HZ of the kernel",
    "lowmem_reserve_ratio.": "one of the values of vm.lowmem_reserve_ratio",
}


def conf_text(settings: Mapping[str, Any], remarks: Sequence[str] = ()) -> str:
    """The text of a sysctl.conf.

    Parameters
    ----------
    settings : mapping
        By the names of `pymem.settings`, such as ``vm.swappiness``. Settings other than ``vm.*`` become remarks.
    remarks : sequence of str
        Go in front.

    Notes
    -----
    A leading ``-`` makes sysctl(8) pass over a name that the kernel does not know; `pymem` reads the line all the same.
    """
    lines = [f"# {remark}" for remark in remarks]
    for key, value in settings.items():
        name = key.removeprefix("vm.")
        if name not in TUNABLES or not key.startswith("vm."):
            lines.append(f"# not a sysctl: {key} = {value}")
            continue
        place = next((where for start, where in _ELSEWHERE.items() if name.startswith(start)), None)
        if place is not None:
            where = place + name.partition(".")[2] if place.endswith("/") else place
            lines += [f"# no sysctl of Linux: set it in {where}", f"-vm.{name} = {value}"]
        elif name.startswith("numa_balancing"):
            lines.append(f"kernel.{name} = {value}")
        else:
            lines.append(f"vm.{name} = {value}")
    return "\n".join(lines) + "\n"
