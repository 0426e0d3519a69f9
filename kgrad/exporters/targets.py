"""The dashboards kgrad writes for, and whether what they need is installed."""

import importlib
import importlib.util
from dataclasses import dataclass

from kgrad.errors import KgradError, MissingDependencyError
from kgrad.exporters.record import Record


@dataclass(frozen=True)
class Target:
    """One dashboard.

    Attributes:
        title: its name for people.
        client: the module of its client library.
        package: the package that holds the client.
    """

    title: str
    client: str
    package: str


TARGETS = {
    "mlflow": Target("MLflow", "mlflow", "mlflow-skinny"),
    "tensorboard": Target("TensorBoard", "tensorboardX", "tensorboardX"),
    "wandb": Target("W&B", "wandb", "wandb"),
}


def require(name: str) -> None:
    """Makes sure that a dashboard is known and its client library installed, without importing it.

    Raises:
        KgradError: there is no such target.
        MissingDependencyError: its client is not installed; the message names the extra.
    """
    if name not in TARGETS:
        raise KgradError(f"unknown target {name!r}; expected one of: {', '.join(TARGETS)}")
    target = TARGETS[name]
    if importlib.util.find_spec(target.client) is None:
        raise MissingDependencyError(
            f"{target.title} is written through {target.package}, which is not installed: pip install 'kgrad[{name}]'"
        )


def write(record: Record, name: str, place: str | None = None) -> str:
    """Hands a run over to a dashboard.

    Args:
        record: the run.
        name: one of `TARGETS`.
        place: where to; what that means is said in the target's own file.

    Returns:
        Where it is now, and how to look at it.

    Raises:
        KgradError: there is no such target, or its client could not write.
        MissingDependencyError: its client is not installed.
    """
    require(name)
    module = importlib.import_module(f"kgrad.exporters.{name}")
    try:
        return str(module.write(record, place))
    except KgradError:
        raise
    except Exception as error:  # each client has a tree of errors of its own, and importing them all is dear
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise KgradError(f"{TARGETS[name].title} could not take the run {record.name!r}: {reason}") from error
