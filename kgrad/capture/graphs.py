"""Functions of the user's model as graphs: traced, read before they run, and their errors told in a line."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kgrad.errors import CaptureError

# Operations that leave something behind: in variables, tables, random generators or files.
_WRITING = ("Assign", "Resource", "LookupTableInsert", "LookupTableImport", "Stateful", "Rng", "Write")
_HARMLESS = ("ResourceGather", "StatefulPartitionedCall")


def traced_without_writing(function: Callable[[], Any]) -> Any:
    """The traced function, once it is known to write nothing."""
    try:
        concrete = tf.function(function, autograph=False).get_concrete_function()
    except Exception as error:  # the model's own code can raise anything
        raise CaptureError(f"The probe cannot run this model: {summary_of(error)}") from error
    operations = operations_of(concrete.graph)
    writing = {o for o in operations if o.startswith(_WRITING) and not o.startswith(_HARMLESS)}
    if writing:
        raise CaptureError(
            f"The probe would disturb this model: running it writes state outside Keras variables "
            f"({', '.join(sorted(writing))})."
        )
    return concrete


def run_traced(concrete: Any) -> Any:
    """The traced function's result as a numpy array."""
    try:
        return concrete().numpy()
    except tf.errors.OpError as error:
        raise CaptureError(f"The probe cannot run this model: {summary_of(error)}") from error


def operations_of(graph: Any) -> set[str]:
    """The types of all operations in a traced graph and in the functions it calls."""
    definition = graph.as_graph_def()
    bodies = [definition.node, *(function.node_def for function in definition.library.function)]
    return {node.op for body in bodies for node in body}


def summary_of(error: Exception) -> str:
    """The first telling line of a foreign error's message, short enough for a sentence."""
    frames = ("Graph execution error", "Exception encountered when calling")
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith(frames)]
    return f"{type(error).__name__}: {lines[0][:200] if lines else 'no message'}"
