"""zswap: what is stored, loaded, refused and written back, in both kernels; sizes come from the pool's own model."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule
from reference.zsmalloc import ZbudPool, ZsPool
from small_machine import Fixed, PageRules, SmallMachine

import pymem
from pymem.errors import ScenarioError, TunableError
from pymem.records import Op, pack
from pymem.regions import Anon
from pymem.tunables import engine_params, resolve
from pymem.validation import recording, scenarios

pytestmark = pytest.mark.engine

ON = {"zswap.enabled": 1, "zswap.compressor": "lzo"}
LZO_HALF = 1681  # bytes that lzo makes of a page of `half`, as zram of a real kernel reported them
ENTRIES_PER_SLAB = {"6.1": 64, "6.12": 73}


def machine(kernel="6.12", content="half", vm=(), **kwargs):
    return SmallMachine(kernel=kernel, vm={**ON, **dict(vm)}, content=content, **kwargs)


def pool_pages(kernel, zpool, sizes):
    """Frames that objects of these sizes take when they are stored one after the other."""
    pool = ZbudPool(1 << 20) if zpool == "zbud" else ZsPool(kernel, 4 if kernel == "6.1" else 8, 1 << 20)
    for size in sizes:
        assert pool.alloc(size)
    return pool.frames.held


@pytest.mark.parametrize(("kernel", "zpool"), [("6.1", "zbud"), ("6.1", "zsmalloc"), ("6.12", "zsmalloc")])
def test_a_stored_page_is_free_and_costs_its_share_of_the_pool(kernel, zpool):
    m = machine(kernel, vm={"zswap.zpool": zpool})
    m.store(0, 500)
    free = sum(z["free"] + sum(p["count"] for p in z["pcp"]) for z in m.engine.zones())
    m.pageout(0, 500)
    # 6.1 keeps the swap entry in front of what the pool may evict
    pages = pool_pages(kernel, zpool, [LZO_HALF + (8 if zpool == "zbud" else 0)] * 500)
    assert m["zswpout"] == 500
    assert m["pswpout"] == 0
    assert m.zswap["stored_pages"] == 500
    assert m.zswap["pool_total_size"] == pages * 4096
    assert m["nr_zspages"] == (0 if zpool == "zbud" else pages)
    slab = -(-500 // ENTRIES_PER_SLAB[kernel])
    if zpool == "zsmalloc":  # its handles of 8 bytes, and 64 bytes for each chain of frames
        slab += 500 // 512 + pages // pool_pages(kernel, zpool, [LZO_HALF]) // 64
    after = sum(z["free"] + sum(p["count"] for p in z["pcp"]) for z in m.engine.zones())
    # shadows of the evicted pages need tree nodes: two pages of slab hold 14 nodes for 64 slots each
    assert free + 500 - pages - slab - 2 <= after <= free + 500 - pages - slab
    assert m.slots >= 500


def test_auto_allocator_is_zbud_in_61_and_zsmalloc_later():
    for kernel, zbud in (("6.1", 1), ("6.12", 0)):
        assert engine_params(resolve({}, kernel), kernel, 1 << 20)["zswap_zbud"] == zbud


def test_a_load_takes_the_entry_out_in_612():
    m = machine()
    m.out(0, 100)
    m.load(0, 100)
    assert m["zswpin"] == 100
    assert m["pgmajfault"] == 100
    assert m.zswap["stored_pages"] == 0
    assert m.zswap["pool_total_size"] == 0
    # the page is the only copy: pushed out again, it is compressed again though nobody wrote to it
    m.pageout(0, 100)
    assert m["zswpout"] == 200


def test_a_load_leaves_the_entry_in_61():
    m = machine("6.1")
    m.out(0, 100)
    m.load(0, 100)
    assert m["zswpin"] == 100
    assert m.zswap["stored_pages"] == 100
    m.pageout(0, 100)
    assert m["zswpout"] == 100
    m.load(0, 100)
    assert m["zswpin"] == 200
    # written to, it keeps its slot, and the stale entry is replaced when the page is stored again
    m.store(0, 100)
    assert m.zswap["stored_pages"] == 100
    m.pageout(0, 100)
    assert m["zswpout"] == 200
    assert m.zswap["stored_pages"] == 100


def test_freeing_memory_frees_what_is_stored_for_it():
    m = machine()
    m.out(0, 100)
    m.drop(0, 60)
    assert m.zswap["stored_pages"] == 40
    m.drop(60, 40)
    assert m.zswap["pool_total_size"] == 0
    assert m["nr_zspages"] == 0


def test_same_filled_pages_of_61_take_no_room():
    m = machine("6.1", content="same")
    m.out(0, 100)
    assert m.zswap["same_filled_pages"] == 100
    assert m.zswap["pool_total_size"] == 0
    assert m["zswpout"] == 100
    m.load(0, 100)
    assert m["zswpin"] == 100
    off = machine("6.1", content="same", vm={"zswap.same_filled_pages_enabled": 0})
    off.out(0, 100)
    assert off.zswap["same_filled_pages"] == 0
    assert off.zswap["pool_total_size"] > 0


def test_61_can_be_told_to_store_nothing_but_same_filled_pages():
    m = machine("6.1", content="half", vm={"zswap.non_same_filled_pages_enabled": 0})
    m.out(0, 50)
    assert (m["zswpout"], m["pswpout"]) == (0, 50)


def test_zero_pages_of_612_need_neither_pool_nor_device():
    m = machine(content="zero")
    m.out(0, 100)
    assert (m["swpout_zero"], m["zswpout"], m["pswpout"]) == (100, 0, 0)
    m.load(0, 100)
    assert (m["swpin_zero"], m["zswpin"], m["pswpin"]) == (100, 0, 0)


def test_other_same_filled_pages_of_612_are_compressed():
    m = machine(content="same")
    m.out(0, 100)
    assert m.zswap["pool_total_size"] == 4096 * pool_pages("6.12", "zsmalloc", [33] * 100)


@pytest.mark.parametrize(
    ("kernel", "vm", "largest"),
    [
        ("6.12", {}, 4096),
        ("6.1", {"zswap.zpool": "zsmalloc"}, 4096),
        # a frame less zbud's header and one chunk, less the swap entry
        ("6.1", {}, 4096 - 64 - 64 - 8),
    ],
)
def test_what_the_allocator_cannot_hold_goes_to_the_device(kernel, vm, largest):
    regions = [Anon(10, content=Fixed(size=largest)), Anon(10, content=Fixed(size=largest + 1))]
    m = machine(kernel, vm=vm, regions=regions)
    m.out(0, 20)
    assert (m["zswpout"], m["pswpout"]) == (10, 10)
    assert m.zswap["reject_compress_poor"] == 10
    m.load(0, 20)
    # written to disk, they are in the swap cache still
    assert (m["zswpin"], m["pswpin"], m["pgmajfault"]) == (10, 0, 10)


def test_a_page_that_became_incompressible_does_not_leave_its_old_entry():
    m = machine(content="2*half(changes_on_write=true) + 1*random(changes_on_write=true)")
    for _ in range(4):
        m.out(0, 100)
        m.wait(10**9)
    stored, loads = m.zswap["stored_pages"], m["zswpin"]
    assert 0 < stored < 100
    m.load(0, 100)
    assert m["zswpin"] - loads == stored


def full_machine(kernel, percent=1, vm=(), **kwargs):
    """A pool of one percent of 64 MiB: about 160 pages."""
    return machine(kernel, vm={"zswap.max_pool_percent": percent, **dict(vm)}, pages=3000, **kwargs)


@pytest.mark.parametrize("kernel", ["6.1", "6.12"])
def test_the_pool_stops_at_its_limit(kernel):
    # nothing can be written back: zsmalloc of 6.1 does not know how, and pages of 6.12 are still referenced
    m = full_machine(kernel, vm={"zswap.zpool": "zsmalloc"})
    limit = m.engine.total_pages // 100
    assert m.zswap["max_pages"] == limit
    m.out(0, 1000)
    chain = pool_pages(kernel, "zsmalloc", [LZO_HALF])
    assert m.zswap["pool_limit_hit"] > 0
    # 6.1 is full above the limit, 6.12 from it on; one more zspage may come before either looks
    lowest = limit + 1 if kernel == "6.1" else limit
    assert lowest <= m.zswap["pool_total_size"] // 4096 < lowest + chain
    assert m["zswpout"] + m["pswpout"] == 1000


def test_a_pool_that_was_full_takes_nothing_above_the_threshold():
    m = full_machine("6.1", vm={"zswap.zpool": "zsmalloc", "zswap.accept_threshold_percent": 50})
    m.out(0, 1000)
    stored = m.zswap["stored_pages"]
    accept = m.zswap["accept_pages"]
    assert accept == m.zswap["max_pages"] // 2
    free_at, dropped = None, 0
    while free_at is None and dropped < stored:
        m.drop(dropped, 20)
        dropped += 20
        before = m["zswpout"]
        m.out(1000 + dropped)
        pages_before = m.zswap["pool_total_size"] // 4096
        if m["zswpout"] > before:
            free_at = pages_before
    assert free_at is not None
    # accepted once below the threshold; the page that was accepted may have brought its own zspage
    assert accept - 20 <= free_at <= accept + pool_pages("6.1", "zsmalloc", [LZO_HALF])
    assert dropped >= stored // 2 - 40


def test_612_writes_the_coldest_pages_back_after_a_second_chance():
    m = full_machine("6.12")
    m.out(0, 1000)
    m.wait(10**9)
    for k in range(200):
        m.out(1000 + k)
        m.wait(10**8)
    written = m["zswpwb"]
    assert written > 0
    assert m.zswap["written_back_pages"] == written
    # down to the threshold, not further than the next entries need
    assert m.zswap["pool_total_size"] // 4096 <= m.zswap["max_pages"]
    # the oldest went: they come from the device now, or from the swap cache
    loads = m["zswpin"]
    m.load(0, 20)
    assert m["zswpin"] == loads
    # each entry of the first round got its second chance, so at least so many looks came before
    assert m["pswpout"] + m["zswpout"] == 1200 + written


def test_what_a_full_zram_does_not_take_back_stays_in_memory():
    zram = pymem.SwapDevice("16MiB", kind="zram", codec="lzo", mem_limit="64KiB")
    m = full_machine("6.12", swap=[zram])
    m.out(0, 1000)
    for k in range(60):
        m.out(1000 + k)
        m.wait(10**8)
    # written back by zswap, refused by zram: dirty pages of the swap cache that no task has mapped
    assert m["zswpwb"] > 0
    assert m.engine.swap()["areas"][0]["zram"]["failed_writes"] > 0
    assert m["nr_swapcached"] > 0
    records = np.concatenate([pack([0], Op.WILLNEED, 1060), pack(np.arange(1060), Op.LOAD)])
    m.records(records)
    m.pageout(0, 1060)
    m.load(0, 1060)
    assert m.task["rss_anon"] == 1060


def test_61_writes_one_frame_of_zbud_back_per_hit():
    m = full_machine("6.1")
    m.out(0, 1000)
    m.wait(10**9)
    before = m.zswap["written_back_pages"]
    pages = m.zswap["pool_total_size"] // 4096
    m.out(1000)
    m.wait(10**9)
    hits = pages > m.zswap["max_pages"]
    assert m.zswap["written_back_pages"] - before == (2 if hits else 0)
    assert m.zswap["written_back_pages"] >= 2
    loads = m["zswpin"]
    m.load(0, 1)
    assert m["zswpin"] == loads


def test_61_zsmalloc_cannot_write_back():
    m = full_machine("6.1", vm={"zswap.zpool": "zsmalloc"})
    m.out(0, 1000)
    m.wait(10**9)
    assert m.zswap["reject_reclaim_fail"] > 0
    assert m.zswap["written_back_pages"] == 0


def test_the_compressor_decides_the_sizes():
    sizes = {"lzo": LZO_HALF, "deflate": 1452, "lz4": 1601, "zstd": 1350}
    for compressor, size in sizes.items():
        m = machine(vm={"zswap.compressor": compressor})
        m.out(0, 300)
        assert m.zswap["pool_total_size"] == 4096 * pool_pages("6.12", "zsmalloc", [size] * 300)


def test_times_of_the_codec_go_to_whoever_faults():
    def duration(decompress):
        m = machine(costs={"decompress": decompress})
        m.out(0, 300)
        begin = m.engine.now
        m.load(0, 300)
        return m.engine.now - begin

    assert duration("9us") - duration("2us") == 300 * 7000


def test_times_of_the_codec_go_to_whoever_stores():
    def duration(compress):
        m = machine(costs={"compress": compress})
        m.store(0, 320)
        begin = m.engine.now
        m.pageout(0, 320)
        return m.engine.now - begin

    assert duration("9us") - duration("2us") == 320 * 7000


def thrash(kernel="6.12", vm=(), swap=(), content="half", seed=1, **kwargs):
    """A run with more pages than memory, checked all along."""
    pages = 24576
    touch = pymem.workloads.Sequential(pages=pages, writes=1.0)
    again = pymem.workloads.Zipf(pages=pages, accesses=60_000, s=0.9, writes=0.3)
    records = np.concatenate([r for part in (touch, again) for r in part.chunks(seed)])
    work = pymem.workloads.Trace(records)
    scenario = pymem.Scenario(
        machine=pymem.Machine(memory="64MiB", cpus=2, swap=swap or [pymem.SwapDevice("256MiB", kind="sata")]),
        vm={"page-cluster": 0, "transparent_hugepage": "never", **dict(vm)}, kernel=kernel, seed=seed,
        tasks=[pymem.Task("task", work, content=content)], **kwargs,
    )  # fmt: skip
    run = pymem.Simulation(scenario)
    while run.step(20_000):
        run.engine.verify()
    run.engine.verify()
    return run.result()


def test_a_run_under_pressure_reads_less_from_disk_with_zswap():
    plain = thrash().vmstat
    zswap = thrash(vm=ON).vmstat
    assert zswap["zswpin"] > 0
    assert zswap["pswpin"] < plain["pswpin"]


def test_writeback_into_a_full_zram_under_pressure():
    # pages come back to reclaim dirty that no task has mapped since
    zram = pymem.SwapDevice("64MiB", kind="zram", codec="lzo", mem_limit="1MiB", priority=3)
    disk = pymem.SwapDevice("256MiB", kind="sata", priority=3)
    result = thrash(vm={**ON, "zswap.max_pool_percent": 10}, swap=[zram, disk])
    assert result.status == "complete"
    assert result.vmstat["zswpwb"] > 0
    assert result.swap["areas"][0]["zram"]["failed_writes"] > 0


def test_the_shrinker_keeps_the_pool_from_filling():
    off = thrash(vm={**ON, "zswap.max_pool_percent": 50})
    on = thrash(vm={**ON, "zswap.max_pool_percent": 50, "zswap.shrinker_enabled": 1})
    assert off.vmstat["zswpwb"] == 0
    assert on.vmstat["zswpwb"] > 0


def test_the_same_seed_gives_the_same_run():
    vm = {**ON, "zswap.shrinker_enabled": 1, "zswap.max_pool_percent": 10}
    first, second = thrash(vm=vm, content=None), thrash(vm=vm, content=None)
    assert first.to_dict() == second.to_dict()
    assert thrash(vm=vm, content=None, seed=2).vmstat != first.vmstat


def test_content_without_compression_matters_for_zero_pages_only():
    plain, half = thrash(content=None), thrash(content="half")
    assert plain.vmstat == half.vmstat
    zero = thrash(content="zero")
    assert zero.vmstat["swpout_zero"] > 0
    assert zero.vmstat["pswpout"] == 0


def test_zswap_without_swap_stores_nothing():
    work = pymem.workloads.Uniform("16MiB", accesses=20_000)
    scenario = pymem.Scenario(machine=pymem.Machine(memory="64MiB"), vm=ON, tasks=[pymem.Task("task", work)])
    assert pymem.simulate(scenario).vmstat["zswpout"] == 0


def test_zswap_has_nothing_to_do_for_tasks_without_memory_of_their_own():
    scenario = pymem.Scenario(
        machine=pymem.Machine(memory="64MiB", swap=[pymem.SwapDevice("64MiB", kind="zram")]), vm=ON,
        tasks=[pymem.Task("reader", pymem.workloads.FileStream("80MiB"))],
    )  # fmt: skip
    assert pymem.simulate(scenario).vmstat["zswpout"] == 0


@pytest.mark.parametrize(
    ("kernel", "vm"),
    [
        ("6.1", {"zswap.shrinker_enabled": 1}),
        ("6.12", {"zswap.same_filled_pages_enabled": 1}),
        ("6.12", {"zswap.compressor": "gzip"}),
        ("6.12", {"zswap.max_pool_percent": 101}),
    ],
)
def test_settings_a_kernel_does_not_have_are_refused(kernel, vm):
    with pytest.raises(TunableError):
        resolve(vm, kernel)


def test_a_wrong_content_names_the_task():
    work = pymem.workloads.Uniform("16MiB", accesses=20)
    with pytest.raises(ScenarioError, match=r"task 'app'.content: .*nothing is called 'halff'"):
        pymem.Task("app", work, content="halff")


def test_contents_from_toml(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(
        'vm = { "zswap.enabled" = true, zswap.compressor = "lzo" }\n'
        "[machine]\nmemory = '64MiB'\nswap = [{ size = '64MiB' }]\n"
        "[[tasks]]\nname = 'a'\ncontent = { half = 1, 'compressible(ratio=3)' = 2 }\n"
        "workload = { kind = 'uniform', size = '8MiB', accesses = 10 }\n"
    )
    scenario = pymem.load(path)
    assert scenario.tasks[0].content == {"half": 1, "compressible(ratio=3)": 2}
    assert pymem.simulate(scenario).status == "complete"


class Anything(PageRules):
    """Any order of operations, on any kind of pool, with everything verified after each."""

    @initialize(
        kernel=st.sampled_from(["6.1", "6.12"]), zpool=st.sampled_from(["zbud", "zsmalloc"]),
        percent=st.sampled_from([0, 1, 20]), shrinker=st.booleans(), disk=st.sampled_from(["sata", "zram"]),
        content=st.sampled_from(
            ["half", "typical(changes_on_write=true)", "random", "heap", "3*half + same + 2*random + zero64"]
        ),
    )  # fmt: skip
    def begin(self, kernel, zpool, percent, shrinker, disk, content):
        vm = {"zswap.zpool": zpool, "zswap.max_pool_percent": percent, "page-cluster": 2}
        if kernel == "6.12":
            vm["zswap.shrinker_enabled"] = int(shrinker)
        swap = [pymem.SwapDevice("1MiB", kind=disk), pymem.SwapDevice("2MiB", kind="nvme")]
        self.m = SmallMachine(self.PAGES, kernel, {**ON, **vm}, swap, content, memory="32MiB")

    @rule(ms=st.integers(1, 200))
    def wait(self, ms):
        self.m.wait(ms * 10**6)

    def teardown(self):
        if hasattr(self, "m"):
            self.m.drop(0, self.PAGES)
            self.m.wait(10**9)
            # slots of pages still under way when their memory went are free by now
            assert self.m.zswap["stored_pages"] == 0
            assert self.m.zswap["pool_total_size"] == 0


TestAnything = Anything.TestCase
TestAnything.settings = settings(max_examples=40, stateful_step_count=25)


@pytest.mark.parametrize("name", ["08_zswap_lzo_zbud_zipf2x.s1", "08_zswap_lz4_zsmalloc_zipf2x.s1"])
def test_a_recorded_run_of_a_real_kernel(name):
    (recorded,) = recording.load(pattern=name)
    seen = []
    scenario = scenarios.scenario(recorded, lambda at: seen.append(run.engine.swap()["zswap"]))
    run = pymem.Simulation(scenario)
    while run.step():
        pass
    kernel = {key.rsplit("/")[-1]: value for key, value in recorded.data["other_end"].items() if "zswap/" in key}
    # the pool fills once, to the very same page; later on, chance decides which entries die
    assert seen[-1]["max_pages"] == recorded.data["MemTotal_kb"] // 4 * 20 // 100
    assert seen[-1]["stored_pages"] == pytest.approx(int(kernel["stored_pages"]), rel=0.06)
    assert seen[-1]["pool_total_size"] == pytest.approx(int(kernel["pool_total_size"]), rel=0.06)
    events = run.engine.events_count()
    for counter in ("zswpin", "zswpout", "pswpin", "pswpout", "pgmajfault"):
        assert events[counter] == pytest.approx(recorded.delta(counter), rel=0.06), counter
    if "zbud" in name:
        assert events["zswpout"] == recorded.delta("zswpout")


def test_a_sample_of_rows_follows_the_content():
    from pymem.content.tables import ROWS, Table

    table = Table(["lzo", "zlib"])
    first, rows, changes = table.place("half")
    assert table.place("half") == (first, rows, changes) == (0, ROWS, False)
    assert table.place("15*zero + 85*half")[0] == ROWS
    sizes, flags = table.arrays()
    assert Table([]).arrays() is None
    assert sizes.shape == (2 * ROWS, 2)
    assert (sizes[:ROWS, 0] == LZO_HALF).all()
    zero = np.count_nonzero(flags[ROWS:]) / ROWS
    # five standard deviations of a share of 15 % in 4096 draws
    assert abs(zero - 0.15) < 5 * (0.15 * 0.85 / ROWS) ** 0.5
