"""Summarises every run, then asks what they say together."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

from kgrad.comparison.association import associations
from kgrad.comparison.comparison import Comparison
from kgrad.comparison.groups import Group, group
from kgrad.comparison.minima import split_configurations
from kgrad.comparison.places import run_folders
from kgrad.comparison.settings import differing, independent
from kgrad.comparison.significance import PairTest, family, pair_tests
from kgrad.comparison.summary import RunSummary, grows, summarise
from kgrad.comparison.words import sentences
from kgrad.errors import KgradError
from kgrad.log.run_log import RunLog

Run = RunLog | str | os.PathLike[str]

# Below this many runs, starting processes (two seconds or three) takes longer than the work they would share.
_WORTH_PROCESSES = 600
# Runs that one task summarises: work enough to outweigh sending it somewhere.
_RUNS_PER_TASK = 20


def compare(
    runs: Run | Iterable[Run], *, by: Sequence[str] = (), measure: str | None = None, jobs: int | None = None
) -> Comparison:
    """Compares runs: which are sick, what separates them from the healthy, which differences are real.

    The work per run goes through joblib, so it follows `joblib.parallel_config("dask")`, `"ray"` and the like; on
    its own it uses every core from 600 runs on.

    Args:
        runs: runs, run folders, folders of run folders or globs of them, local or any fsspec URL. A run that
            cannot be read is listed as such.
        by: the settings whose values make a group; by default all that differ, so that only
            seeds are pooled.
        measure: the metric whose last value is compared: by default `val_loss` where every finished run has it,
            otherwise `loss`; where the loss functions differ, a metric that all runs have.
        jobs: how many processes, as in joblib.

    Raises:
        RunNotFoundError: no run was given, or a glob matches nothing.
        KgradError: fewer than two runs were found, or no run has the measure or a setting of `by`.
    """
    summaries = summarise_all(runs, jobs)
    if len(summaries) < 2:
        raise KgradError(f"a comparison takes two runs or more; only {summaries[0].path!r} was found")
    return make_comparison(summaries, by=by, measure=measure)


def make_comparison(
    summaries: Sequence[RunSummary], *, by: Sequence[str] = (), measure: str | None = None
) -> Comparison:
    """The comparison of runs that are summarised already. Pure.

    Args:
        summaries: the runs.
        by: as in `compare`.
        measure: as in `compare`.

    Raises:
        KgradError: no run has the measure or a setting of `by`.
    """
    runs = tuple(summaries)
    differ = differing(runs)
    known = {name: value for run in runs for name, value in run.settings.items()}
    _check(by, known)
    chosen = _measure(runs, measure, differ)
    free = independent(runs, differ)
    configurations = group(runs, free, differ, chosen)
    groups = group(runs, tuple(by), differ, chosen) if by else configurations
    tests, tested = _tests(groups, chosen, differ)
    found = associations(runs, differ)
    splits = split_configurations(runs, configurations)
    return Comparison(
        verdict=sentences(runs, differ, groups, tests, found, splits, configurations, chosen),
        runs=runs,
        measure=chosen,
        ascending=grows(chosen),
        differing=differ,
        shared={name: value for name, value in known.items() if name not in differ},
        by=tuple(by) or free,
        groups=groups,
        tests=tests,
        tested=tested,
        associations=found,
        configurations=configurations,
        minima=splits,
    )


def summarise_all(runs: Run | Iterable[Run], jobs: int | None = None) -> tuple[RunSummary, ...]:
    """The summaries of runs, in order; see `compare` for the arguments."""
    given: list[Run] = [runs] if isinstance(runs, (RunLog, str, os.PathLike)) else list(runs)
    work: list[Run] = []
    work_paths: set[str | os.PathLike[str]] = set()
    for each in given:
        found: Sequence[Run] = [each] if isinstance(each, RunLog) else run_folders([each])
        work += [run for run in found if isinstance(run, RunLog) or run not in work_paths]
        work_paths.update(run for run in found if not isinstance(run, RunLog))
    if not work:
        run_folders([])
    tasks = [work[start : start + _RUNS_PER_TASK] for start in range(0, len(work), _RUNS_PER_TASK)]
    import joblib

    parallel = joblib.Parallel(n_jobs=_jobs(len(work), jobs))
    return tuple(summary for part in parallel(joblib.delayed(_summarise)(task) for task in tasks) for summary in part)


def _summarise(task: Sequence[Run]) -> list[RunSummary]:
    return [summarise(run) for run in task]


def _jobs(runs: int, jobs: int | None) -> int | None:
    """As asked for; otherwise as `joblib.parallel_config` says; otherwise what is worth it."""
    from joblib.parallel import LokyBackend, get_active_backend

    if jobs is not None:
        return jobs
    backend, configured = get_active_backend()
    if configured not in (None, 1) or not isinstance(backend, LokyBackend):
        return None
    return -1 if runs >= _WORTH_PROCESSES else 1


def _check(by: Sequence[str], known: Iterable[Any]) -> None:
    for name in by:
        if name not in known:
            listed = ", ".join(known) or "none, since no run could be read"
            raise KgradError(f"no run has a setting {name!r} to group by; there are: {listed}")


def _measure(runs: Sequence[RunSummary], asked: str | None, differ: Sequence[str]) -> str:
    finished = [run for run in runs if run.is_finished]
    every = [name for name in (finished[0].metrics if finished else ()) if all(name in r.metrics for r in finished)]
    if asked is not None:
        there = sorted({name for run in runs for name in run.metrics})
        if asked not in there:
            raise KgradError(f"no run has a metric {asked!r}; there are: {', '.join(there) or 'none'}")
        return asked
    if "loss_function" in differ:
        scores = [name for name in every if "loss" not in name]
        return next((name for name in scores if name.startswith("val_")), next(iter(scores), "loss"))
    return "val_loss" if "val_loss" in every else "loss"


def _tests(groups: Sequence[Group], measure: str, differ: Sequence[str]) -> tuple[tuple[PairTest, ...], str]:
    if "loss_function" in differ and "loss" in measure:
        return (), (
            "No tests: the runs minimise different losses, whose values do not compare. "
            "Choose a metric that all of them have as the measure."
        )
    if len(groups) < 2:
        return (), "No tests: there is one group only."
    if all(len(each.values) < 2 for each in groups):
        return (), "No tests: no group has two finished runs, so nothing is known of the luck of the seeds."
    tests = pair_tests(groups, grows(measure))
    return tests, f"Tested: {family(groups)}; p-values are adjusted over all of them (Holm)."
