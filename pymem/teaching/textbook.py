"""Page replacement as on the blackboard: one column per frame, one line per access."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from pymem.errors import ScenarioError

from .policies import POLICIES, Policy
from .references import Page, Reference, references_of

MAX_FRAMES = 1 << 20
#: Accesses up to which faults are counted for other numbers of frames too.
COUNTED = 10_000


@dataclass(frozen=True)
class Step:
    """One access.

    Attributes
    ----------
    number : int
        From 1.
    page : int or str
    write, hit : bool
    frames : tuple
        The page in each frame after the access; None: empty.
    frame : int
        The frame the page is in, from 0.
    victim : int, str or None
        The page that left.
    dirty : bool
        Whether the victim had been written to, and so had to be written back.
    why : str
        The reason of the decision.
    state : str
        What the policy remembers after the access.
    """

    number: int
    page: Page
    write: bool
    hit: bool
    frames: tuple[Page | None, ...]
    frame: int
    victim: Page | None
    dirty: bool
    why: str
    state: str


@dataclass(frozen=True)
class Explanation:
    """All steps, and what they come to.

    Attributes
    ----------
    policy : str
    meaning : str
        The policy in one sentence.
    frames : int
    steps : tuple of Step
    faults, hits, writebacks : int
    faults_by_frames : dict
        Faults with 1, 2, ... frames; empty for more than 10,000 accesses.
    """

    policy: str
    meaning: str
    frames: int
    steps: tuple[Step, ...]
    faults: int
    hits: int
    writebacks: int
    faults_by_frames: dict[int, int]

    @property
    def anomalies(self) -> list[tuple[int, int]]:
        """Belady's anomaly: pairs of numbers of frames of which the larger has more faults."""
        by = self.faults_by_frames
        return [(n, n + 1) for n in by if n + 1 in by and by[n + 1] > by[n]]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {**asdict(self), "anomalies": self.anomalies}


def explain(
    accesses: str | Iterable[Page | Reference], *, frames: int = 3, policy: str = "lru", seed: int = 0
) -> Explanation:
    """Replay accesses under a policy of the textbooks, every decision with its reason.

    Parameters
    ----------
    accesses : str or iterable
        ``"7 0 1 2 0:w 3"``; or pages, or pairs of page and whether it is written.
    frames : int
        Page frames, all empty at the start.
    policy : str
        A name in `pymem.teaching.POLICIES`.
    seed : int
        Of the policy ``random``.

    Raises
    ------
    TraceError
        No access, or something that is no page.
    ScenarioError
        No such policy, or no such number of frames.

    Examples
    --------
    >>> explain("1 2 3 4 1 2 5 1 2 3 4 5", frames=3, policy="fifo").faults
    9
    >>> explain("1 2 3 4 1 2 5 1 2 3 4 5", frames=4, policy="fifo").faults
    10
    """
    references = references_of(accesses)
    chosen = policy_named(policy)
    check_frames(frames, 1)
    pages = [reference.page for reference in references]
    steps = _replay(chosen(frames, pages, seed), references, frames)
    faults = sum(not step.hit for step in steps)
    by_frames: dict[int, int] = {}
    if len(pages) <= COUNTED:
        most = min(len(set(pages)), max(2 * frames, frames + 3))
        by_frames = {n: _faults(chosen(n, pages, seed), pages, n) for n in range(1, most + 1)}
    return Explanation(
        policy, chosen.meaning, frames, tuple(steps), faults, len(steps) - faults, sum(step.dirty for step in steps),
        by_frames,
    )  # fmt: skip


def policy_named(name: str) -> type[Policy]:
    """The class of a policy; ScenarioError if there is none of this name."""
    if name not in POLICIES:
        raise ScenarioError(f"policy: {name!r}; accepted are {', '.join(POLICIES)}")
    return POLICIES[name]


def check_frames(frames: int, least: int) -> None:
    """ScenarioError unless it is a possible number of frames."""
    if isinstance(frames, bool) or not isinstance(frames, int) or not least <= frames <= MAX_FRAMES:
        raise ScenarioError(f"frames: {frames!r}; accepted is {least} to {MAX_FRAMES}")


def _replay(policy: Policy, references: list[Reference], frames: int) -> list[Step]:
    slots: list[Page | None] = [None] * frames
    place: dict[Page, int] = {}
    dirty: set[Page] = set()
    steps = []
    for now, (page, write) in enumerate(references, 1):
        hit, victim, written = page in place, None, False
        if hit:
            why = policy.hit(page, now)
        else:
            if len(place) < frames:
                frame, why = len(place), "a free frame"
            else:
                victim, why = policy.victim(page, now)
                frame = place.pop(victim)
                written = victim in dirty
                dirty.discard(victim)
            more = policy.enter(page, now)
            why = f"{why}; {more}" if more else why
            slots[frame] = page
            place[page] = frame
        if write:
            dirty.add(page)
        steps.append(
            Step(now, page, write, hit, tuple(slots), place[page], victim, written, why, policy.state())
        )  # fmt: skip
    return steps


def _faults(policy: Policy, pages: list[Page], frames: int) -> int:
    """Faults alone, without the story."""
    inside: set[Page] = set()
    faults = 0
    for now, page in enumerate(pages, 1):
        if page in inside:
            policy.hit(page, now)
            continue
        faults += 1
        if len(inside) == frames:
            inside.remove(policy.victim(page, now)[0])
        policy.enter(page, now)
        inside.add(page)
    return faults
