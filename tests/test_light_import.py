"""`import kgrad` and everything about a finished run work without TensorFlow, Keras and pandas."""

import subprocess
import sys

import pytest

from .log.test_run_folder import write

HEAVY = ("tensorflow", "keras", "pandas", "sklearn", "matplotlib", "scipy")


def loaded_after(code: str) -> set[str]:
    probe = f"import sys\n{code}\nprint(' '.join(m for m in {HEAVY!r} if m in sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_importing_kgrad_is_light():
    assert loaded_after("import kgrad") == set()


def test_importing_kgrad_does_not_load_pyarrow():
    code = "import kgrad, sys; assert 'pyarrow' not in sys.modules"
    assert loaded_after(code) == set()


@pytest.mark.parametrize("command", ["report {run} -o {out}", "report {run} --format json", "diagnose {run}", "rules"])
def test_no_command_but_demo_loads_tensorflow(command, tmp_path):
    write(tmp_path / "run")
    words = command.format(run=tmp_path / "run", out=tmp_path / "out.html").split()
    code = f"import sys; sys.argv = ['kgrad', *{words!r}]\nfrom kgrad.cli import app\napp(standalone_mode=False)"
    assert loaded_after(code) == set()


def test_comparing_runs_loads_no_framework_and_no_pandas(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name)
    loaded = loaded_after(f"import kgrad; kgrad.compare({str(tmp_path)!r}).to_dict()")
    assert loaded <= {"scipy"}


def test_the_monitor_is_found_when_asked_for():
    assert "tensorflow" in loaded_after("import kgrad; kgrad.GradientMonitor")


def test_an_unknown_name_is_an_attribute_error():
    import kgrad

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kgrad.nothing
    assert "GradientMonitor" in dir(kgrad)
