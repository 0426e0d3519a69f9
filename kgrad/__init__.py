"""kgrad, the gradient doctor for Keras.

Add `kgrad.GradientMonitor()` to the callbacks of `model.fit` and open the report it writes.
Whatever needs Keras or pyarrow is imported when it is first used, so `import kgrad` is light.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from kgrad.capture.monitor import GradientMonitor
    from kgrad.capture.recorder import GradientRecorder
    from kgrad.comparison import Comparison, compare
    from kgrad.diagnosis import Diagnosis, diagnose
    from kgrad.diagnosis.noise import signal_to_noise
    from kgrad.errors import KgradError
    from kgrad.log.reader import read_run
    from kgrad.log.run_log import RunLog
    from kgrad.treatment.treat import treat
    from kgrad.treatment.treatment import Treatment
    from kgrad.treatment.trial import Trial, trial
    from kgrad.workflow import Examination, examine, export, render, write_comparison, write_report

_HOMES = {
    "Comparison": "kgrad.comparison",
    "Diagnosis": "kgrad.diagnosis",
    "Examination": "kgrad.workflow",
    "GradientMonitor": "kgrad.capture.monitor",
    "GradientRecorder": "kgrad.capture.recorder",
    "KgradError": "kgrad.errors",
    "RunLog": "kgrad.log.run_log",
    "Treatment": "kgrad.treatment",
    "Trial": "kgrad.treatment",
    "compare": "kgrad.comparison",
    "diagnose": "kgrad.diagnosis",
    "examine": "kgrad.workflow",
    "export": "kgrad.workflow",
    "read_run": "kgrad.log.reader",
    "render": "kgrad.workflow",
    "signal_to_noise": "kgrad.diagnosis.noise",
    "treat": "kgrad.treatment",
    "trial": "kgrad.treatment",
    "write_comparison": "kgrad.workflow",
    "write_report": "kgrad.workflow",
}

__all__ = [
    "Comparison",
    "Diagnosis",
    "Examination",
    "GradientMonitor",
    "GradientRecorder",
    "KgradError",
    "RunLog",
    "Treatment",
    "Trial",
    "__version__",
    "compare",
    "diagnose",
    "examine",
    "export",
    "read_run",
    "render",
    "signal_to_noise",
    "treat",
    "trial",
    "write_comparison",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'kgrad' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return __all__
