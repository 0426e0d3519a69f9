"""What a change is expected to do, as one number, where theory gives one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Effect:
    """One number before and after a change, by theory; what a training makes of it is for the trial to show.

    Attributes:
        quantity: what the number is, in words.
        before: its value in this run, measured or by the same theory.
        after: its value with the change, by theory.
        unit: its unit; `"1"` for a ratio, `"share"` for a value from 0 to 1.
        source: the theory, with its author.
    """

    quantity: str
    before: float
    after: float
    unit: str
    source: str
