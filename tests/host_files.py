"""Files of hosts for tests: the text that kernels print, from recorded figures or from the kernel's formulas."""

import io
import math
import tarfile

ALL_ZONES = ("DMA", "DMA32", "Normal", "Movable", "Device")
_FIELDS = ("boost", "min", "low", "high", "spanned", "present", "managed", "cma")


def zoneinfo(zones, order=ALL_ZONES):
    """``/proc/zoneinfo`` as 6.1 prints it, from dicts such as recordings have; zones not among them are empty.

    `order`: the zones that the kernel was built with.
    """
    out = []
    seen = {(z["node"], z["zone"]): z for z in zones}
    for node in sorted({z["node"] for z in zones}):
        stats = next((z for z in zones if z["node"] == node and "nr_inactive_anon" in z), {})
        for name in order:
            z = seen.get((node, name), {})
            out.append(f"Node {node}, zone {name:>8}")
            if z and z is stats:
                out.append("  per-node stats")
                out += [f"      {k:<12} {v}" for k, v in z.items() if _of_node(k)]
            out.append(f"  pages free     {z.get('free', 0)}")
            out += [f"        {k:<8} {z.get(k, 0)}" for k in _FIELDS]
            protection = z.get("protection", [0] * len(order))
            out.append(f"        protection: ({', '.join(map(str, protection))})")
            if not z:
                continue
            out += [f"      {k:<12} {v}" for k, v in z.items() if k.startswith("nr_") and not _of_node(k)]
            out.append("  pagesets")
            for cpu in range(z.get("cpus", 2)):
                out += [f"    cpu: {cpu}", f"              count: {z.get('count', 0)}", "              high:  54",
                        "              batch: 7", "  vm stats threshold: 12"]  # fmt: skip
            out += ["  node_unreclaimable:  0", f"  start_pfn:           {z['start_pfn']}"]
    return "\n".join(out) + "\n"


def _of_node(key):
    zone_own = ("nr_free_pages", "nr_mlock", "nr_bounce", "nr_zspages", "nr_free_cma")
    return key.startswith(("nr_", "workingset")) and not key.startswith("nr_zone_") and key not in zone_own


def recorded(data):
    """The files of a recorded kernel run, by path: what its guest had under /proc and /sys before the first access."""
    zones = data["zoneinfo_start"]
    out = {
        "proc/meminfo": "".join(f"{k + ':':<16}{v:8d} kB\n" for k, v in data["meminfo_start"].items()),
        "proc/zoneinfo": zoneinfo(zones),
        "proc/vmstat": "".join(f"{k} {v}\n" for k, v in data["vmstat_start"].items()),
        "proc/version": data["kernel"].split(" (")[0] + " (gcc) #1 SMP\n",
        **{f"proc/sys/vm/{k}": f"{v}\n" for k, v in data["sysctl_vm"].items()},
    }
    for path, text in data["params"].items():
        if "." not in path:
            out[path.lstrip("/")] = text + "\n"
    nodes = sorted({z["node"] for z in zones})
    if len(nodes) > 1:
        for node in nodes:
            out[f"sys/devices/system/node/node{node}/cpulist"] = f"{node}\n"
            out[f"sys/devices/system/node/node{node}/distance"] = "10 20\n" if node == 0 else "20 10\n"
    out["sys/block/vdb/queue/rotational"] = "0\n"
    return out


def arm_server(nodes=4, gib=64, page_kib=4):
    """A server with ARM processors: no zone DMA, memory of every node far above that of the one before.

    Watermarks and reserves by the formulas of mm/page_alloc.c, written down here once more.
    """
    order = ("DMA32", "Normal", "Movable")
    per_node = gib << 18
    zones = []
    for node in range(nodes):
        start = node << 31 | 0x80000  # 2 GiB above the 8 TiB that belong to the node
        low = 1 << 19 if node == 0 else 0  # 2 GiB of node 0 lie below 4 GiB
        for name, first, pages in (("DMA32", start, low), ("Normal", start + (1 << 20), per_node - low)):
            if pages:
                managed = pages - pages // 64
                zones.append({"node": node, "zone": name, "start_pfn": first, "spanned": pages, "present": pages,
                              "managed": managed, "free": managed // 2, "cma": 0, "cpus": 32, "count": 20})  # fmt: skip
    total = sum(z["managed"] for z in zones)
    blocks = len(zones) * (2 + 3 * 3)  # khugepaged wants so many of 2 MiB
    least = max(blocks * 2048, min(math.isqrt(total * 4 * 16), 262144))
    for z in zones:
        low = (least // 4) * z["managed"] // total
        gap = max(low // 4, z["managed"] * 10 // 10000)
        z |= {"boost": 0, "min": low, "low": low + gap, "high": low + 2 * gap}
        above = [o["managed"] for o in zones if o["node"] == z["node"] and o["zone"] == "Normal"]
        z["protection"] = [0, above[0] // 256, above[0] // 256] if z["zone"] == "DMA32" else [0, 0, 0]
    out = {
        "proc/meminfo": f"MemTotal: {total * page_kib} kB\nHugePages_Total:       8\n",
        "proc/zoneinfo": zoneinfo(zones, order),
        "proc/swaps": "Filename\tType\tSize\tUsed\tPriority\n/dev/nvme0n1p3  partition\t8388604\t\t4096\t\t5\n",
        "proc/mounts": "/dev/nvme0n1p2 / xfs rw 0 0\n",
        "proc/sys/kernel/osrelease": "6.8.0-45-generic\n",
        "proc/sys/kernel/numa_balancing": "1\n",
        "proc/sys/vm/min_free_kbytes": f"{least}\n",
        "proc/sys/vm/lowmem_reserve_ratio": "256\t32\t0\n",
        "proc/sys/vm/swappiness": "10\n",
        "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
        "sys/block/nvme0n1/queue/rotational": "0\n",
        "sys/block/nvme0n1/queue/read_ahead_kb": "128\n",
    }
    for node in range(nodes):
        row = [10 if node == other else 15 if node // 2 == other // 2 else 20 for other in range(nodes)]
        out[f"sys/devices/system/node/node{node}/cpulist"] = f"{32 * node}-{32 * node + 31}\n"
        out[f"sys/devices/system/node/node{node}/distance"] = " ".join(map(str, row)) + "\n"
    return out


def write(folder, files):
    """Put files, text or bytes by path, below a folder."""
    for path, content in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def pack(path, files, top="", mode="w:gz"):
    """Put files into a tar archive, in a folder `top` of it."""
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            data = content.encode()
            info = tarfile.TarInfo(f"{top}{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path
