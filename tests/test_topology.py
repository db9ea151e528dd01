"""Machines: zones by address, what the kernel holds at the start, devices, and what is refused."""

import pytest

from pymem.devices import DISK_KINDS, Disk, SwapDevice
from pymem.errors import ScenarioError, TunableError, UnitError
from pymem.scenario import Scenario, Task
from pymem.simulation import Simulation
from pymem.topology import Boot, Machine, Node, Zone, machine_from
from pymem.workloads import Uniform

pytestmark = pytest.mark.engine  # the watermark vectors build machines of many sizes


def shapes(machine):
    return [[(z.name, z.start_pfn, z.spanned, z.managed) for z in zones] for zones in machine.layout()]


# ---- zones ------------------------------------------------------------------------------------------------
# Page frame 0 is not used.  DMA ends at 16 MiB = page 4096, the hole is the last of 4 GiB: pages 786432 to 1048575.
# 156 pages of DMA are reserved, elsewhere 64 bytes of memory map per page: one page in 64.


def test_zones_of_a_small_machine():
    rest = 262144 - 4095
    assert shapes(Machine("1GiB")) == [[("DMA", 1, 4095, 3939), ("DMA32", 4096, rest, rest - rest // 64)]]


def test_memory_goes_on_above_the_hole():
    low, high = 786432 - 4096, 1048576 - 4095 - (786432 - 4096)
    assert shapes(Machine("4GiB")) == [
        [("DMA", 1, 4095, 3939), ("DMA32", 4096, low, low - low // 64), ("Normal", 1 << 20, high, high - high // 64)]
    ]


def test_the_second_node_begins_where_the_first_ends():
    machine = Machine(nodes=[Node("2GiB"), Node("2GiB", cpus=0)])
    first, second = shapes(machine)
    assert [zone[0] for zone in first] == ["DMA", "DMA32"]
    end = 1 + 524288
    assert first[-1][1] + first[-1][2] == second[0][1] == end
    assert [(zone[0], zone[2]) for zone in second] == [("DMA32", 786432 - end), ("Normal", 524288 - (786432 - end))]


@pytest.mark.parametrize("size", ["16MiB", "17MiB", "3GiB", "5GiB", "64GiB"])
def test_no_page_is_lost(size):
    machine = Machine(size)
    zones = machine.layout()[0]
    assert sum(z.present for z in zones) == Machine(nodes=[Node(size)]).layout()[0][0].present + sum(
        z.present for z in zones[1:]
    )
    assert 4096 * sum(z.present for z in zones) == int(size[:-3]) << {"MiB": 20, "GiB": 30}[size[-3:]]


def test_given_zones_are_taken_as_they_are():
    zone = Zone("Normal", 1, 9000, 8192, 8000, 7000)
    assert Machine(nodes=[Node(zones=[zone])]).layout() == [[zone]]


def test_what_the_kernel_holds_comes_out_of_the_largest_zone():
    machine = Machine(
        "1GiB", boot=Boot(kernel="8MiB", slab_reclaimable="1MiB", slab_freeable=0, slab_unreclaimable=4096)
    )
    dma, dma32 = machine.layout()[0]
    assert dma.free == dma.managed
    assert dma32.managed - dma32.free == 2048 + 256 + 0 + 1
    assert machine.slab() == {"slab_reclaimable": 256, "slab_freeable": 0, "slab_unreclaimable": 1}


def test_what_the_kernel_holds_by_itself_grows_with_the_machine():
    total = 3939 + 254017
    machine = Machine("1GiB")
    assert machine.slab() == {
        "slab_reclaimable": total // 128,
        "slab_freeable": total // 256,
        "slab_unreclaimable": total // 64,
    }
    held = total // 32 + sum(machine.slab().values())
    assert sum(z.free for z in machine.layout()[0]) == total - held


def test_a_node_may_be_without_memory_or_without_cpus():
    machine = Machine(nodes=[Node(0, cpus=2), Node("64MiB", cpus=0)])
    first, second = machine.layout()
    assert first == []
    assert sum(z.free for z in second) < sum(z.managed for z in second)  # the kernel lives where memory is


# ---- the engine's watermarks, from the layout -------------------------------------------------------------


def engine_of(zones, vm):
    machine = Machine(nodes=[Node(zones=zones)])
    scenario = Scenario(machine=machine, vm=vm, tasks=[Task("a", Uniform("1MiB", accesses=1))])
    return Simulation(scenario).engine


# 4 * sqrt(lowmem in KiB) rounded down, for 1, 2, 4 ... GiB
@pytest.mark.parametrize(("gib", "kib"), [(1, 4096), (2, 5792), (4, 8192), (8, 11585), (16, 16384), (32, 23170)])
def test_min_free_kbytes_follows_the_size(gib, kib):
    pages = gib << 18
    engine = engine_of([Zone("Normal", 1 << 20, pages, pages, pages, pages)], {"transparent_hugepage": "never"})
    assert engine.min_free_kbytes == kib


def test_watermarks_of_a_live_kernel():
    managed = {"DMA": 3840, "DMA32": 772917, "Normal": 1310720}
    starts = {"DMA": 1, "DMA32": 4096, "Normal": 1 << 20}
    zones = [Zone(name, starts[name], pages, pages, pages, pages) for name, pages in managed.items()]
    found = engine_of(zones, {"min_free_kbytes": 67584}).zones()
    assert [(z["min"], z["low"], z["high"], z["promo"]) for z in found] == [
        (31, 38, 45, 52),
        (6255, 7818, 9381, 10944),
        (10608, 13260, 15912, 18564),
    ]
    assert [z["pcp"][0]["batch"] for z in found] == [1, 63, 63]
    # Each zone keeps 1/256 of all zones above it, and the last keeps nothing.
    assert found[0]["protection"][:3] == [0, 772917 // 256, (772917 + 1310720) // 256]
    assert found[1]["protection"][:3] == [0, 0, 1310720 // 256]
    assert max(found[2]["protection"][:3]) == 0


# ---- devices ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(DISK_KINDS))
def test_a_device_has_the_figures_of_its_kind_unless_given(kind):
    read, write, depth, bandwidth, rotational, synchronous = DISK_KINDS[kind]
    assert Disk(kind).figures() == {
        "read_ns": read,
        "write_ns": write,
        "queue_depth": depth,
        "bandwidth": bandwidth,
        "rotational": rotational,
        "synchronous": synchronous,
    }
    given = Disk(
        kind, read="1ms", write=5, queue_depth=3, bandwidth="1GiB", rotational=not rotational,
        synchronous=not synchronous,
    ).figures()  # fmt: skip
    assert given == {
        "read_ns": 1_000_000,
        "write_ns": 5,
        "queue_depth": 3,
        "bandwidth": 1 << 30,
        "rotational": not rotational,
        "synchronous": not synchronous,
    }


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Disk("tape"), "disk.kind: 'tape'; accepted are hdd, nvme, pmem, ramdisk, sata"),
        (lambda: Disk(["nvme"]), "disk.kind: ['nvme']; accepted are hdd, nvme, pmem, ramdisk, sata"),
        (lambda: Disk(synchronous="no"), "disk.synchronous: 'no'; accepted is true or false"),
        (lambda: Disk(queue_depth=0), "disk.queue_depth: 0; accepted is 1 to 65536"),
        (lambda: Disk(queue_depth=True), "disk.queue_depth: True; accepted is 1 to 65536"),
        (lambda: Disk(bandwidth=4095), "disk.bandwidth: 4095; accepted is at least 4096 bytes/s"),
        (lambda: Disk(rotational="yes"), "disk.rotational: 'yes'; accepted is true or false"),
        (lambda: Disk(read="2h"), "disk.read: '2h'; accepted is up to 1h"),
        (lambda: SwapDevice("4KiB"), "machine.swap.size: '4KiB' is 1 slots; accepted is 2 to 4294967294"),
        (lambda: SwapDevice("16TiB"), "machine.swap.size: '16TiB' is 4294967296 slots; accepted is 2 to 4294967294"),
        (lambda: SwapDevice("1MiB", priority=32768), "machine.swap.priority: 32768; accepted is -1 to 32767"),
        (lambda: SwapDevice("1MiB", priority=True), "machine.swap.priority: True; accepted is -1 to 32767"),
        (
            lambda: SwapDevice("1MiB", speed=3),
            "machine.swap.speed: unknown key; accepted are size, priority, kind, read",
        ),
        (lambda: Zone("High", 0, 1, 1, 1, 1), "zone.name: 'High'; accepted are DMA, DMA32, Normal, Movable"),
        (lambda: Zone("DMA", 1, 9, 9, 5, 6), "zone DMA: free 6, managed 5, present 9, spanned 9; accepted is free <="),
        (lambda: Zone("DMA", "a", 1, 1, 1, 1), "zone DMA.start_pfn: 'a'; accepted is 0 to"),
        (
            lambda: Node(zones=[Zone("DMA", 1, 1, 1, 1, 1)] * 2),
            "machine.nodes.zones: DMA, DMA; accepted is one zone of",
        ),
        (lambda: Node(zones=3), "machine.nodes.zones: 3; accepted is a sequence of Zone objects"),
        (lambda: Machine("15MiB"), "machine.memory: '15MiB'; accepted is 16MiB to 8TiB"),
        (lambda: Machine("9TiB"), "machine.memory: '9TiB'; accepted is 16MiB to 8TiB"),
        (lambda: Machine(0), "machine.memory: no node has any; accepted is 16MiB to 8TiB in at least one"),
        (lambda: Machine(nodes=[Node("1MiB")]), "machine.nodes[0].memory: '1MiB'; accepted is 16MiB to 8TiB"),
        (lambda: Machine(cpus=0), "machine.cpus: 0 in all; accepted is 1 to 256"),
        (lambda: Machine(cpus=257), "machine.cpus: 257; accepted is 0 to 256"),
        (lambda: Machine(cpus="2"), "machine.cpus: '2'; accepted is 0 to 256"),
        (lambda: Machine(nodes=[Node("1GiB", cpus=-1)]), "machine.nodes[0].cpus: -1; accepted is 0 to 256"),
        (lambda: Machine(nodes=[Node("16MiB")] * 65), "machine.nodes: 65; accepted are up to 64"),
        (lambda: Machine(nodes=["1GiB"]), "machine.nodes: '1GiB'; accepted are Node objects"),
        (lambda: Machine(swap=["1GiB"]), "machine.swap: '1GiB'; accepted are SwapDevice objects"),
        (lambda: Machine(swap=SwapDevice("1GiB")), "accepted is a sequence of SwapDevice objects"),
        (lambda: Machine(swap=[SwapDevice("1MiB")] * 33), "machine.swap: 33 areas; accepted are up to 32"),
        (lambda: Machine(swap=[SwapDevice("9TiB")] * 2), "machine.swap: more than 4294967294 slots (16 TiB) together"),
        (lambda: Machine(disk="nvme"), "machine.disk: 'nvme'; accepted is a pymem.Disk"),
        (lambda: Machine(boot=3), "machine.boot: 3; accepted is a pymem.Boot"),
        (lambda: Boot(ramfs=4096, ramfs_mapped=8192), "machine.boot.ramfs_mapped: 2 pages; accepted is up to the 1 of"),
        (lambda: Zone("DMA", 1, 9, 9, 9, 5, percpu=2, metadata=3), "zone DMA.metadata: 3; accepted is 0 to 2"),
        (lambda: Machine(boot=Boot(kernel="600MiB")), "machine.boot: the kernel would hold"),
        (lambda: Machine(distances=[[10, 20]]), "machine.distances: 1 rows of [2]; accepted are 1 rows of 1 numbers"),
        (lambda: Machine(distances=[[9]]), "machine.distances[0]: 9; accepted is 10 to 254"),
        (lambda: Machine(distances="10"), "machine.distances: '10'; accepted are 1 rows of 1 numbers"),
    ],
)
def test_what_cannot_be_built_is_refused(make, message):
    with pytest.raises(ScenarioError) as caught:
        make()
    assert message in str(caught.value)


def test_slab_is_part_of_what_given_zones_hold():
    def machine(free, **boot):
        return Machine(nodes=[Node(zones=[Zone("Normal", 1, 8192, 8192, 8000, free)])], boot=Boot(**boot))

    assert machine(8000).slab() == {"slab_reclaimable": 0, "slab_freeable": 0, "slab_unreclaimable": 0}
    assert machine(7800).slab() == {"slab_reclaimable": 50, "slab_freeable": 31, "slab_unreclaimable": 50}
    zero = {"slab_reclaimable": 0, "slab_freeable": 0}
    assert machine(7999, slab_unreclaimable=4096, **zero).slab()["slab_unreclaimable"] == 1
    with pytest.raises(ScenarioError, match=r"^machine\.boot: slab of 2 pages; accepted is up to the 1 pages that"):
        machine(7999, slab_unreclaimable=8192, **zero)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Machine("1GHz"), "machine.memory"),
        (lambda: Machine(1.5), "machine.memory"),
        (lambda: Disk(read="5MiB"), "disk.read"),
        (lambda: Disk(bandwidth="1s"), "disk.bandwidth"),
        (lambda: SwapDevice("4 gallons"), "machine.swap.size"),
        (lambda: Machine(boot=Boot(kernel="x")), "machine.boot.kernel"),
        (lambda: Node("1GiB", access="near"), "machine.nodes.access"),
    ],
)
def test_wrong_units_name_the_key(make, key):
    with pytest.raises(UnitError, match=rf"^{key}: .*accepted is"):
        make()


def test_a_reserve_as_large_as_the_machine_is_refused_at_once():
    with pytest.raises(TunableError, match=r"vm\.min_free_kbytes: 1048576 is all memory of a machine of"):
        Scenario(vm={"min_free_kbytes": "1GiB"}, tasks=[Task("a", Uniform("1MiB", accesses=1))])


# ---- tables of scenario files -----------------------------------------------------------------------------


def test_a_table_gives_the_same_machine_as_the_objects():
    zone = {"name": "Normal", "start_pfn": 1 << 20, "spanned": 9000, "present": 9000, "managed": 8900, "free": 8800}
    table = {
        "swap": [{"size": "1GiB", "kind": "hdd", "priority": 5}, {"size": 8192, "read": "1us"}],
        "disk": {"kind": "sata", "queue_depth": 8},
        "boot": {"kernel": "1MiB"},
        "nodes": [{"zones": [zone], "cpus": 3}, {"memory": "32MiB", "access": "250ns"}],
        "distances": [[10, 21], [21, 10]],
    }
    assert machine_from(table) == Machine(
        swap=[SwapDevice("1GiB", "hdd", 5), SwapDevice(8192, read="1us")],
        disk=Disk("sata", queue_depth=8),
        boot=Boot(kernel="1MiB"),
        nodes=[Node(zones=[Zone(**zone)], cpus=3), Node("32MiB", access="250ns")],
        distances=[[10, 21], [21, 10]],
    )
    assert machine_from({}) == Machine()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("1GiB", "machine: '1GiB'; accepted is a table"),
        (
            {"ram": 1},
            "machine.ram: unknown key; accepted are memory, cpus, swap, disk, filesystem, nodes, distances, boot",
        ),
        ({"swap": {"size": 1}}, "machine.swap: {'size': 1}; accepted is an array of tables"),
        ({"swap": ["1GiB"]}, "machine.swap[0]: '1GiB'; accepted is a table"),
        ({"swap": [{"size": "1GiB"}, {}]}, "machine.swap[1].size: missing"),
        (
            {"swap": [{"size": "1GiB", "disk": {}}]},
            "machine.swap[0].disk: unknown key; accepted are size, priority, kind",
        ),
        ({"disk": "nvme"}, "machine.disk: 'nvme'; accepted is a table"),
        ({"disk": {"latency": 1}}, "machine.disk.latency: unknown key; accepted are kind, read, write"),
        ({"boot": {"slab": 1}}, "machine.boot.slab: unknown key; accepted are kernel, slab_reclaimable"),
        ({"nodes": "2"}, "machine.nodes: '2'; accepted is an array of tables"),
        ({"nodes": [{"zone": []}]}, "machine.nodes[0].zone: unknown key; accepted are memory, cpus, zones, access"),
        ({"nodes": [{"zones": [{"name": "DMA"}]}]}, "machine.nodes[0].zones[0].start_pfn: missing"),
        ({"distances": [10]}, "machine.distances: [10]; accepted are 1 rows of 1 numbers"),
    ],
)
def test_a_table_that_is_no_machine(table, message):
    with pytest.raises(ScenarioError) as caught:
        machine_from(table)
    assert message in str(caught.value)


def test_a_compressed_device_larger_than_memory():
    message = r"^machine\.swap\[1\]\.mem_limit: 262144 pages; accepted is up to \d+, the memory"
    with pytest.raises(ScenarioError, match=message):
        Machine("64MiB", swap=[SwapDevice("1GiB"), SwapDevice("1GiB", kind="zram", mem_limit="1GiB")])
