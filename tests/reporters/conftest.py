"""A browser, and examinations to render."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

import kgrad

from ..diagnosis.rules.cases import deep

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium, driven by playwright."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def sick():
    """A run with a vanishing gradient, its plateau and prescriptions."""
    loss = 2.3 + 0.01 * np.random.default_rng(1).normal(size=200)
    return kgrad.examine(deep(decades=8, activation="sigmoid", loss=loss))


HOSTILE = "</script><img src=x onerror=\"document.title='owned'\">\u202etxet\U0001f4a5 {{ 7*7 }} " + "long" * 1250


@pytest.fixture
def hostile(sick):
    """The same with every name hostile."""
    structure = sick.log.structure
    first = structure.layers[0].name
    layers = tuple(
        replace(
            layer,
            name=HOSTILE if layer.name == first else layer.name,
            inbound=tuple(HOSTILE if name == first else name for name in layer.inbound),
        )
        for layer in structure.layers
    )
    variables = tuple(replace(v, layer=HOSTILE if v.layer == first else v.layer) for v in structure.variables)
    model = replace(structure, name=HOSTILE, layers=layers, variables=variables)
    info = {**sick.log.info, "error": HOSTILE, "tags": {HOSTILE: HOSTILE}}
    return kgrad.examine(replace(sick.log, name=HOSTILE, structure=model, info=info))
