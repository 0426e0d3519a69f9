"""The charting script is the one that tools/echarts built, with its licence."""

import hashlib
import json
from importlib import resources

ASSETS = resources.files("kgrad.reporters").joinpath("assets")


def test_the_script_is_the_recorded_one():
    content = ASSETS.joinpath("echarts.min.js").read_bytes()
    recorded = json.loads(ASSETS.joinpath("echarts.json").read_text())
    assert len(content) == recorded["bytes"]
    assert hashlib.sha256(content).hexdigest() == recorded["sha256"]


def test_its_licence_is_beside_it():
    assert "Apache License" in ASSETS.joinpath("echarts.LICENSE.txt").read_text()


def test_it_makes_no_code_from_text():
    """What the page's policy forbids is not even there."""
    text = ASSETS.joinpath("echarts.min.js").read_text(encoding="utf-8")
    assert "eval(" not in text
    assert "new Function" not in text
