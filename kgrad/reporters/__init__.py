"""A run with its diagnosis and prescriptions as one string: HTML, JSON or text."""

from kgrad.reporters.html import render_html
from kgrad.reporters.json import render_json
from kgrad.reporters.text import render_text

__all__ = ["render_html", "render_json", "render_text"]
