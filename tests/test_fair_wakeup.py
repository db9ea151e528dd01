"""A thread that wakes up shares the CPU with one that has run for long without a stop."""

import numpy as np
from lab import MS, Lab, file, machine, op, sleep

from pymem.records import Op


def test_a_waking_task_gets_its_half_of_the_cpu_and_no_more():
    """`a` computes for 300 ms, `b` sleeps for 200 of these and needs the CPU for 100: in turns, that takes 200.

    With what `a` had used on its account from before its long run only, `b` would have it for itself."""
    lab = Lab(
        machine(1024), costs={"c_syscall": MS, "c_page_copy": 0},
        a=[file(1, name="a")], b=[file(1, name="b")],
    )  # fmt: skip
    lab.do("a", op(Op.READ))
    lab.do("b", op(Op.READ))
    start = lab.engine.now
    lab._feed("a", np.repeat(op(Op.READ), 300), False)
    lab.do("b", sleep(200 * MS), np.repeat(op(Op.READ), 100))
    took = (lab.engine.now - start) / MS
    # a turn is 3 ms, and who wakes is one ahead
    assert 400 - 10 <= took <= 400 + 10
