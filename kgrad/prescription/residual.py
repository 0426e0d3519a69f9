"""Residual branches whose sum grows with depth: normalized inside, or begun small."""

import math

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.run_log import RunLog
from kgrad.log.structure import Layer, Structure
from kgrad.prescription.code import number
from kgrad.prescription.effect import Effect
from kgrad.prescription.layer_code import layers_code
from kgrad.prescription.normalization import prescribe_normalization
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.snippet import snippet

# As in the rule `poor-initialization`: a decade of signal, which is two of its mean square.
_GROWTH = 100.0


def prescribe_normalized_branches(log: RunLog, finding: Finding) -> Prescription | None:
    """Normalization inside each residual branch, where nothing keeps what they add up to from growing with depth.

    The branch then adds a fixed amount instead of as much as has come together so far, and `n` of them make `n + 1`
    times the mean square instead of `2^n` (De & Smith 2020, "Batch Normalization Biases Residual Blocks Towards the
    Identity Function", section 3). It also bears rates that `prescribe_scaled_branches` does not.
    """
    growth = _growth(log, _branch_ends(log.structure))
    return prescribe_normalization(log, finding) if growth is not None and growth >= _GROWTH else None


def prescribe_scaled_branches(log: RunLog, finding: Finding) -> Prescription | None:
    """A smaller start for the last layer of each residual branch, where nothing normalizes what the branches add up to.

    A branch as large as what it is added to doubles the mean square, and `n` of them in a row make `2^n` of it. With an
    `n`-th of the usual variance in its last layer each adds an `n`-th, and all together at most `e` times what came in
    (Hanin & Rolnick 2018, "How to Start Training", section 5.2; Zhang et al. 2019, "Fixup Initialization", and De &
    Smith 2020 for networks without normalization at all). The updates of `n` branches still add up: plain descent may
    need a rate that much lower (Zhang et al. 2019, section 3).
    """
    ends = _branch_ends(log.structure)
    growth = _growth(log, ends)
    if growth is None or growth < _GROWTH:
        return None
    share = 1 / len(ends)
    code = f'keras.initializers.VarianceScaling({number(share)}, mode="fan_in")'
    changes = {layer.name: {"kernel_initializer": code} for layer in ends}
    after = (1 + share) ** len(ends)
    return Prescription(
        knob="initializer",
        target=tuple(changes),
        before=f"{len(ends)} branches as large as what they are added to",
        after=f"{code} in the last layer of each branch",
        why=f"{len(ends)} residual branches in a row multiply the signal's mean square by {growth:.2g}; each with an "
        f"n-th of the variance, n being {len(ends)}, they make {after:.2g} of it.",
        code=snippet(layers_code((layer, changes[layer.name]) for layer in ends)),
        finding=finding.rule,
        evidence=(Evidence("growth of the mean square through the branches", growth, "1", _GROWTH),),
        settings={"initializers": changes},
        effect=Effect(
            "growth of the signal's mean square through the branches",
            growth,
            after,
            "1",
            "Hanin & Rolnick 2018, section 5.2",
        ),
    )


def _growth(log: RunLog, ends: list[Layer]) -> float | None:
    """The factor on the mean square by the first weights of the branches' last layers; `None`: not known."""
    if not ends or "weight_norm" not in log or not len(log) or log.steps[0] > 0:
        return None
    factor = 0.0
    for place, variable in enumerate(log.structure.variables):
        if variable.role == "kernel" and variable.layer in {each.name for each in ends}:
            norm = float(log["weight_norm"][0, place])
            factor += math.log1p(norm**2 / variable.size * variable.fans[0])
    return math.exp(min(factor, 700.0)) if math.isfinite(factor) else None


def _branch_ends(structure: Structure) -> list[Layer]:
    """The last layers of branches that hold no normalization, added to what they began from and not normalized then."""
    by_name = {layer.name: layer for layer in structure.layers}
    weighted = {layer.name for layer in structure.weighted_layers}
    ends = []
    for join in structure.layers:
        if join.class_name != "Add" or len(join.inbound) != 2 or _is_normalized(structure, join):
            continue
        for skip, end in (join.inbound, join.inbound[::-1]):
            branch = _back_to(by_name, end, skip)
            kernels = [layer for layer in branch if layer.name in weighted]
            if kernels and not any("Normalization" in layer.class_name for layer in branch):
                ends.append(kernels[0])
                break
    return ends


def _back_to(by_name: dict[str, Layer], end: str, start: str) -> list[Layer]:
    """The layers from the end of a branch back to where it began; none where the way forks or leads elsewhere."""
    branch: list[Layer] = []
    while end != start:
        layer = by_name.get(end)
        if layer is None or len(layer.inbound) != 1 or layer.class_name == "Add":
            return []
        branch.append(layer)
        end = layer.inbound[0]
    return branch


def _is_normalized(structure: Structure, join: Layer) -> bool:
    followers = structure.consumers(join.name)
    return bool(followers) and all("Normalization" in each.class_name for each in followers)
