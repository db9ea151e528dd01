"""zram and stores: what a page costs, when a write fails, what goes to the backing device."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule
from reference.zsmalloc import ZsPool
from small_machine import Fixed, PageRules, SmallMachine

import pymem
from pymem.codecs import get
from pymem.errors import ScenarioError
from pymem.records import Op, pack
from pymem.regions import Anon
from pymem.validation import recording, scenarios

pytestmark = pytest.mark.engine

LZO_HALF = 1681  # as zram of a real kernel reported it
DISK = pymem.Disk("sata")


def machine(kernel="6.12", content="half", size="16MiB", vm=(), pages=1000, regions=None, **zram):
    device = pymem.SwapDevice(size, **{"kind": "zram", "codec": "lzo", **zram})
    return SmallMachine(pages, kernel, vm, [device], content, regions=regions)


def frames_of(kernel, sizes):
    pool = ZsPool(kernel, 4 if kernel == "6.1" else 8, 1 << 20)
    for size in sizes:
        assert pool.alloc(size)
    return pool.frames.held


def moved(m):
    """Requests that reached a block device."""
    return sum(d["read_pages"] + d["write_pages"] for d in m.engine.devices())


@pytest.mark.parametrize("kernel", ["6.1", "6.12"])
def test_pages_are_kept_in_memory_and_nothing_reaches_a_disk(kernel):
    m = machine(kernel)
    m.out(0, 300)
    frames = frames_of(kernel, [LZO_HALF] * 300)
    stat = m.zram
    assert stat["orig_data_size"] == 300 * 4096
    assert stat["compr_data_size"] == 300 * LZO_HALF
    assert stat["mem_used_total"] == stat["mem_used_max"] == frames * 4096
    assert m["nr_zspages"] == frames
    assert (m["pswpout"], m["nr_writeback"], moved(m)) == (300, 0, 0)
    assert m["nr_swapcached"] == 0
    # only later kernels send pages to zram as requests that the block layer counts
    assert m["pgpgout"] == (0 if kernel == "6.1" else 1200)


def test_swap_in_skips_the_swap_cache_and_the_slot_is_free_at_once():
    m = machine(vm={"page-cluster": 3})
    m.out(0, 300)
    m.load(0, 100)
    assert (m["pswpin"], m["pgmajfault"]) == (100, 100)
    assert m["nr_swapcached"] == 0
    assert m["swap_ra"] == 0
    assert m.zram["notify_free"] == 100
    assert m.zram["orig_data_size"] == 200 * 4096
    assert m.task["rss_anon"] == 100
    # without a slot it has to be written anew
    m.pageout(0, 100)
    assert m["pswpout"] == 400


def test_a_page_that_was_read_may_be_written_in_place():
    m = machine()
    m.out(0, 50)
    m.load(0, 50)
    faults = m["pgfault"]
    m.store(0, 50)
    assert m["pgfault"] == faults


def test_a_slot_that_two_tasks_share_goes_through_the_swap_cache():
    swap = [pymem.SwapDevice("16MiB", kind="zram", codec="lzo")]
    m = SmallMachine(200, swap=swap, content="half", fork_at=10**9)
    m.out(0, 100)
    m.wait(2 * 10**9)
    m.load(0, 100, thread=m.child)
    # read once, kept for the parent, who finds it in the swap cache
    assert (m["pswpin"], m["nr_swapcached"]) == (100, 100)
    assert m.zram["orig_data_size"] == 100 * 4096
    m.load(0, 100)
    assert m["pswpin"] == 100
    # a page that the child pushes out anew, having written to it, is one of its own
    m.store(0, 10, thread=m.child)
    m.drop(0, 100)
    m.records(pack([0], Op.DONTNEED, 100), m.child)
    assert m.zram["orig_data_size"] == 0


@pytest.mark.parametrize(("kernel", "content"), [("6.12", "same"), ("6.1", "same"), ("6.1", "zero")])
def test_same_filled_pages_take_no_memory(kernel, content):
    m = machine(kernel, content=content)
    m.out(0, 100)
    assert m.zram["same_pages"] == 100
    assert m.zram["orig_data_size"] == 100 * 4096
    assert (m.zram["compr_data_size"], m.zram["mem_used_total"]) == (0, 0)
    m.load(0, 100)
    assert m.zram["same_pages"] == 0


def test_zero_pages_of_612_never_reach_it():
    m = machine(content="zero")
    m.out(0, 100)
    assert m["swpout_zero"] == 100
    assert m.zram["orig_data_size"] == 0
    m.load(0, 100)
    assert m["swpin_zero"] == 100


@pytest.mark.parametrize(("kernel", "threshold"), [("6.12", 3625), ("6.1", 3257)])
def test_what_hardly_compresses_is_kept_as_it_is(kernel, threshold):
    regions = [Anon(20, content=Fixed(size=threshold - 1)), Anon(30, content=Fixed(size=threshold))]
    m = machine(kernel, regions=regions)
    m.out(0, 50)
    assert m.zram["huge_pages"] == m.zram["huge_pages_since"] == 30
    assert m.zram["compr_data_size"] == 20 * (threshold - 1) + 30 * 4096
    m.load(0, 50)
    assert (m.zram["huge_pages"], m.zram["huge_pages_since"]) == (0, 30)


def test_a_failed_write_leaves_the_page_where_it_was():
    limit = 40
    m = machine(content="random", mem_limit=limit * 4096)
    m.store(0, 100)
    m.pageout(0, 100)
    # each page takes one of its own; what does not fit stays in memory, in the swap cache, dirty
    assert m.zram["mem_used_total"] == limit * 4096
    assert m.zram["failed_writes"] == 60
    assert m["nr_swapcached"] == 60
    assert m["pswpout"] == 100
    major = m["pgmajfault"]
    m.load(limit, 60)
    assert m["pgmajfault"] == major
    m.load(0, limit)
    assert m["pgmajfault"] == major + limit
    assert m.task["rss_anon"] == 100


def test_the_limit_counts_frames_of_the_pool():
    m = machine(mem_limit=40 * 4096)
    m.out(0, 1000)
    stat = m.zram
    assert stat["mem_used_total"] <= 40 * 4096
    # the write that goes over the limit has taken its frames already
    assert 40 * 4096 < stat["mem_used_max"] <= (40 + 8) * 4096
    assert stat["orig_data_size"] // 4096 + stat["failed_writes"] == 1000
    assert m["nr_swapcached"] == stat["failed_writes"]


def test_a_failed_rewrite_keeps_the_old_data():
    # in the swap cache of 6.1, kept there by a neighbour that reads ahead, pages are written to the same slot again
    m = machine(content="random", mem_limit=10 * 4096)
    m.out(0, 10)
    assert m.zram["orig_data_size"] == 10 * 4096
    m.out(100, 10)
    assert m.zram["failed_writes"] == 10
    assert m.zram["orig_data_size"] == 10 * 4096
    m.load(0, 10)
    # room again: what failed goes out with the next try
    m.load(100, 10)
    m.pageout(100, 10)
    assert m.zram["failed_writes"] == 10
    assert m.zram["orig_data_size"] == 10 * 4096


def test_stores_change_what_a_page_compresses_to_only_if_the_content_says_so():
    for changes in ("true", "false"):
        m = machine(content=f"half(changes_on_write={changes}) + zero64(changes_on_write={changes})")
        seen = set()
        for _ in range(3):
            m.out(0, 200)
            seen.add(m.zram["compr_data_size"])
        # loads between do not count as stores
        m.load(0, 200)
        m.pageout(0, 200)
        assert m.zram["compr_data_size"] in seen
        assert (len(seen) > 1) == (changes == "true")


def test_times_go_to_whoever_faults():
    def duration(codec):
        m = machine(codec=codec, content=Fixed(size=1000))
        m.out(0, 100)
        begin = m.engine.now
        m.load(0, 100)
        return m.engine.now - begin

    difference = get("zstd").cost.decompress_ns - get("lzo").cost.decompress_ns
    assert duration("zstd") - duration("lzo") == 100 * difference


def test_equal_priorities_share_the_pages():
    swap = [pymem.SwapDevice("8MiB", kind="zram", priority=5), pymem.SwapDevice("8MiB", kind="sata", priority=5)]
    m = SmallMachine(1000, swap=swap, content="half")
    m.out(0, 640)
    # slots come in batches of 64 from each area by turns
    assert m.zram["orig_data_size"] // 4096 == 320


# ---- backing device -------------------------------------------------------------------------------------


def test_idle_pages_go_to_the_backing_device():
    m = machine(backing=DISK, idle_after="2s", period="1s")
    m.out(0, 100)
    m.wait(1 * 10**9)
    assert m.zram["bd_writes"] == 0
    m.wait(4 * 10**9)
    assert m.zram["bd_count"] == m.zram["bd_writes"] == 100
    assert m.zram["mem_used_total"] == 0
    assert m.zram["orig_data_size"] == 100 * 4096
    # read like from any disk, through the swap cache
    m.load(0, 30)
    assert m.zram["bd_reads"] == 30
    assert m.engine.devices()[-1]["read_pages"] == 30
    m.drop(0, 100)
    assert m.zram["bd_count"] == 0


def test_huge_pages_go_alone_if_asked_for():
    regions = [Anon(50, content=Fixed(size=1000)), Anon(50, content=Fixed(size=4000))]
    m = machine(regions=regions, backing=DISK, writeback_what="huge", period="1s")
    m.out(0, 100)
    m.wait(3 * 10**9)
    assert m.zram["bd_writes"] == 50
    assert m.zram["huge_pages"] == 0
    assert m.zram["compr_data_size"] == 50 * 1000
    both = machine(regions=regions, backing=DISK, writeback_what="huge_idle", idle_after="5s", period="1s")
    both.out(0, 100)
    both.wait(3 * 10**9)
    assert both.zram["bd_writes"] == 0
    both.wait(4 * 10**9)
    assert both.zram["bd_writes"] == 50


def test_the_second_codec_is_kept_only_where_it_lands_in_a_smaller_class():
    # zlib makes 1452 bytes of `half`, lzo 1681: smaller; of random pages nothing
    regions = [Anon(50, content="half"), Anon(50, content="random")]
    m = machine(regions=regions, recompress="zlib", idle_after="1s", period="1s")
    m.out(0, 100)
    before = m.zram
    assert before["compr_data_size"] == 50 * LZO_HALF + 50 * 4096
    m.wait(4 * 10**9)
    assert m.zram["compr_data_size"] == 50 * 1452 + 50 * 4096
    assert m.zram["huge_pages"] == 50
    m.load(0, 100)
    assert m.zram["orig_data_size"] == 0


# ---- stores ---------------------------------------------------------------------------------------------


def test_a_store_keeps_large_results_compressed():
    m = machine(kind="store", content=Fixed(size=3800))
    m.out(0, 100)
    assert m.zram["huge_pages"] == 0
    assert m.zram["compr_data_size"] == 100 * 3800
    assert moved(m) == 0
    m.load(0, 100)
    assert m["pswpin"] == 100
    assert m.zram["orig_data_size"] == 0


def test_a_store_writes_its_oldest_pages_compressed():
    limit = 60
    m = machine(kind="store", content=Fixed(size=1000), backing=DISK, mem_limit=limit * 4096)
    m.out(0, 200)
    m.wait(10**9)
    assert m.zram["bd_count"] == 0
    m.out(200, 200)
    m.wait(10**9)
    stat = m.zram
    assert stat["mem_used_total"] <= limit * 4096
    # four to a block: a quarter of the requests that uncompressed pages would take
    assert stat["bd_count"] > 0
    assert stat["bd_writes"] == -(-stat["bd_count"] // 4)
    written = stat["bd_count"]
    m.load(0, 10)
    assert m.zram["bd_reads"] == 10
    m.load(399, 1)
    assert m.zram["bd_reads"] == 10
    assert written < 400


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"codec": "gzip"}, "no codec is called 'gzip'"),
        ({"read": "80us"}, "machine.swap.read: unknown key"),
        ({"kind": "nvme", "codec": "lz4"}, "machine.swap.codec: unknown key"),
        ({"writeback_what": "all"}, "accepted are idle, huge, huge_idle"),
        ({"kind": "store", "recompress": "zstd"}, "a store has one codec"),
        ({"kind": "store", "backing": DISK}, "machine.swap.mem_limit: missing"),
        ({"period": "1us"}, "accepted is 1ms and more"),
        ({"backing": "sata"}, "accepted is a Disk"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ScenarioError, match=message):
        pymem.SwapDevice("1GiB", **{"kind": "zram", **settings})


def test_devices_from_toml(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(
        "[machine]\nmemory = '64MiB'\n"
        "[[machine.swap]]\nsize = '64MiB'\nkind = 'zram'\ncodec = 'lz4'\nmem_limit = '16MiB'\nrecompress = 'zstd'\n"
        "backing = { kind = 'sata' }\nidle_after = '5s'\n"
        "[[machine.swap]]\nsize = '1GiB'\nkind = 'hdd'\n"
        "[[tasks]]\nname = 'a'\nworkload = { kind = 'uniform', size = '8MiB', accesses = 10 }\n"
    )
    zram, disk = pymem.load(path).machine.swap
    assert zram.compression.backing == DISK
    assert zram.mem_limit_pages == 4096
    assert disk.compression is None
    assert pymem.simulate(pymem.load(path)).swap["areas"][0]["zram"]["mem_limit"] == 16 << 20


def test_a_run_under_pressure_is_the_same_every_time_and_finishes():
    pages = 24576
    touch = np.arange(pages, dtype=np.uint32) | np.uint32(1 << 31)
    again = np.concatenate(list(pymem.workloads.Zipf(pages=pages, accesses=60_000, s=0.9, writes=0.3).chunks(1)))
    results = []
    for kind in ("zram", "zram", "sata"):
        scenario = pymem.Scenario(
            machine=pymem.Machine(memory="64MiB", cpus=2, swap=[pymem.SwapDevice("256MiB", kind=kind)]),
            tasks=[pymem.Task("task", pymem.workloads.Trace(np.concatenate([touch, again])), content="half")],
        )
        run = pymem.Simulation(scenario)
        while run.step(20_000):
            run.engine.verify()
        results.append(run.result())
    assert results[0].to_dict() == results[1].to_dict()
    assert results[0].status == "complete"
    assert results[0].time_ns < results[2].time_ns
    assert results[0].vmstat["pgmajfault"] > 0


def test_a_recorded_run_of_a_real_kernel():
    (recorded,) = recording.load(pattern="08_zram_lzorle_zipf125.s1")
    seen = []
    scenario = scenarios.scenario(recorded, lambda at: seen.append(run.engine.swap()["areas"][0]["zram"]))
    run = pymem.Simulation(scenario)
    while run.step():
        pass
    text = next(value for key, value in recorded.data["other_end"].items() if key.endswith("mm_stat"))
    orig, compr, used = map(int, text.split()[:3])
    assert seen[-1]["orig_data_size"] == pytest.approx(orig, rel=0.06)
    assert seen[-1]["compr_data_size"] == pytest.approx(compr, rel=0.06)
    assert seen[-1]["mem_used_total"] == pytest.approx(used, rel=0.06)
    assert (seen[-1]["same_pages"], seen[-1]["huge_pages"]) == (0, 0)
    events = run.engine.events_count()
    for counter in ("pswpin", "pswpout", "pgmajfault", "pgfault"):
        assert events[counter] == pytest.approx(recorded.delta(counter), rel=0.06), counter
    assert events["pgpgin"] == events["pgpgout"] == recorded.delta("pgpgin") == 0


class Anything(PageRules):
    """Any order of operations on any kind of compressed device, everything verified after each."""

    @initialize(
        kernel=st.sampled_from(["6.1", "6.12"]),
        device=st.sampled_from(
            [
                {"kind": "zram"},
                {"kind": "zram", "mem_limit": 60 * 4096},
                {"kind": "zram", "backing": DISK, "idle_after": "1s", "period": "200ms"},
                {"kind": "zram", "backing": DISK, "writeback_what": "huge", "period": "100ms", "recompress": "zlib",
                 "recompress_what": "huge"},
                {"kind": "zram", "recompress": "zlib", "idle_after": 0, "period": "50ms"},
                {"kind": "store", "mem_limit": 60 * 4096},
                {"kind": "store", "mem_limit": 60 * 4096, "backing": DISK},
            ]
        ),
        second=st.booleans(),
        content=st.sampled_from(
            ["half", "typical(changes_on_write=true)", "random", "3*half + same + 2*random + zero64"]
        ),
    )  # fmt: skip
    def begin(self, kernel, device, second, content):
        swap = [pymem.SwapDevice("1MiB", codec="lzo", **device)]
        if second:
            swap.append(pymem.SwapDevice("1MiB", kind="zram", codec="lzo-rle"))
        self.m = SmallMachine(self.PAGES, kernel, {"page-cluster": 2}, swap, content, memory="32MiB")

    @rule(ms=st.integers(1, 2000))
    def wait(self, ms):
        self.m.wait(ms * 10**6)

    def teardown(self):
        if hasattr(self, "m"):
            self.m.drop(0, self.PAGES)
            self.m.wait(10**9)
            assert self.m.zram["orig_data_size"] == 0
            assert self.m["nr_zspages"] == 0


TestAnything = Anything.TestCase
TestAnything.settings = settings(max_examples=40, stateful_step_count=25)
