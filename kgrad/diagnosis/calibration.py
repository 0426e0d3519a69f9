"""How often each rule is right when it names the first cause of a run: counted on real trainings, not guessed."""

from collections.abc import Mapping

# The rule's own confidence counts as much as this many trainings that were looked at.
_PRIOR = 4

# Rule: (first causes that were right, first causes it named), as `benchmarks/diagnosis.py` prints them: both corpora,
# three seeds (a part of seed 1 is lacking), and 255 fresh programs as judged at first sight (docs/diagnosis.md).
COUNTS: Mapping[str, tuple[int, int]] = {
    "clipping-too-tight": (2, 2),
    "dead-units": (17, 20),
    "exploding-gradient": (6, 6),
    "learning-rate-too-high": (48, 50),
    "learning-rate-too-low": (25, 29),
    "nonfinite-gradient": (19, 19),
    "output-loss-mismatch": (93, 93),
    "over-regularised": (18, 18),
    "plateau": (23, 28),
    "poor-initialization": (61, 63),
    "saturated-activation": (5, 6),
    "slow-convergence": (17, 17),
    "unscaled-inputs": (32, 34),
    "vanishing-gradient": (30, 30),
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
