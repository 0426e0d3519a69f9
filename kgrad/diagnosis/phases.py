"""Phases: spans of steps with one name, for the whole model and per layer."""

from dataclasses import dataclass


PHASES = ("healthy", "vanishing", "exploding", "plateau", "saddle", "converged")


@dataclass(frozen=True)
class Phase:
    """A span of steps with one name.

    Attributes:
        name: one of `PHASES`.
        first_step: step number where it begins.
        last_step: step number where it ends, that step included.
    """

    name: str
    first_step: int
    last_step: int


def model_phases(log):
    return ()


def layer_phases(log):
    return {}
