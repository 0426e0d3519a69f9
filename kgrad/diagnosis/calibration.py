"""How often each rule is right when it names the first cause of a run: counted on real trainings, not guessed."""

from collections.abc import Mapping

# The rule's own confidence counts as much as this many trainings that were looked at.
_PRIOR = 4

# Rule: (first causes that were right, first causes it named). `benchmarks/diagnosis.py` prints this table.
COUNTS: Mapping[str, tuple[int, int]] = {
    "dead-units": (5, 5),
    "exploding-gradient": (2, 2),
    "learning-rate-too-high": (10, 10),
    "learning-rate-too-low": (7, 7),
    "nonfinite-gradient": (5, 5),
    "output-loss-mismatch": (25, 25),
    "over-regularised": (4, 4),
    "plateau": (4, 4),
    "poor-initialization": (17, 17),
    "saturated-activation": (1, 1),
    "slow-convergence": (5, 5),
    "unscaled-inputs": (8, 8),
    "vanishing-gradient": (8, 8),
}


def calibrated(rule: str, stated: float, counts: Mapping[str, tuple[int, int]] = COUNTS) -> float:
    """The confidence of a finding: what the rule says of this run, corrected by how often it was right on others.

    The mean of a beta distribution whose prior is the rule's own confidence and whose data are the trainings that were
    counted (Gelman et al. 2013, "Bayesian Data Analysis", section 2.4): a rule that nobody tested keeps its word, one
    that was tested often gets its record.

    Args:
        rule: id of the rule.
        stated: the confidence that the rule gives, from 0 to 1.
        counts: by rule, how many first causes were right and how many it named.

    >>> calibrated("plateau", 0.75, {}), calibrated("plateau", 0.75, {"plateau": (15, 16)})
    (0.75, 0.9)
    """
    right, called = counts.get(rule, (0, 0))
    return (right + _PRIOR * stated) / (called + _PRIOR)
