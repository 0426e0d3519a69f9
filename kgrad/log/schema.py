"""What a run folder holds: every column with its type, unit and meaning.

History of `SCHEMA_VERSION`:

    1   (0.1.0) the first: run.json, gradients/, steps/, epochs.parquet, diagnosis.json; and, where they were
        asked for or seen, activations/, curvature/, histograms/; proofs.json where prescriptions were tried
"""

from dataclasses import dataclass

SCHEMA_VERSION = 1

RUN_FILE = "run.json"
GRADIENTS = "gradients"
STEPS = "steps"
ACTIVATIONS = "activations"
CURVATURE = "curvature"
HISTOGRAMS = "histograms"
EPOCHS_FILE = "epochs.parquet"
DIAGNOSIS_FILE = "diagnosis.json"
PROOFS_FILE = "proofs.json"
# An empty file, made exclusively: whoever makes it owns the folder.
CLAIM_FILE = ".kgrad"

STATUSES = ("running", "finished", "failed", "interrupted")


@dataclass(frozen=True)
class Column:
    """One column of a table in the run folder.

    Attributes:
        name: the column's name in Parquet and in `RunLog`.
        type: an Arrow type name, e.g. `"float32"`.
        unit: the unit of a value; `"1"` for a ratio or a count.
        meaning: one sentence for a reader of the docs.
    """

    name: str
    type: str
    unit: str
    meaning: str


KEY_COLUMNS = (
    Column("step", "int64", "steps", "optimizer iteration, counted from 0 over the whole run"),
    Column("variable", "dictionary", "name", "the trainable variable, as named in run.json"),
)

STATISTIC_COLUMNS = (
    Column("gradient_norm", "float32", "loss/weight", "L2 norm of the gradient, unscaled, before clipping"),
    Column("gradient_mean", "float32", "loss/weight", "mean of the gradient's elements"),
    Column("gradient_std", "float32", "loss/weight", "population standard deviation of the gradient's elements"),
    Column("gradient_max", "float32", "loss/weight", "largest magnitude among the gradient's elements"),
    Column("zero_fraction", "float32", "1", "share of the gradient's elements that are exactly zero"),
    Column("nonfinite_count", "int64", "elements", "elements that are NaN or infinite; 1 for any if not `detailed`"),
    Column("weight_norm", "float32", "weight", "L2 norm of the variable before the update"),
    Column("update_norm", "float32", "weight", "L2 norm of the change of the variable, as applied"),
)

# Held only where they were asked for.
OPTIONAL_STATISTIC_COLUMNS = (
    Column("cosine", "float32", "1", "cosine of the angle to the gradient recorded before; where asked for"),
    Column("dead_units", "float32", "units", "units of a kernel (last axis) whose gradient is all zero; on a schedule"),
)

STEP_COLUMNS = (
    Column("epoch", "int64", "epochs", "epoch of the step, counted from 0"),
    Column("loss", "float32", "loss", "loss of the step's own batch, regularization included, unscaled"),
    Column("learning_rate", "float32", "1", "learning rate the optimizer used in the step"),
    Column("global_norm", "float64", "loss/weight", "L2 norm of all gradients together, before clipping"),
    Column("applied_global_norm", "float64", "loss/weight", "L2 norm of all gradients together, after clipping"),
    Column("loss_scale", "float32", "1", "factor the loss was multiplied by in mixed precision; 1 without"),
    Column("skipped", "bool", "1", "the loss-scale optimizer skipped the update of this step"),
    Column("detailed", "bool", "1", "all statistics were taken; else the norms and counts alone, the others are null"),
)

ACTIVATION_COLUMNS = (
    Column("step", "int64", "steps", "steps made when the reference batch was run"),
    Column("layer", "dictionary", "name", "the layer, as named in run.json"),
    Column("call", "int64", "1", "counts from 0 the calls of a layer that is used more than once"),
    Column("activation", "dictionary", "name", "the activation whose output this is; null where there is none"),
    Column("mean", "float32", "activation", "mean of the layer's output over rows, positions and units"),
    Column("std", "float32", "activation", "standard deviation of the layer's output over the same"),
    Column("saturated_fraction", "float32", "1", "share at the flat ends of a tanh or sigmoid; null for others"),
    Column("dead_fraction", "float32", "1", "share of units that are zero in every row; null unless rectified"),
    Column("pre_mean", "float32", "activation", "mean of what goes into the activation; null where not seen"),
    Column("pre_std", "float32", "activation", "standard deviation of the same"),
)

CURVATURE_COLUMNS = (
    Column("step", "int64", "steps", "steps made when the curvature was taken"),
    Column("smallest", "float64", "loss/weight²", "smallest eigenvalue of the Hessian on the reference batch"),
    Column("smallest_error", "float64", "loss/weight²", "bound of its error"),
    Column("largest", "float64", "loss/weight²", "largest eigenvalue of the Hessian on the reference batch"),
    Column("largest_error", "float64", "loss/weight²", "bound of its error"),
    Column("gradient_norm", "float64", "loss/weight", "L2 norm of the gradient on the reference batch"),
    Column("products", "int64", "1", "Hessian-vector products it took"),
)

HISTOGRAM_COLUMNS = (
    Column("step", "int64", "steps", "optimizer iteration, counted from 0 over the whole run"),
    Column("variable", "dictionary", "name", "the trainable variable, as named in run.json"),
    Column("exponent", "int64", "log2", "elements with 2^exponent <= |g| < 2^(exponent + 1); the ends hold the rest"),
    Column("count", "int64", "elements", "how many of the gradient's elements are of that magnitude"),
)

TABLES = {ACTIVATIONS: ACTIVATION_COLUMNS, CURVATURE: CURVATURE_COLUMNS, HISTOGRAMS: HISTOGRAM_COLUMNS}

# Taken in every recorded step; the other statistics only in the detailed ones.
ALWAYS = ("gradient_norm", "nonfinite_count", "cosine", "dead_units")

STATISTICS = tuple(column.name for column in STATISTIC_COLUMNS)
OPTIONAL_STATISTICS = tuple(column.name for column in OPTIONAL_STATISTIC_COLUMNS)
STEP_SERIES = tuple(column.name for column in STEP_COLUMNS)
COLUMNS = {
    column.name: column for column in KEY_COLUMNS + STATISTIC_COLUMNS + OPTIONAL_STATISTIC_COLUMNS + STEP_COLUMNS
}
