"""docs/scale.md does what it says: its code blocks are run on generated runs."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import kgrad

from .comparison.batch import study

DOCS = Path(__file__).parent.parent / "docs" / "scale.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
SQL = [code for language, code in BLOCKS if language == "sql"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with runs/, one of which is cut short."""
    folder = tmp_path_factory.mktemp("scale")
    study(folder / "runs", seeds=3)
    (folder / "runs" / "cut").mkdir()
    (folder / "runs" / "cut" / "run.json").write_text('{"schema_ver')
    return folder


def run(code: str, place: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=place)
    assert done.returncode == 0, done.stderr
    return done.stdout


def block(part: str) -> str:
    (code,) = (code for code in PYTHON if part in code)
    return code


def test_every_block_has_a_test():
    assert (len(PYTHON), len(SQL)) == (4, 2)


def test_comparing(place):
    said = run(block("comparison.to_pandas") + "print(len(frame))", place)
    assert said.splitlines()[0].startswith("6 of 12 runs vanish; all 6 use sigmoid")
    assert said.splitlines()[-1] == "13"
    assert "<title>13 runs compared" in (place / "reports" / "comparison.html").read_text()


def test_summaries_made_elsewhere(place):
    said = run(block("summarise_all") + "print([group.label for group in comparison.groups])", place)
    assert "'relu', 'sigmoid'" in said


def test_a_local_dask_cluster_gives_what_one_process_gives(place):
    pytest.importorskip("distributed", reason="needs Dask: pip install 'dask[distributed]'")
    # Dask starts its workers by running the script again, so the block goes into a function of a module.
    imports, body = block("# cluster").split("with Client", 1)
    body = f"with Client{body}".replace("dashboard_address=None)", "dashboard_address=None) as client")
    counted = "    counts = client.run(lambda dask_worker: dask_worker.state.executed_count)\nprint(comparison"
    body = body.replace("print(comparison", counted) + "print(*counts.values())\nprint(comparison.to_dict())\n"
    (place / "cluster.py").write_text(f"{imports}\nif __name__ == '__main__':\n{textwrap.indent(body, '    ')}")
    verdict, counts, data = run("import runpy; runpy.run_path('cluster.py', run_name='__main__')", place).splitlines()
    assert len(counts.split()) == 2
    assert sum(map(int, counts.split())) >= 1
    alone = run("import kgrad; print(kgrad.compare('runs', jobs=1).to_dict())", place)
    assert data == alone.strip()
    assert verdict in data


def test_dask_reads_the_folders(place):
    pytest.importorskip("dask.dataframe", reason="needs Dask: pip install 'dask[dataframe]'")
    said = run(block("# dask") + "print(len(largest), float(largest.max()))", place)
    count, largest = said.split()
    logs = [kgrad.read_run(folder) for folder in sorted((place / "runs").iterdir()) if folder.name != "cut"]
    assert int(count) == sum(len(log.structure.variables) for log in logs)
    assert float(largest) == pytest.approx(max(log["gradient_norm"].max() for log in logs))


@pytest.mark.parametrize("query", SQL, ids=lambda query: query.split("\n")[0].lstrip("- "))
def test_duckdb_reads_the_folders(query, place, monkeypatch):
    duckdb = pytest.importorskip("duckdb", reason="needs DuckDB: pip install duckdb")
    monkeypatch.chdir(place)
    found = duckdb.sql(query).fetchall()
    if "settings" in query:
        runs = kgrad.compare("runs").to_pandas().dropna(subset=["group"])
        assert [row[:2] for row in found] == [("relu", 6), ("sigmoid", 6)]
        last = [kgrad.read_run(Path(path))["loss"][-1] for path in runs[runs.activation == "relu"].path]
        assert found[0][2] == pytest.approx(sum(last) / 6, rel=1e-6)
    else:
        assert len(found) == 10
        assert all(run.startswith("sigmoid") for run, _, _ in found)
