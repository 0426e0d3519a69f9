"""Counts batches, steps and epochs: which of them are recorded, and what the rows of a ring belong to."""

from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Steps, and recorded calls, of the beginning of a run, in which it changes most and in which short ones end.
EARLY = 512
# Where one step in so many is recorded, up to so many follow each other once the first steps are over, in each block of
# so many steps. The first of them pays for the change of the compiled function: alone each costs a third of a step of a
# 20-layer MLP, in a row a twentieth. Where they are rarer than a block that cost is little, and each stands alone.
IN_A_ROW = 8
BLOCK = 80
_BITS = 32
_ALL_BITS = 2**_BITS - 1


class Wanted(Enum):
    """What of a step is recorded."""

    NOTHING = 0
    NORMS = 1
    DETAILS = 2


class Progress:
    """Where a run stands, over all its fits.

    Args:
        every: record one step in so many; after the first 512 steps up to eight in a row, at a place as good as drawn.
        details_every: takes all statistics in one of each so many recorded calls, the norms alone in the others: of
            the first 512 and of the later ones.

    Attributes:
        waiting: batches recorded since rows were last taken.
    """

    def __init__(self, every: int, details_every: tuple[int, int] = (1, 1)) -> None:
        self.waiting = 0
        self._every = every
        self._in_a_row = max(1, min(IN_A_ROW, BLOCK // every))
        self._details_every = details_every
        self._seen = 0
        self._first_of_epoch = 0
        self._per_step = 1
        self._per_call = 1
        self._recorded: list[tuple[int, int]] = []
        self._epoch_starts: list[tuple[int, int]] = []
        self._next_step = 0

    def begin_fit(self, batches_per_step: int, batches_per_call: int) -> None:
        """A fit begins.

        Args:
            batches_per_step: more than one under gradient accumulation.
            batches_per_call: Keras' `steps_per_execution`.
        """
        self._per_step, self._per_call = batches_per_step, batches_per_call
        self._recorded.clear()
        self.waiting = 0

    def begin_epoch(self, epoch: int) -> None:
        """An epoch begins."""
        self._first_of_epoch = self._seen
        self._epoch_starts.append((self.steps, epoch))

    def plan(self) -> Wanted:
        """What of the next call of the training function is to be recorded."""
        number = self._next_recorded()
        if number is None:
            return Wanted.NOTHING
        return Wanted.DETAILS if _is_detailed(number, self._details_every[number >= EARLY]) else Wanted.NORMS

    def _next_recorded(self) -> int | None:
        """The number of the next call among those that are recorded; `None` where it is not.

        The micro-batches of one step share its number; of several steps in one call, the call has one.
        """
        first, last = self._seen // self._per_step, (self._seen + self._per_call - 1) // self._per_step
        # Several steps in one call follow each other by themselves, and so do all steps.
        if self._every == 1 or first < EARLY or self._per_call > 1:
            is_due = first % self._every == 0 or first // self._every != last // self._every
            return self._seen // max(self._per_step * self._every, self._per_call) if is_due else None
        block, place = divmod(first, self._every * self._in_a_row)
        ahead = place - (_scattered(block) * (self._every - 1) * self._in_a_row >> _BITS)
        return block * self._in_a_row + ahead if 0 <= ahead < self._in_a_row else None

    def end_batches(self, batch: int, recorded: bool) -> None:
        """A call of the training function has ended.

        Args:
            batch: number of its last batch within the epoch.
            recorded: whether its steps were recorded.
        """
        before, self._seen = self._seen, self._first_of_epoch + batch + 1
        if recorded:
            self._recorded.append((before, self._seen))
            self.waiting += self._seen - before

    def take(self, rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Step and epoch numbers of the rows just read from the ring.

        A call that failed midway leaves rows that no callback has heard of: they follow the last known step.
        """
        known = [np.arange(first, end) for first, end in self._recorded]
        batches = np.concatenate([*known, np.zeros(0, np.int64)])
        steps = batches[(batches + 1) % self._per_step == 0] // self._per_step
        missing = rows - len(steps)
        if missing > 0:
            start = int(steps[-1]) + 1 if len(steps) else max(self._next_step, self.steps)
            steps = np.concatenate([steps, np.arange(start, start + missing)])
        steps = steps[-rows:].astype(np.int64)
        self._recorded.clear()
        self.waiting = 0
        self._next_step = int(steps[-1]) + 1
        return steps, self._epochs_of(steps)

    @property
    def steps(self) -> int:
        """Optimizer steps made so far."""
        return self._seen // self._per_step

    def _epochs_of(self, steps: NDArray[np.int64]) -> NDArray[Any]:
        starts, epochs = np.array(self._epoch_starts).T
        return epochs[np.searchsorted(starts, steps, side="right") - 1]


def _is_detailed(number: int, every: int) -> bool:
    """Whether a call is the one of its block: at a place as good as drawn, and the same in every run.

    With one place for all blocks, an epoch whose length has a factor in common would always show the same few batches.
    """
    block, place = divmod(number, every)
    return place == _scattered(block) * every >> _BITS


def _scattered(number: int) -> int:
    """A number of 32 bits that looks random; 0 for 0 (the mixing steps of MurmurHash3, Appleby 2011)."""
    mixed = number * 0x9E3779B1 & _ALL_BITS
    mixed = (mixed ^ mixed >> 15) * 0x85EBCA6B & _ALL_BITS
    return mixed ^ mixed >> 13
