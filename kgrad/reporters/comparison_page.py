"""All the comparison page says, ready to print, and the page itself."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kgrad.comparison import Comparison, RunSummary
from kgrad.comparison.association import SICK, Association
from kgrad.comparison.groups import Group
from kgrad.comparison.settings import in_words
from kgrad.comparison.significance import PairTest
from kgrad.comparison.words import number
from kgrad.reporters import sparks
from kgrad.reporters.comparison_data import mark, page_data, shown
from kgrad.reporters.comparison_rows import AssociationRow, GroupRow, PairRow, RunRow, SplitRow
from kgrad.reporters.html import _asset, _environment, _hash

# Rows of a table of groups or tests: beyond them nobody reads; the JSON holds all.
_ROWS = 200
_ASSOCIATIONS = 12
_SCRIPTS = ("theme", "state", "table", "charts", "difference", "main")


@dataclass(frozen=True)
class ComparisonPage:
    """The page; see the template for where each part stands."""

    title: str
    verdict: tuple[str, ...]
    measure: str
    direction: str
    differing: tuple[str, ...]
    by: tuple[str, ...]
    shared: tuple[tuple[str, str], ...]
    runs: tuple[RunRow, ...]
    groups: tuple[GroupRow, ...]
    group_count: int
    tests: tuple[PairRow, ...]
    test_count: int
    tested: str
    associations: tuple[AssociationRow, ...]
    association_count: int
    decided_count: int
    splits: tuple[SplitRow, ...]
    has_curves: bool
    data: dict[str, Any]


def render_comparison_html(comparison: Comparison) -> str:
    """The whole page: no network, no remote part, the same bytes for the same comparison."""
    style, charting = _asset("comparison.css"), _asset("echarts.min.js")
    parts = "\n".join(_asset(f"comparison/{name}.js") for name in _SCRIPTS)
    script = f'(() => {{\n"use strict";\n{parts}}})();\n'
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(charting)} {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    page = make_comparison_page(comparison)
    template = _environment().get_template("comparison.html.j2")
    return template.render(
        page=page, style=style, charting=charting, script=script, policy=policy,
        width=sparks.WIDTH, height=sparks.HEIGHT, strip_width=sparks.STRIP,
    )  # fmt: skip


def make_comparison_page(comparison: Comparison) -> ComparisonPage:
    """The page's content."""
    groups = sorted(range(len(comparison.groups)), key=lambda place: _rank(comparison, place))
    tests = sorted(comparison.tests, key=lambda test: (math.isnan(test.p), test.p))
    values = [value for each in comparison.groups for value in each.values]
    scale = sparks.scale_of(values)
    losses = sparks.scale_of([value for run in comparison.runs for value in run.loss])
    norms = sparks.scale_of([value for run in comparison.runs for value in run.global_norm])
    return ComparisonPage(
        title=f"{len(comparison.runs)} runs compared",
        verdict=comparison.verdict,
        measure=comparison.measure,
        direction="more is better" if comparison.ascending else "less is better",
        differing=comparison.differing,
        by=comparison.by,
        shared=tuple((name, shown(value)) for name, value in comparison.shared.items()),
        runs=tuple(_run(run, comparison, losses, norms) for run in comparison.runs),
        groups=tuple(_group(comparison.groups[place], scale) for place in groups[:_ROWS]),
        group_count=len(groups),
        tests=tuple(_test(test, comparison.groups) for test in tests[:_ROWS]),
        test_count=len(tests),
        tested=comparison.tested,
        associations=tuple(_association(each) for each in comparison.associations[:_ASSOCIATIONS]),
        association_count=len(comparison.associations),
        decided_count=sum(not math.isnan(each.adjusted) for each in comparison.associations),
        splits=tuple(_splits(comparison)),
        has_curves=any(run.loss or run.global_norm for run in comparison.runs),
        data=page_data(comparison),
    )


def _rank(comparison: Comparison, place: int) -> tuple[bool, float]:
    mean = comparison.groups[place].mean
    return math.isnan(mean), -mean if comparison.ascending else mean


