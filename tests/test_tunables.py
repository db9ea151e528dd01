"""Every knob: names, bounds, words, mistakes; sysctl files; the engine's units."""

import re

import pytest

from pymem import tunables
from pymem.errors import TunableError
from pymem.tunables import COSTS, TUNABLES, canonical, engine_params, parse, read_sysctl_conf, resolve

PAGES = 1 << 20  # of the machine in these tests


@pytest.mark.parametrize("name", TUNABLES)
class TestEveryKnob:
    def test_its_bounds_are_accepted_and_nothing_beyond(self, name):
        knob = TUNABLES[name]
        assert parse(knob, knob.minimum) == knob.minimum
        assert parse(knob, str(knob.maximum)) == knob.maximum
        assert parse(knob, knob.default) == knob.default
        for number in (knob.minimum - 1, knob.maximum + 1):
            for value in (number, str(number)):
                with pytest.raises(TunableError) as caught:
                    parse(knob, value)
                assert str(caught.value) == f"vm.{name}: {value!r} is out of range; accepted is {knob.accepted}"

    @pytest.mark.parametrize(
        "value", [None, 1.0, [], {}, "", "some", "1.5", "1e3", "1__0", "_1", "1_", "9" * 5000, "0x10"]
    )
    def test_what_is_no_number_is_refused(self, name, value):
        with pytest.raises(TunableError, match=rf"^vm\.{re.escape(name)}: .* accepted is a whole number from "):
            parse(TUNABLES[name], value)

    def test_its_words_stand_for_numbers(self, name):
        for word, number in TUNABLES[name].words.items():
            assert parse(TUNABLES[name], word) == parse(TUNABLES[name], f" {word.upper()} ") == number

    def test_truth_values_are_for_switches_only(self, name):
        if TUNABLES[name].words is tunables.BOOLEAN:
            assert (parse(TUNABLES[name], True), parse(TUNABLES[name], False)) == (1, 0)
        else:
            with pytest.raises(TunableError, match="True is not understood"):
                parse(TUNABLES[name], True)

    def test_it_is_found_with_and_without_prefix(self, name):
        assert canonical(name) == canonical(f"vm.{name}") == name

    def test_a_slip_of_the_pen_is_answered_with_the_name(self, name):
        with pytest.raises(TunableError, match=rf"unknown tunable; did you mean .*{re.escape(name)}"):
            canonical(name[:-1] + "x" + name[-1:])

    def test_setting_it_is_what_the_engine_gets(self, name):
        knob = TUNABLES[name]
        value = knob.minimum if knob.default != knob.minimum else min(knob.maximum, max(knob.minimum + 8, 8192))
        kernel = tunables.ONLY_IN.get(name, "6.12")
        base = engine_params(resolve({}, kernel), kernel, 1 << 40)
        changed = engine_params(resolve({name: value}, kernel), kernel, 1 << 40)
        # the compressor is a column of the contents, see test_zswap
        assert (changed != base) == (name != "zswap.compressor")

    def test_it_is_documented(self, name):
        knob = TUNABLES[name]
        assert knob.unit
        assert knob.meaning.endswith((".", ")"))
        assert knob.minimum <= knob.default <= knob.maximum


# Documentation/admin-guide/sysctl/vm.rst and the initialisers in mm/
@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("swappiness", 60),
        ("watermark_scale_factor", 10),
        ("watermark_boost_factor", 15000),
        ("page-cluster", 3),
        ("vfs_cache_pressure", 100),
        ("dirty_ratio", 20),
        ("dirty_background_ratio", 10),
        ("dirty_expire_centisecs", 3000),
        ("dirty_writeback_centisecs", 500),
        ("lowmem_reserve_ratio.dma", 256),
        ("lowmem_reserve_ratio.dma32", 256),
        ("lowmem_reserve_ratio.normal", 32),
        ("min_unmapped_ratio", 1),
        ("min_slab_ratio", 5),
        ("panic_on_oom", 0),
        ("oom_kill_allocating_task", 0),
        ("fault_around_bytes", 65536),
        ("read_ahead_kb", 128),
        ("zone_reclaim_mode", 0),
    ],
)
def test_defaults_of_the_kernel(name, default):
    assert TUNABLES[name].default == default
    assert resolve({}, "6.12")[name] == resolve({}, "6.1")[name] == default


