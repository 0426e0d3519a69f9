"""Finds the run folders that a person means: folders, folders of runs, globs, fsspec URLs."""

import glob
import os
from collections.abc import Iterable, Sequence

from kgrad.errors import RunNotFoundError
from kgrad.log import schema
from kgrad.log.store import Store, find

# How far below a given folder runs are looked for: `runs/study/trial-7`.
_DEEPEST = 3


def run_folders(places: Iterable[str | os.PathLike[str]]) -> tuple[str, ...]:
    """The run folders at the given places, each once, in order.

    A place that holds no run is kept as it is: reading it will say what is wrong.

    Args:
        places: run folders, folders of run folders, or globs of either; local paths or any fsspec URL.

    Raises:
        RunNotFoundError: a glob matches nothing, or nothing was given.
    """
    found: dict[str, None] = {}
    for place in places:
        text = os.fspath(place).rstrip("/") or "/"
        matches = find(text) if any(sign in text for sign in "*?[") and not Store(text).exists() else [text]
        if not matches:
            raise RunNotFoundError(f"{text!r} matches nothing; give run folders, a folder of them, or a glob in quotes")
        for match in matches:
            found.update(dict.fromkeys(_at(match)))
    if not found:
        raise RunNotFoundError("no run was given; give run folders, a folder of them, or a glob in quotes")
    return tuple(found)


def _at(place: str) -> Sequence[str]:
    """The folder itself where it is a run, otherwise the first level of runs below it, otherwise the folder itself."""
    if Store(place).exists(schema.RUN_FILE):
        return [place]
    for depth in range(1, _DEEPEST + 1):
        below = f"{glob.escape(place)}{'/*' * depth}"
        described = {path.rsplit("/", 1)[0] for path in find(f"{below}/{schema.RUN_FILE}")}
        # A writer that died before it could describe its run leaves its claim.
        claimed = {path.rsplit("/", 1)[0] for path in find(f"{below}/{schema.CLAIM_FILE}")}
        if described:
            return sorted(described | claimed)
    return [place]