def _run(run: RunSummary, comparison: Comparison, losses: sparks.Scale, norms: sparks.Scale) -> RunRow:
    metric = run.metrics.get(comparison.measure)
    return RunRow(
        name=run.name,
        note=run.problem,
        settings=tuple(shown(run.settings.get(name)) if run.settings else "-" for name in comparison.differing),
        seed="-" if run.seed is None else str(run.seed),
        mark=mark(run).replace("-", " "),
        tone="none" if not run.is_judged else "fail" if run.is_sick else "pass",
        more=", ".join(cause.replace("-", " ") for cause in run.causes[1:]),
        last="-" if metric is None else number(metric.last) if math.isfinite(metric.last) else "not finite",
        best="-" if metric is None else number(metric.best),
        best_step="-" if metric is None or metric.best_step < 0 else str(metric.best_step),
        loss=sparks.curve(run.loss, losses),
        norm=sparks.curve(run.global_norm, norms),
    )


def _group(each: Group, scale: sparks.Scale) -> GroupRow:
    notes = (
        (each.diverged, "not finite at the end, not in the mean"),
        (each.left_out, "did not finish or lack the measure"),
        (each.copies, "the same training again, counted once"),
    )
    said = [f"{count} {words}" for count, words in notes if count]
    if each.varies:
        said.append(f"pools over {', '.join(each.varies)}, not seeds alone")
    return GroupRow(
        settings=tuple(shown(value) for value in each.settings.values()),
        runs=len(each.runs),
        sick=f"{each.sick} of {len(each.runs)}",
        mean=number(each.mean),
        std=number(each.std),
        interval=_interval(each.low, each.high),
        note="; ".join(said),
        strip=sparks.strip(each.values, each.mean, each.low, each.high, scale),
    )


def _test(test: PairTest, groups: Sequence[Group]) -> PairRow:
    answer = "not tested" if test.refused else "differ" if test.differ else "may be luck"
    return PairRow(
        first=groups[test.a].label,
        second=groups[test.b].label,
        refused=test.refused,
        difference=number(test.difference),
        interval=_interval(test.low, test.high),
        method=test.method,
        p=_chance(test.p),
        adjusted=_chance(test.adjusted),
        effect=number(test.g),
        delta=number(test.delta),
        answer=answer,
        tone="none" if test.refused else "pass" if test.differ else "soft",
    )


def _association(each: Association) -> AssociationRow:
    medians = f"median of the sick {number(each.median_sick)}, of the others {number(each.median_healthy)}"
    size = f"above its median ({medians})" if each.is_numeric else shown(each.value)
    also = f" (or {', '.join(each.together_with)})" if each.together_with else ""
    return AssociationRow(
        disease=each.disease if each.disease == SICK else each.disease.replace("-", " "),
        setting=f"{each.setting}{also}: {size}" + (f", within {in_words(*each.within)}" if each.within else ""),
        with_it=f"{each.sick_with} of {each.runs_with} sick",
        without=f"{each.sick_without} of {each.runs_without} sick",
        p=_chance(each.p),
        adjusted=_chance(each.adjusted),
        answer=_direction(each),
        tone="soft" if not each.holds else "fail" if each.effect > 0 else "pass",
    )


def _direction(each: Association) -> str:
    if not each.holds:
        return "too few to tell" if math.isnan(each.adjusted) else "may be chance"
    return "goes with it" if each.effect > 0 else "goes without it"


def _splits(comparison: Comparison) -> list[SplitRow]:
    names = [run.name for run in comparison.runs]
    return [
        SplitRow(
            label=comparison.configurations[split.group].label,
            low=number(split.low_loss),
            high=number(split.high_loss),
            runs_low=", ".join(names[place] for place in split.low),
            runs_high=", ".join(names[place] for place in split.high),
            adjusted=_chance(split.adjusted),
        )
        for split in comparison.minima[:_ROWS]
    ]


def _interval(low: float, high: float) -> str:
    return f"{number(low)} to {number(high)}" if math.isfinite(low) else "-"


def _chance(p: float) -> str:
    """A p-value as papers print it."""
    if math.isnan(p):
        return "-"
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"
