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


def render_html(log: RunLog, diagnosis: Diagnosis, prescriptions: Sequence[Prescription]) -> str:
    """The whole page: no network, no remote part, the same bytes for the same run."""
    style, script = _asset("report.css"), _asset("report.js")
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            page=make_page(log, diagnosis, prescriptions),
            style=style,
            script=script,
            policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}",
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


def _hash(text: str) -> str:
    """The content-security-policy source of an inline element with this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
