"""The batch-size knob: batches large enough for the gradient to stand out of its noise."""

import math

from kgrad.diagnosis.finding import Finding
from kgrad.log.run_log import RunLog
from kgrad.prescription.code import optimizer_code
from kgrad.prescription.prescription import Prescription

_MOST = 64


def prescribe_accumulation(log: RunLog, finding: Finding) -> Prescription | None:
    """Gradients averaged over several batches before each update.

    Noise over signal falls with the batch: `n` batches make it `1/n`. Beyond the gradient noise scale (where they are
    equal) a larger batch gains little (McCandlish et al. 2018, section 2.2), so no more than that is prescribed.
    """
    ratio = float(finding.details.get("ratio") or 0.0)
    if ratio <= 1:
        return None
    steps = min(_MOST, 2 ** math.ceil(math.log2(math.sqrt(ratio))))
    batch = finding.details.get("batch")
    size = f"batch_size={int(batch) * steps}" if batch else f"a batch {steps} times as large"
    return Prescription(
        knob="batch_size",
        target=("optimizer",),
        before="one batch per update",
        after=f"{steps} batches per update, or {size}",
        why=f"The noise is {ratio:.2g} times the signal (squared); over {steps} batches, {ratio / steps:.2g} times.",
        code=f"optimizer = {optimizer_code(log.info, gradient_accumulation_steps=steps)}"
        "\nmodel.compile(optimizer=optimizer, loss=loss)",
        finding=finding.rule,
        evidence=finding.evidence,
        settings={"gradient_accumulation_steps": steps},
    )
