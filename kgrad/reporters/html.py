"""The report as one self-contained HTML file."""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources

import jinja2

from kgrad.diagnosis import Diagnosis
from kgrad.log.run_log import RunLog
from kgrad.prescription.prescription import Prescription
from kgrad.reporters.page import make_page
from kgrad.reporters.pictures import HEIGHT, WIDTH

# In this order they make one script; each names what the later ones use.
_SCRIPTS = (
    "data", "numbers", "theme", "state", "series", "overview", "heatmap", "layers", "norms", "probes",
    "proofs", "controls", "main",
)  # fmt: skip


def render_html(
    log: RunLog,
    diagnosis: Diagnosis,
    prescriptions: Sequence[Prescription],
    trials: Sequence[object] = (),
    dry_runs: Sequence[object] = (),
) -> str:
    """The whole page: no network, no remote part, the same bytes for the same run.

    Args:
        log: the run.
        diagnosis: what is wrong with it.
        prescriptions: what to change, the best first.
        trials: what trials showed, as `kgrad.treatment.Trial` or as its `to_dict()`.
        dry_runs: what dry runs showed, as `kgrad.treatment.DryRun` or as its `to_dict()`.
    """
    style, charting, script = _asset("report.css"), _asset("echarts.min.js"), _script()
    scripts = f"{_hash(charting)} {_hash(script)}"
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            page=make_page(log, diagnosis, prescriptions, trials, dry_runs),
            style=style,
            charting=charting,
            script=script,
            policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {scripts}; "
            "base-uri 'none'; form-action 'none'",
            width=WIDTH,
            height=HEIGHT,
        )
    )


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("kgrad.reporters"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@cache
def _asset(name: str) -> str:
    """A style sheet or script; it must not end its own element in the page."""
    text = resources.files("kgrad.reporters").joinpath("assets", *name.split("/")).read_text(encoding="utf-8")
    for ending in ("</script", "</style", "<!--"):
        if ending in text.lower():
            raise ValueError(f"{name} holds {ending!r}, which would end its element in the page")
    return text


@cache
def _script() -> str:
    """The page's own script: its files one after the other, in one scope of their own."""
    parts = "\n".join(_asset(f"report/{name}.js") for name in _SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}}})();\n'


@cache
def _hash(text: str) -> str:
    """The content-security-policy source of an inline element with this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
