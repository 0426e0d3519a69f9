"""What was tried of a run's prescriptions, kept in its folder: `proofs.json`."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from kgrad.errors import DamagedRunError
from kgrad.log.schema import PROOFS_FILE
from kgrad.log.store import Store
from kgrad.log.strict_json import to_json

Proof = Mapping[str, Any]


def write_proofs(run: str | os.PathLike[str], dry_runs: Sequence[Proof], trials: Sequence[Proof]) -> None:
    """Keeps dry runs and trials in the run folder, in place of those of before.

    Args:
        run: the run folder, a local path or any fsspec URL.
        dry_runs: as `DryRun.to_dict` gives them, each with its `prescription`.
        trials: as `Trial.to_dict` gives them, each with its `prescription`.

    Raises:
        OSError: the file cannot be written.
    """
    Store(run).write(PROOFS_FILE, to_json({"dry_runs": list(dry_runs), "trials": list(trials)}))


def read_proofs(run: str | os.PathLike[str]) -> tuple[tuple[Proof, ...], tuple[Proof, ...]]:
    """The dry runs and the trials that the run folder keeps; none where nothing was tried.

    Raises:
        DamagedRunError: the file is there but cannot be understood.
    """
    store = Store(run)
    if not store.exists(PROOFS_FILE):
        return (), ()
    try:
        data = json.loads(store.read(PROOFS_FILE))
        return tuple(data["dry_runs"]), tuple(data["trials"])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedRunError(
            f"{store.url}/{PROOFS_FILE} should hold dry_runs and trials and cannot be read ({error}); "
            "remove it, or try the prescriptions again with kgrad.treatment.prove"
        ) from error
