"""Machines of hosts: the simulated watermarks are those of the kernel, whatever it is and however its files come."""

import re
import tarfile
import tomllib
from itertools import pairwise
from pathlib import Path

import host_files
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pymem
from pymem.errors import HostError, PymemError
from pymem.hosts import from_host, parse
from pymem.hosts.host import protection
from pymem.reports.machine import figures
from pymem.scenario import load as load_scenario
from pymem.topology import ZONE_NAMES
from pymem.validation.recording import load

HERE = Path(__file__).resolve().parent
CAPTURED = HERE / "hosts" / "vm_6_18.tar.xz"  # a VM of 24 GiB, Linux 6.18, huge pages on
# 6.1: plain, other settings, a file system at work, zswap with zsmalloc and with zbud, two nodes; 6.12.
RECORDED = (
    "01_anon_seq_pc3.s1", "09_uniform_minfree4x_wsf200.s1", "06_mixed_swappiness200.s1",
    "08_zswap_lz4_zsmalloc_zipf2x.s1", "08_zswap_lzo_zbud_zipf125.s1", "11_numa_anon_zrm1_minslab100.s1",
    "14_k612_lru_file_stream_mmap.s1",
)  # fmt: skip


def recorded(label):
    (found,) = [r for r in load() if r.label == label]
    return host_files.recorded(found.data)


@pytest.fixture
def numa(tmp_path):
    return host_files.write(tmp_path / "numa", recorded("11_numa_anon_zrm1_minslab100.s1"))


def simulated(path):
    """Watermarks and reserves by node and zone of the machine that a scenario file describes."""
    return {
        (z["node"], z["zone"]): (z["min"], z["low"], z["high"], list(z["protection"].values()))
        for z in figures(load_scenario(path))["zones"]
    }


def live(host, number=None):
    """The same, as the host's kernel printed it."""
    return {
        (z.node, z.name): (*z.watermarks, protection(z, [o.name for o in host.zones if o.node == z.node]))
        for z in host.zones
        if z.values["managed"]
    }


def assert_same_marks(host, tmp_path):
    path = tmp_path / "host.toml"
    path.write_text(host.to_toml())
    assert simulated(path) == live(host)


# ---- the watermarks are the kernel's ------------------------------------------------------------------------


def test_this_host(tmp_path):
    host = from_host()
    assert sum(node.cpus for node in host.machine.all_nodes) >= 1
    if host.zones:  # a container may hide them
        assert_same_marks(host, tmp_path)
    assert host.machine.layout()


def test_a_captured_host(tmp_path):
    host = from_host(CAPTURED)
    assert_same_marks(host, tmp_path)
    # min_free_kbytes is 67584 for its three zones: khugepaged's 33 blocks of 2 MiB.  It follows, so it is not written.
    assert host.vm == {"read_ahead_kb": 8192}
    assert not [note for note in host.notes if "watermarks" in note]
    assert (host.release, host.kernel) == ("6.18.44", "6.12")
    assert sum(z.managed for node in host.machine.nodes for z in node.zones) * 4 == 24684084  # MemTotal


@pytest.mark.parametrize("label", RECORDED)
def test_recorded_guests(label, tmp_path):
    host = from_host(host_files.write(tmp_path / "copy", recorded(label)))
    assert_same_marks(host, tmp_path)
    assert host.kernel == ("6.12" if "k612" in label else "6.1")
    assert [(d.kind, d.size) for d in host.machine.swap] == [("nvme", "1048572KiB")]


def test_settings_of_recorded_guests(tmp_path):
    host = from_host(host_files.write(tmp_path / "a", recorded("09_uniform_minfree4x_wsf200.s1")))
    assert host.vm["min_free_kbytes"] == 7096
    assert host.vm["watermark_scale_factor"] == 200
    host = from_host(host_files.write(tmp_path / "b", recorded("08_zswap_lz4_zsmalloc_zipf2x.s1")))
    assert {k: v for k, v in host.vm.items() if k.startswith("zswap")} == {
        "zswap.enabled": 1, "zswap.compressor": "lz4", "zswap.zpool": "zsmalloc",
    }  # fmt: skip
    host = from_host(host_files.write(tmp_path / "c", recorded("08_zswap_lzo_zbud_zipf125.s1")))
    assert {k: v for k, v in host.vm.items() if k.startswith("zswap")} == {"zswap.enabled": 1}  # the rest: defaults