def test_values_may_be_written_as_in_sys_and_as_sizes():
    assert parse(TUNABLES["transparent_hugepage"], "always [madvise] never") == 1
    assert parse(TUNABLES["min_free_kbytes"], "64MiB") == 65536
    assert parse(TUNABLES["min_free_kbytes"], "auto") == -1
    assert parse(TUNABLES["dirty_bytes"], "1GiB") == 1 << 30
    assert parse(TUNABLES["swappiness"], " 1_0 ") == 10
    with pytest.raises(TunableError, match="'1000B' is not understood"):  # no whole number of KiB
        parse(TUNABLES["min_free_kbytes"], "1000B")


@pytest.mark.parametrize(
    ("name", "bad", "good", "accepted"),
    [
        ("percpu_pagelist_high_fraction", (1, 7), (0, 8), "0, or 8 and more"),
        ("dirty_bytes", (1, 8191), (0, 8192), "0, or 8192 and more"),
    ],
)
def test_gaps_in_the_range(name, bad, good, accepted):
    for value in good:
        assert parse(TUNABLES[name], value) == value
    for value in bad:
        with pytest.raises(TunableError, match=f"{value} is out of range; accepted is {accepted}"):
            parse(TUNABLES[name], value)


def test_other_spellings():
    assert canonical("kernel.numa_balancing") == "numa_balancing"
    assert canonical("vm.page_cluster") == "page-cluster"
    assert canonical("vma_ra_enabled") == "swap.vma_ra_enabled"
    assert resolve({"swap": {"vma_ra_enabled": False}}, "6.12")["swap.vma_ra_enabled"] == 0


@pytest.mark.parametrize("name", ["overcommit_memory", "vm.drop_caches", "max_map_count", "compact_memory"])
def test_a_knob_without_effect_is_refused_as_such(name):
    bare = name.removeprefix("vm.")
    with pytest.raises(TunableError, match=rf"^vm\.{bare}: the kernel has it, but it has no effect in the simulation"):
        resolve({name: 1}, "6.12")


def test_a_name_like_none_gets_the_list():
    with pytest.raises(
        TunableError, match=r"^vm\.zzz: unknown tunable; accepted are compaction_proactiveness, .*zone_reclaim_mode"
    ):
        resolve({"zzz": 1}, "6.12")
    with pytest.raises(TunableError, match="the name 3 is no text"):
        resolve({3: 1}, "6.12")
    with pytest.raises(TunableError, match=r"kernel: '5\.10' is unknown; accepted are 6\.1, 6\.12"):
        resolve({}, "5.10")


def test_the_triple_of_lowmem_reserve_ratios():
    for value in ("128 64 16", [128, 64, 16], "128\t64\t16\t0\t0"):
        out = resolve({"lowmem_reserve_ratio": value}, "6.12")
        assert [out[f"lowmem_reserve_ratio.{zone}"] for zone in ("dma", "dma32", "normal")] == [128, 64, 16]
    for value in ("128 64", "1 2 3 4", 256, None, "1 2 3 0 0 0"):
        with pytest.raises(TunableError, match="accepted are the ratios of DMA, DMA32 and Normal"):
            resolve({"lowmem_reserve_ratio": value}, "6.12")
    with pytest.raises(TunableError, match=r"vm\.lowmem_reserve_ratio\.dma32: '-1' is out of range"):
        resolve({"lowmem_reserve_ratio": "256 -1 32"}, "6.12")


@pytest.mark.parametrize("stem", ["dirty", "dirty_background"])
def test_bytes_and_ratio_exclude_each_other(stem):
    assert resolve({f"{stem}_bytes": 8192}, "6.12")[f"{stem}_ratio"] == 0
    assert resolve({f"{stem}_bytes": 8192, f"{stem}_ratio": 0}, "6.12")[f"{stem}_bytes"] == 8192
    assert resolve({f"{stem}_bytes": 0, f"{stem}_ratio": 7}, "6.12")[f"{stem}_ratio"] == 7
    with pytest.raises(TunableError, match=rf"^vm\.{stem}_bytes: 8192 excludes vm\.{stem}_ratio = 7; accepted is one"):
        resolve({f"{stem}_bytes": 8192, f"{stem}_ratio": 7}, "6.12")


# ---- sysctl.conf ------------------------------------------------------------------------------------------


def test_a_sysctl_file_as_distributions_ship_it(tmp_path):
    path = tmp_path / "99.conf"
    path.write_text(
        "# comment\n; another\n\nvm.swappiness = 10\n-vm.page-cluster=0\nvm/dirty_ratio = 5\nnet.ipv4.ip_forward=1\n"
        "net/ipv4/conf/eth0.1/rp_filter = 1\nkernel.numa_balancing = 1\nvm.swappiness=20\nkernel.panic = 0\n"
        "vm.lowmem_reserve_ratio = 256\t256\t32\n",
        encoding="utf-8",
    )
    found = read_sysctl_conf(path)
    assert found == {
        "vm.page-cluster": "0",
        "vm.dirty_ratio": "5",
        "kernel.numa_balancing": "1",
        "vm.swappiness": "20",
        "vm.lowmem_reserve_ratio": "256\t256\t32",
    }
    assert resolve(found, "6.12")["swappiness"] == 20


