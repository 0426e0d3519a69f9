"""Every error that kgrad raises on purpose.

    KgradError                     something a person can mend; the CLI prints it on one line
    ├── RunFolderError             a run folder cannot be read or written
    │   ├── RunNotFoundError       there is no run at this place
    │   ├── DamagedRunError        there is a run, but it cannot be understood
    │   ├── NewerSchemaError       the run was written by a newer kgrad
    │   └── RunExistsError         another run already lives there
    ├── CaptureError               gradients cannot be taken from this model or optimizer
    ├── MissingColumnError         the log does not hold (or does not hand over) this column
    ├── UnknownRuleError           no rule has this name
    └── MissingDependencyError     an optional package is needed and absent

Each message says what was received, what was expected and how to mend it.
"""


class KgradError(Exception):
    """Something went wrong that the user can mend; the message says how."""


class RunFolderError(KgradError):
    """A run folder cannot be read or written."""


class RunNotFoundError(RunFolderError):
    """There is no run at the given place."""


class DamagedRunError(RunFolderError):
    """The run folder is there, but what it holds cannot be understood."""


class NewerSchemaError(RunFolderError):
    """The run folder was written by a newer version of kgrad."""


class RunExistsError(RunFolderError):
    """Another run already lives at the given place."""


class CaptureError(KgradError):
    """Gradients cannot be taken from this model or optimizer."""


class MissingColumnError(KgradError, KeyError):
    """The log does not hold, or was not asked to hand over, this column."""

    def __str__(self) -> str:
        """The message as written: KeyError would print its repr."""
        return str(self.args[0]) if self.args else ""


class UnknownRuleError(KgradError):
    """No rule has the given name."""


class MissingDependencyError(KgradError, ImportError):
    """An optional package is needed for this and is not installed."""