def test_boosted_watermarks_are_read_without_the_boost(tmp_path):
    (found,) = [r for r in load() if r.label == "06_mixed_swappiness10.s1"]
    (start,) = [z for z in found.data["zoneinfo_start"] if z["zone"] == "DMA32"]
    (end,) = [z for z in found.data["zoneinfo_end"] if z["zone"] == "DMA32"]
    assert (end["boost"], end["min"]) == (512, start["min"] + 512)  # so the kernel prints it
    files = host_files.recorded(found.data | {"zoneinfo_start": found.data["zoneinfo_end"]})
    host = from_host(host_files.write(tmp_path / "copy", files))
    (zone,) = [z for z in host.zones if z.name == "DMA32"]
    assert zone.watermarks == (start["min"], start["low"], start["high"])
    assert_same_marks(host, tmp_path)


def test_two_nodes(numa, tmp_path):
    host = from_host(numa)
    assert [(node.cpus, [z.name for z in node.zones]) for node in host.machine.nodes] == [
        (1, ["DMA", "DMA32"]), (1, ["DMA32"]),
    ]  # fmt: skip
    assert host.machine.distances == ((10, 20), (20, 10))
    assert host.vm["zone_reclaim_mode"] == 1
    assert host.vm["min_slab_ratio"] == 100


def test_a_server_without_zone_dma_and_with_memory_far_apart(tmp_path):
    host = from_host(host_files.write(tmp_path / "copy", host_files.arm_server()))
    assert_same_marks(host, tmp_path)
    assert not [note for note in host.notes if "watermarks" in note or "reserves" in note]
    # 252 GiB of 5 zones: khugepaged's 55 blocks of 2 MiB, so min_free_kbytes follows and is not written.
    assert host.vm == {"swappiness": 10, "numa_balancing": 1}
    assert [node.cpus for node in host.machine.nodes] == [32] * 4
    assert host.machine.distances[0] == (10, 15, 20, 20)
    assert host.machine.filesystem == "xfs"
    assert host.machine.swap[0].priority == 5
    frames = sorted((z.start_pfn, z.start_pfn + z.spanned) for node in host.machine.nodes for z in node.zones)
    assert all(a[1] <= b[0] for a, b in pairwise(frames))
    assert frames[-1][1] < 4 * (64 << 18) + 8192  # no holes between the nodes any more
    assert any("8 huge pages" in note for note in host.notes)


