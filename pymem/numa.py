"""Shapes of machines with several NUMA nodes, and the memory tiers that follow from what an access costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pymem.errors import ScenarioError

LOCAL_DISTANCE, REMOTE_DISTANCE = 10, 20
DRAM_DISTANCE = 4 * 128 + 64  # abstract distance of ordinary memory (MEMTIER_ADISTANCE_DRAM)
TIER_WIDTH = 128  # abstract distances that make one tier (MEMTIER_CHUNK_SIZE)


@dataclass(frozen=True)
class Shape:
    """Nodes of a machine, whatever its size.

    Attributes
    ----------
    meaning : str
    shares : tuple of int
        Part of the memory of each node.
    sockets : int
        The first so many nodes have CPUs, all the same number.
    access : tuple of str
        Time of an access from distance 10.
    distances : tuple of tuples of int
        As the firmware reports them (SLIT).
    """

    meaning: str
    shares: tuple[int, ...]
    sockets: int
    access: tuple[str, ...]
    distances: tuple[tuple[int, ...], ...]


def equal(nodes: int) -> Shape:
    """Nodes that are all alike, at equal distances."""
    return Shape(
        f"{nodes} equal nodes", (1,) * nodes, nodes, ("90ns",) * nodes, spread(nodes, REMOTE_DISTANCE)
    )


def spread(nodes: int, remote: int) -> tuple[tuple[int, ...], ...]:
    """Distances of nodes that are equally far from each other."""
    return tuple(tuple(LOCAL_DISTANCE if i == j else remote for j in range(nodes)) for i in range(nodes))


#: By the name that ``machine.preset`` takes.
PRESETS = {
    "2-socket": Shape(
        "two sockets with half of the memory each", (1, 1), 2, ("90ns",) * 2, ((10, 21), (21, 10)),
    ),
    "4-socket": Shape(
        "four sockets in a ring: two neighbours each, the fourth socket two hops away", (1, 1, 1, 1), 4, ("90ns",) * 4,
        ((10, 21, 31, 21), (21, 10, 21, 31), (31, 21, 10, 21), (21, 31, 21, 10)),
    ),
    "2-socket-cxl": Shape(
        "two sockets with 3/8 of the memory each, and a CXL device at the first one with 1/4, which has no CPUs",
        (3, 3, 2), 2, ("90ns", "90ns", "170ns"), ((10, 21, 14), (21, 10, 24), (14, 24, 10)),
    ),
}  # fmt: skip


def split_memory(shape: Shape, pages: int) -> list[int]:
    """Pages of each node; what does not divide goes to the first."""
    parts = [pages * share // sum(shape.shares) for share in shape.shares]
    return [parts[0] + pages - sum(parts), *parts[1:]]


def split_cpus(shape: Shape, cpus: int, key: str) -> list[int]:
    """CPUs of each node; ScenarioError unless they divide."""
    if cpus < shape.sockets or cpus % shape.sockets:
        raise ScenarioError(f"{key}: {cpus}; accepted is a multiple of {shape.sockets}, the nodes that have CPUs")
    return [cpus // shape.sockets if node < shape.sockets else 0 for node in range(len(shape.shares))]


def tiers(access_ns: Sequence[Sequence[int]], cpus: Sequence[int], pages: Sequence[int]) -> list[int]:
    """Memory tier of each node, 0 being the fastest.

    As the kernel does with the figures of the firmware: a node is as far away as its latency from the nearest CPU
    is slower than ordinary memory, which is that of the first node with CPUs and memory; distances within a width of
    128 (ordinary memory: 576) are one tier.

    Parameters
    ----------
    access_ns : matrix of int
        Latency of an access from a CPU of node i to memory of node j.
    cpus, pages : sequence of int
        Of each node.
    """
    near = [min(row[j] for row, n in zip(access_ns, cpus, strict=True) if n) for j in range(len(cpus))]
    both = [j for j in range(len(cpus)) if cpus[j] and pages[j]]
    dram = max(1, near[both[0]] if both else min(near))
    chunk = [DRAM_DISTANCE * latency // dram // TIER_WIDTH for latency in near]
    # nodes without memory are in no tier; their number does not matter to anybody
    order = sorted({c for c, size in zip(chunk, pages, strict=True) if size})
    return [order.index(c) if c in order else 0 for c in chunk]


def demotion_targets(
    tier: Sequence[int], distances: Sequence[Sequence[int]], pages: Sequence[int]
) -> list[list[int]]:
    """Where reclaim of each node moves pages: the nearest nodes with memory of the next slower tier."""
    out = []
    for i, mine in enumerate(tier):
        below = min((t for t, size in zip(tier, pages, strict=True) if size and t > mine), default=-1)
        lower = [j for j in range(len(tier)) if pages[j] and tier[j] == below]
        nearest = min((distances[i][j] for j in lower), default=0)
        out.append([j for j in lower if distances[i][j] == nearest] if pages[i] else [])
    return out
