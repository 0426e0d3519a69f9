"""Initializers as prescriptions write them, read without running any code."""

import ast
from typing import Any

import keras

from kgrad.treatment.errors import TreatmentError


def initializer_of(code: str) -> Any:
    """The initializer that a name or a line of code stands for.

    Prescriptions are read back from run folders, which others may have written: the line is parsed, never evaluated,
    and only classes of `keras.initializers` with plain values can come of it.

    Args:
        code: `"zeros"`, `'"he_normal"'` or `'keras.initializers.VarianceScaling(16.0, mode="fan_in")'`.

    Raises:
        TreatmentError: it stands for no initializer.
    """
    try:
        return _read(ast.parse(code.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, AttributeError) as error:
        raise TreatmentError(f"{code!r} is no initializer of Keras: {error}") from error


def _read(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return keras.initializers.get(node.id)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return keras.initializers.get(node.value)
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[0] == "keras.initializers":
        made = getattr(keras.initializers, ast.unparse(node.func).rpartition(".")[2])
        if isinstance(made, type) and issubclass(made, keras.initializers.Initializer):
            positional = [ast.literal_eval(argument) for argument in node.args]
            named = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
            return made(*positional, **named)
    raise ValueError("expected a name or a call of a class in keras.initializers")