def test_a_setting_changes_watermarks_that_follow_from_the_settings(tmp_path):
    host = from_host(CAPTURED)
    path = tmp_path / "host.toml"
    path.write_text(host.to_toml())
    changed = load_scenario(path).with_settings({"vm.min_free_kbytes": "135168"})
    normal = next(z for z in figures(changed)["zones"] if z["zone"] == "Normal")
    # Twice the reserve is twice the share of the zone; low is a quarter of min above, or 0.1 % of the zone.
    assert normal["min"] == 33792 * normal["managed"] // (24684084 // 4)
    assert normal["low"] == normal["min"] + max(normal["min"] // 4, normal["managed"] // 1000)


def test_what_programs_and_cache_had_is_free(tmp_path):
    zone = {
        "node": 0, "zone": "Normal", "start_pfn": 1 << 20, "spanned": 80_000, "present": 80_000, "managed": 78_000,
        "free": 20_000, "min": 300, "low": 375, "high": 450, "count": 30, "nr_zone_inactive_anon": 100,
        "nr_zone_active_anon": 200, "nr_zone_inactive_file": 4_000, "nr_zone_active_file": 3_000,
        "nr_zone_unevictable": 50, "nr_inactive_anon": 100, "nr_unevictable": 50, "nr_slab_reclaimable": 700,
        "nr_slab_unreclaimable": 600,
    }  # fmt: skip
    files = {"proc/zoneinfo": host_files.zoneinfo([zone])}
    host = from_host(host_files.write(tmp_path / "copy", files))
    (read,) = host.machine.nodes[0].zones
    assert (read.free, read.percpu) == (20_000 + 100 + 200 + 4_000 + 3_000, 2 * 30)
    assert host.machine.slab() == {"slab_reclaimable": 0, "slab_freeable": 700, "slab_unreclaimable": 600}
    assert any("50 unevictable" in note for note in host.notes)


# ---- swap -----------------------------------------------------------------------------------------------------


SWAPS = (
    "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
    "/dev/zram0                              partition\t4194300\t\t1024\t\t100\n"
    "/dev/sda2                               partition\t1048572\t\t0\t\t-2\n"
    "/swap\\040file                           file\t\t524284\t\t0\t\t-3\n"
)


def test_swap_areas(tmp_path):
    files = recorded("01_anon_seq_pc3.s1") | {
        "proc/swaps": SWAPS,
        "sys/block/zram0/comp_algorithm": "lzo-rle lzo lz4 [zstd]\n",
        "sys/block/zram0/mm_stat": "1048576 300000 400000 67108864 400000 0 0 0 0\n",
        "sys/block/zram0/backing_dev": "none\n",
        "sys/block/sda/queue/rotational": "1\n",
    }
    host = from_host(host_files.write(tmp_path / "copy", files))
    zram, disk, file = host.machine.swap
    assert (zram.kind, zram.slots, zram.priority) == ("zram", 1048575, 100)
    assert (zram.compression.codec, zram.compression.mem_limit) == ("zstd", 64 << 20)
    assert (disk.kind, disk.slots, disk.priority) == ("hdd", 262143, None)
    assert (file.kind, file.slots, file.priority) == ("nvme", 131071, None)
    assert_same_marks(host, tmp_path)
    again = load_scenario(tmp_path / "host.toml").machine
    assert again.swap == host.machine.swap
    assert again.nodes == host.machine.nodes


def test_swap_on_memory_is_synchronous(tmp_path):
    lines = ("/dev/pmem0p1 partition 1048572 0 5\n", "/dev/ram1 partition 65532 0 -2\n")
    files = recorded("01_anon_seq_pc3.s1") | {"proc/swaps": SWAPS.splitlines(keepends=True)[0] + "".join(lines)}
    swap = from_host(host_files.write(tmp_path / "copy", files)).machine.swap
    assert [(area.kind, area.disk.figures()["synchronous"]) for area in swap] == [("pmem", True), ("ramdisk", True)]


def test_a_codec_that_is_not_simulated_is_named(tmp_path):
    files = recorded("01_anon_seq_pc3.s1") | {
        "proc/swaps": SWAPS, "sys/block/zram0/comp_algorithm": "lzo [842]\n",
        "sys/module/zswap/parameters/compressor": "lz4hc\n",
    }  # fmt: skip
    host = from_host(host_files.write(tmp_path / "copy", files))
    assert host.machine.swap[0].compression.codec == "lz4"
    assert any("842" in note for note in host.notes)
    assert any("lz4hc" in note for note in host.notes)
    assert "lz4hc" in host.to_toml()


# ---- where files come from ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode, top", [("w", ""), ("w:gz", "./"), ("w:xz", "sosreport-x/"), ("w:bz2", "proc-copy/a/")])
def test_archives(mode, top, tmp_path, numa):
    if top == "proc-copy/a/":  # two folders deep: not looked for
        path = host_files.pack(tmp_path / "copy.tar", recorded("11_numa_anon_zrm1_minslab100.s1"), top, mode)
        with pytest.raises(HostError, match=r"neither proc/zoneinfo nor proc/meminfo in it"):
            from_host(path)
        return
    path = host_files.pack(tmp_path / "copy.tar", recorded("11_numa_anon_zrm1_minslab100.s1"), top, mode)
    assert from_host(path).machine == from_host(numa).machine


def test_an_sosreport_folder(tmp_path, numa):
    files = recorded("11_numa_anon_zrm1_minslab100.s1")
    sysctl = "".join(f"vm.{k.split('/')[-1]} = {v}" for k, v in files.items() if k.startswith("proc/sys/vm/"))
    files = {k: v for k, v in files.items() if not k.startswith(("proc/sys/vm/", "proc/version"))}
    files["sos_commands/kernel/sysctl_-a"] = "net.ipv4.ip_forward = 0\n" + sysctl
    files["sos_commands/kernel/uname_-a"] = "Linux somewhere 6.1.0-56-amd64 #1 SMP\n"
    host = from_host(host_files.write(tmp_path / "wrapped" / "sosreport-x", files).parent)
    assert host.machine == from_host(numa).machine
    assert host.vm == from_host(numa).vm
    assert host.release == "6.1.0-56-amd64"
    assert "somewhere" not in host.to_toml()


def test_a_copy_of_proc_alone(tmp_path):
    files = {k.removeprefix("proc/"): v for k, v in recorded("01_anon_seq_pc3.s1").items() if k.startswith("proc/")}
    host = from_host(host_files.write(tmp_path / "copy", files))
    assert_same_marks(host, tmp_path)
    assert host.vm["min_free_kbytes"] == 1774


def test_links_of_a_copy_do_not_show_another_host(tmp_path, numa):
    (numa / "proc/sys/vm/swappiness").unlink()
    (tmp_path / "swappiness").write_text("7\n")
    (numa / "proc/sys/vm/swappiness").symlink_to(tmp_path / "swappiness")
    assert "swappiness" not in from_host(numa).vm
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(numa, arcname="x", filter=lambda member: None if member.name.endswith("swappiness") else member)
        link = tarfile.TarInfo("x/proc/sys/vm/swappiness")
        link.type, link.linkname = tarfile.SYMTYPE, "swappy"
        tar.addfile(link)
        link = tarfile.TarInfo("x/proc/sys/vm/swappy")
        link.type, link.linkname = tarfile.SYMTYPE, "swappiness"  # a circle
        tar.addfile(link)
    assert "swappiness" not in from_host(path).vm


def test_a_container_that_hides_files(tmp_path):
    host = from_host(host_files.write(tmp_path / "copy", {"proc/meminfo": "MemTotal:       2064384 kB\n"}))
    assert any("zones are split as on a PC" in note for note in host.notes)
    managed = sum(z.managed for zones in host.machine.layout() for z in zones)
    assert managed * 4 == pytest.approx(2064384, rel=0.001)
    path = tmp_path / "host.toml"
    path.write_text(host.to_toml())
    assert load_scenario(path).machine == host.machine
    files = recorded("01_anon_seq_pc3.s1") | {"proc/meminfo": "MemTotal:        65536 kB\n"}  # as lxcfs shows a limit
    host = from_host(host_files.write(tmp_path / "limited", files))
    assert any("as in a container" in note for note in host.notes)


def test_memory_that_is_present_and_not_managed(tmp_path):
    files = recorded("01_anon_seq_pc3.s1")
    zoneinfo = files["proc/zoneinfo"]
    for name in ("spanned", "present"):  # of the last zone that has pages
        last = list(re.finditer(rf"{name} +([1-9]\d*)", zoneinfo))[-1]
        zoneinfo = f"{zoneinfo[: last.start(1)]}{int(last[1]) + 500_000}{zoneinfo[last.end(1) :]}"
    before = from_host(host_files.write(tmp_path / "before", files))
    total = 4 * sum(z.values["managed"] for z in before.zones)  # as if pages had 16 KiB, but for what is present
    files |= {"proc/zoneinfo": zoneinfo, "proc/meminfo": f"MemTotal: {total * 4} kB\n"}
    host = from_host(host_files.write(tmp_path / "after", files))
    assert any("a balloon holds" in note for note in host.notes)
    assert [z.values["managed"] for z in host.zones] == [z.values["managed"] for z in before.zones]
    assert_same_marks(host, tmp_path)


# ---- what is wrong ------------------------------------------------------------------------------------------------


def test_pages_of_64_kib_are_refused(tmp_path):
    files = host_files.arm_server(page_kib=64)
    with pytest.raises(HostError, match=r"proc/zoneinfo: .* if pages have 64 KiB; accepted are pages of 4 KiB"):
        from_host(host_files.write(tmp_path / "copy", files))


@pytest.mark.parametrize(
    "path, text, message",
    [
        ("proc/zoneinfo", "MemTotal: 1 kB\n", r"zoneinfo, line 1: 'MemTotal: 1 kB' is not understood; accepted is"),
        ("proc/zoneinfo", "", r"zoneinfo: is empty; tar and rsync store nothing"),
        ("proc/zoneinfo", b"Node 0, zone DMA\n\xff\n", r"zoneinfo, line 2: .* is no text"),
        ("proc/meminfo", "MemTotal: lots kB\n", r"meminfo, line 1: 'MemTotal: lots kB' is not understood"),
        ("proc/meminfo", "MemTotal: 1 kB\nMemTotal: 1 kB\n", r"meminfo, line 2: MemTotal twice"),
        ("proc/meminfo", "MemTotal: 64000000 kB\n", r"the two are of different hosts"),
        ("proc/meminfo", "Cached: 1 kB\n", r"meminfo: has no MemTotal"),
        ("proc/swaps", "Filename\nx\n", r"swaps, line 2: 'x' is not understood; accepted is a swap area"),
        ("proc/vmstat", "pswpin\n", r"vmstat, line 1: 'pswpin' is not understood"),
        ("proc/pressure/memory", "some\n", r"pressure/memory, line 1: 'some' is not understood"),
        ("proc/sys/vm/swappiness", "sixty\n", r"swappiness, line 1: vm.swappiness: 'sixty' is not understood"),
        ("proc/sys/vm/lowmem_reserve_ratio", "256 x\n", r"lowmem_reserve_ratio, line 1: '256 x' is not understood"),
        ("proc/sys/kernel/osrelease", "linux\n", r"osrelease, line 1: 'linux' is no version"),
        ("sys/devices/system/node/node1/cpulist", "1-\n", r"node1/cpulist, line 1: '1-' is not understood"),
        ("sys/devices/system/node/node1/distance", "10\n", r"node1/distance, line 1: 1 distances; accepted are 2"),
        ("sys/devices/system/node/node1/distance", "ten\n", r"node1/distance, line 1: 'ten' is not understood"),
    ],
)
def test_wrong_files_are_named_with_their_line(path, text, message, numa):
    host_files.write(numa, {path: text})
    with pytest.raises(HostError, match=message):
        from_host(numa)


def test_what_is_no_host(tmp_path):
    with pytest.raises(HostError, match="no such file or folder"):
        from_host(tmp_path / "nothing")
    with pytest.raises(HostError, match="neither proc/zoneinfo nor proc/meminfo"):
        from_host(tmp_path)
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(HostError, match="not a whole tar archive"):
        from_host(tmp_path / "text")
    cut = tmp_path / "cut.tar.xz"
    cut.write_bytes(CAPTURED.read_bytes()[:-2000])
    with pytest.raises(HostError, match="not a whole tar archive"):
        from_host(cut)


ZONEINFO = recorded("11_numa_anon_zrm1_minslab100.s1")["proc/zoneinfo"]
MEMINFO = recorded("11_numa_anon_zrm1_minslab100.s1")["proc/meminfo"]
fuzz = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def marks(zones):
    return [(z.node, z.name, z.watermarks, z.protection) for z in zones if z.values["managed"]]


@fuzz
@given(cut=st.integers(0, len(ZONEINFO) - 1))
def test_a_zoneinfo_that_is_cut_off(cut, numa):
    host_files.write(numa, {"proc/zoneinfo": ZONEINFO[:cut]})
    try:
        host = from_host(numa)
    except HostError as error:
        assert "zoneinfo" in str(error)
        if cut:
            assert "line" in str(error) or "different hosts" in str(error)
    else:  # only empty zones are missing
        assert marks(host.zones) == marks(parse.zoneinfo(ZONEINFO, "whole"))


@fuzz
@given(
    at=st.integers(0, 200), lines=st.integers(1, 20), start=st.integers(0, 40),
    of=st.sampled_from([ZONEINFO, MEMINFO]),
)  # fmt: skip
def test_files_mixed_up(at, lines, start, of, numa):
    own, other = ZONEINFO.splitlines(keepends=True), of.splitlines(keepends=True)
    mixed = "".join(own[:at] + other[start : start + lines] + own[at:])
    host_files.write(numa, {"proc/zoneinfo": mixed})
    try:
        host = from_host(numa)
    except HostError as error:
        assert "zoneinfo, line" in str(error) or "different hosts" in str(error)
    else:  # statistics that are not used, or empty zones
        assert marks(host.zones) == marks(parse.zoneinfo(ZONEINFO, "whole"))


@fuzz
@given(data=st.data())
def test_changed_bytes(data, numa):
    name = data.draw(st.sampled_from(["proc/zoneinfo", "proc/meminfo", "proc/swaps", "proc/vmstat"]))
    content = bytearray((numa / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    before = (numa / name).read_bytes()
    host_files.write(numa, {name: bytes(content)})
    try:
        host = from_host(numa)
        tomllib.loads(host.to_toml())
    except PymemError as error:
        assert len(str(error)) < 2000
    host_files.write(numa, {name: before})


# ---- the command ----------------------------------------------------------------------------------------------------


def run(capsys, *args):
    """Exit code, standard output and standard error of the command."""
    import sys

    from pymem.cli import main

    old = sys.argv
    sys.argv = ["pymem", *map(str, args)]
    try:
        main()
        code = 0
    except SystemExit as error:
        code = error.code or 0
    finally:
        sys.argv = old
    out, err = capsys.readouterr()
    return code, out, err


def test_from_host_writes_a_scenario_that_runs(capsys, tmp_path):
    path = tmp_path / "host.toml"
    code, out, _ = run(capsys, "machine", "from-host", "--root", CAPTURED, "--out", path)
    assert code == 0
    assert f"pymem run {path}" in out
    code, printed, _ = run(capsys, "machine", "from-host", "--root", CAPTURED)
    assert printed == path.read_text()
    result = pymem.simulate(load_scenario(path))
    assert result.status == "complete"
    assert result.meminfo["MemTotal"] == 24684084


def test_show(capsys, tmp_path, numa):
    code, out, _ = run(capsys, "machine", "show", "--root", numa)
    assert code == 0
    # of the recording: node 1 has one zone, marks 332, 415, 498
    assert next(line.split()[-4:-1] for line in out.splitlines() if line.startswith("1 DMA32")) == ["332", "415", "498"]
    assert "zone_reclaim_mode" in out
    path = tmp_path / "numa.toml"
    path.write_text(from_host(numa).to_toml())
    code, again, _ = run(capsys, "machine", "show", path)
    assert again == out[: out.index("note:")]
    code, out, _ = run(capsys, "machine", "show", path, "--json")
    import json

    shown = json.loads(out)
    assert [(z["node"], z["zone"], z["min"]) for z in shown["zones"]] == [
        (0, "DMA", 26), (0, "DMA32", 223), (1, "DMA32", 332),
    ]  # fmt: skip
    assert set(shown["zones"][0]["protection"]) == set(ZONE_NAMES)


@pytest.mark.parametrize(
    "args, message",
    [
        (["from-host", "--root", "/nowhere"], "error: /nowhere: no such file or folder"),
        (["from-host", "--out", "/nowhere/x.toml"], "error: /nowhere/x.toml: cannot be made there"),
        (["show", "/nowhere.toml"], "error: /nowhere.toml: No such file"),
        (["show", "x.toml", "--root", "y"], "error: a scenario and --root: accepted is one of them"),
    ],
)
def test_mistakes_are_one_line(args, message, capsys):
    code, out, err = run(capsys, "machine", *args)
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1
