"""Code in two parts: lines for the definition of the model, and what is run with the model that they make."""

# A layer's line is no statement of a script: it takes the place of the line that makes the layer now.
_DEFINITION = "# in the definition of the model:"
_AFTERWARDS = "# then, with the model built and compiled anew:"


def snippet(definition: str, afterwards: str = "") -> str:
    """The code to paste, each part under a line that says where it belongs; what has no first part has no such line.

    >>> print(snippet("keras.layers.Dense(8)", "model.fit(x, y)"))
    # in the definition of the model:
    keras.layers.Dense(8)
    # then, with the model built and compiled anew:
    model.fit(x, y)
    """
    if not definition:
        return afterwards
    return "\n".join([_DEFINITION, definition, *([_AFTERWARDS, afterwards] if afterwards else [])])


def sections(code: str) -> tuple[list[str], list[str]]:
    """The lines of both parts, without what `snippet` put above them."""
    lines = code.splitlines()
    if lines[:1] != [_DEFINITION]:
        return [], lines
    end = lines.index(_AFTERWARDS) if _AFTERWARDS in lines else len(lines)
    return lines[1:end], lines[end + 1 :]