@pytest.mark.parametrize("line", ["vm.swappiness 10", "= 10", "swappiness"])
def test_a_line_that_is_no_setting_names_its_number(tmp_path, line):
    path = tmp_path / "bad.conf"
    path.write_text(f"# first\n{line}\n", encoding="utf-8")
    with pytest.raises(TunableError) as caught:
        read_sysctl_conf(path)
    assert str(caught.value) == f"{path}, line 2: {line!r} is not understood; accepted is NAME = VALUE"


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(TunableError, match=r"none\.conf: cannot be read: "):
        read_sysctl_conf(tmp_path / "none.conf")
    (tmp_path / "latin.conf").write_bytes(b"vm.swappiness = \xff\n")
    with pytest.raises(TunableError, match=r"latin\.conf: cannot be read: "):
        read_sysctl_conf(tmp_path / "latin.conf")


# ---- the engine's units -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "param", "value"),
    [
        ({"dirty_bytes": 8193}, "dirty_pages", 3),
        ({"dirty_background_bytes": 1}, "dirty_background_pages", 1),
        ({"dirty_expire_centisecs": 3}, "dirty_expire_ns", 30_000_000),
        ({"dirty_writeback_centisecs": 500}, "dirty_writeback_ns", 5 * 10**9),
        ({"fault_around_bytes": 65535}, "fault_around_pages", 8),
        ({"fault_around_bytes": 4096}, "fault_around_pages", 1),
        ({"read_ahead_kb": 131}, "ra_pages", 32),
        ({"read_ahead_kb": 0}, "ra_pages", 0),
        ({"numa_balancing_promote_rate_limit_MBps": 3}, "numa_promote_pages_per_sec", 768),
        ({"numa.scan_delay_ms": 7}, "numa_scan_delay_ns", 7_000_000),
        ({"numa.scan_size_mb": 2}, "numa_scan_pages", 512),
        ({"numa.scan_period_min_ms": 9}, "numa_scan_period_ns", 9_000_000),
        ({"numa.hot_threshold_ms": 2}, "numa_hot_threshold_ns", 2_000_000),
        ({"transparent_hugepage": "always"}, "thp_enabled", 1),
        ({"transparent_hugepage": "never"}, "thp_enabled", 0),
        ({"lowmem_reserve_ratio": "1 2 3"}, "lowmem_reserve_normal", 3),
        ({"swap.vma_ra_enabled": "n"}, "vma_ra_enabled", 0),
        ({"page-cluster": 5}, "page_cluster", 5),
        ({"min_free_kbytes": "1MiB"}, "min_free_kbytes", 1024),
    ],
)
def test_units_of_the_engine(setting, param, value):
    assert engine_params(resolve(setting, "6.12"), "6.12", PAGES)[param] == value


def test_the_kernel_is_a_number():
    assert [engine_params(resolve({}, k), k, PAGES)["kernel"] for k in ("6.1", "6.12")] == [601, 612]


def test_a_reserve_must_leave_something():
    assert engine_params(resolve({"min_free_kbytes": 4 * PAGES - 1}, "6.12"), "6.12", PAGES)
    with pytest.raises(
        TunableError, match=rf"^vm\.min_free_kbytes: {4 * PAGES} is all memory of a machine of {PAGES} pages"
    ):
        engine_params(resolve({"min_free_kbytes": 4 * PAGES}, "6.12"), "6.12", PAGES)


def test_every_parameter_of_the_engine_is_set_and_no_other(project_root):
    text = (project_root / "memcore" / "params.pxd").read_text(encoding="utf-8")
    body = text[text.index("ctypedef struct params_t:") :]
    names = set(re.findall(r"^    \w+ (\w+)\s*(?:#.*)?$", body, re.MULTILINE))
    # Those of the machine.
    slab = {"slab_reclaimable", "slab_freeable", "slab_unreclaimable"}
    slab |= {"thread_stack_pages", "buffer_heads", "ramfs_pages", "ramfs_mapped"}
    assert set(engine_params(resolve({}, "6.12"), "6.12", PAGES)) | set(COSTS) | slab == names


def test_every_cost_says_where_it_comes_from():
    for name, cost in COSTS.items():
        assert cost.name == name
        assert cost.default > 0
        assert cost.meaning
        assert cost.source
