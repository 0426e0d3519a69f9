# What a developer does often. `just` lists these.

default:
    @just --list

# Everything CI does.
ci:
    bash .ci/run

# The tests.
test *arguments:
    uv run pytest {{arguments}}

# Formats and mends what can be mended.
fix:
    uv run ruff check --fix .
    uv run ruff format .

# Linters, types, contracts.
lint:
    uv run ruff check .
    uv run mypy
    uv run lint-imports

# Trains the stories and writes reports/*.html.
gallery:
    uv run python examples/gallery.py

# What watching costs.
overhead *arguments:
    uv run --group exporters python benchmarks/overhead.py {{arguments}}

# The documentation site, at http://localhost:8000 and anew with every change.
docs:
    uv run --group docs mkdocs serve
