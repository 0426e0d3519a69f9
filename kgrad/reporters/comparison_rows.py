"""The rows of the tables of the comparison page: text, ready to print."""

from dataclasses import dataclass

from kgrad.reporters import sparks


@dataclass(frozen=True)
class RunRow:
    """One run in the table.

    Attributes:
        name: its name.
        note: how it ended where that was not the end, or why it cannot be read.
        settings: its settings, of those that differ.
        seed: its seed.
        mark: its disease, `"healthy"`, or why it is not judged.
        tone: the class that colours the mark.
        more: further diseases.
        last: the last measure.
        best: the best one.
        best_step: its step.
        loss: points of the loss curve.
        norm: points of the global norm's curve.
    """

    name: str
    note: str
    settings: tuple[str, ...]
    seed: str
    mark: str
    tone: str
    more: str
    last: str
    best: str
    best_step: str
    loss: str
    norm: str


@dataclass(frozen=True)
class GroupRow:
    """One group in the table; the pooled numbers as text, `-` where not known."""

    settings: tuple[str, ...]
    runs: int
    sick: str
    mean: str
    std: str
    interval: str
    note: str
    strip: sparks.Strip


@dataclass(frozen=True)
class PairRow:
    """One pair of groups in the table; `refused` says why there are no numbers."""

    first: str
    second: str
    refused: str
    difference: str
    interval: str
    method: str
    p: str
    adjusted: str
    effect: str
    delta: str
    answer: str
    tone: str


@dataclass(frozen=True)
class AssociationRow:
    """One setting against one disease in the table."""

    disease: str
    setting: str
    with_it: str
    without: str
    p: str
    adjusted: str
    answer: str
    tone: str


@dataclass(frozen=True)
class SplitRow:
    """One configuration with seed-dependent minima."""

    label: str
    low: str
    high: str
    runs_low: str
    runs_high: str
    adjusted: str
