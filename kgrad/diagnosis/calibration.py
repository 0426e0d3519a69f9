"""How often each rule is right when it names the first cause of a run: counted on real trainings, not guessed."""

from collections.abc import Mapping

# The rule's own confidence counts as much as this many trainings that were looked at.
_PRIOR = 4

# Rule: (first causes that were right, first causes it named), as `benchmarks/diagnosis.py` prints them: both corpora,
# seed 0 and most of seed 1, and 153 fresh programs, these as they were judged at first sight (docs/diagnosis.md).
COUNTS: Mapping[str, tuple[int, int]] = {
    "clipping-too-tight": (1, 1),
    "dead-units": (12, 14),
    "exploding-gradient": (4, 4),
    "learning-rate-too-high": (31, 31),
    "learning-rate-too-low": (18, 19),
    "nonfinite-gradient": (12, 12),
    "output-loss-mismatch": (58, 58),
    "over-regularised": (11, 11),
    "plateau": (14, 19),
    "poor-initialization": (41, 42),
    "saturated-activation": (3, 4),
    "slow-convergence": (11, 11),
    "unscaled-inputs": (18, 20),
    "vanishing-gradient": (21, 21),
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
