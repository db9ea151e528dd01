"""New pages reach their LRU list in batches, one per CPU: until then the reclaim of other CPUs does not see them."""

import pytest
from lab import Lab, anon, file, machine, op, store

from pymem.records import Op

CACHED = 200


def left_over(kernel, cpus, reader, cpu):
    """Pages that reclaim leaves of a file that task a read, while b needs memory and has no swap."""
    lab = Lab(
        machine(2048, cpus=cpus), kernel=kernel, settings={"a": {"affinity": (reader,)}, "b": {"affinity": (cpu,)}},
        a=(file(CACHED, advice="random"),), b=(anon(2048),),
    )  # fmt: skip
    for page in range(CACHED):
        lab.do("a", op(Op.READ, page))
    with pytest.raises(AssertionError, match=r"^oom"):  # all that can be reclaimed has been
        lab.do("b", store(range(2048)))
    return lab.engine.node_stats()["nr_inactive_file"]


@pytest.mark.parametrize(("kernel", "batch"), [("6.1", 15), ("6.12", 31)])
def test_other_cpus_do_not_see_the_last_batch(kernel, batch):
    # kswapd stays on CPU 0, where it was
    assert left_over(kernel, 3, 1, 2) == CACHED % batch


@pytest.mark.parametrize("kernel", ["6.1", "6.12"])
def test_a_cpu_that_reclaims_sees_its_own(kernel):
    assert left_over(kernel, 1, 0, 0) == 0
