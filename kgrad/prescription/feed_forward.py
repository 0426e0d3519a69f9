"""Where the feed-forward branch of a transformer's block lies in a model."""

from kgrad.log.structure import Layer, Structure

_NORMALIZED = ("LayerNormalization", "RMSNormalization")
_JOIN = "Add"
# Between the branch's first dense layer and the join lie at most an activation, a dropout, the second dense layer and
# another dropout (Vaswani et al. 2017, section 3.3 and 5.4).
_REACH = 5


def is_feed_forward(structure: Structure, name: str) -> bool:
    """Whether the layer is the first dense one of a residual branch that reads a layer normalization.

    `x + W2 f(W1 norm(x))`, or with the normalization of the block before: the shape of the feed-forward branch in
    transformers and in what followed them (Vaswani et al. 2017, equation 2; Xiong et al. 2020 for both places).
    """
    layer = structure.layer(name)
    if layer.class_name not in ("Dense", "EinsumDense"):
        return False
    return _reads_normalized(structure, layer) and _joins(structure, layer, _REACH)


def _reads_normalized(structure: Structure, layer: Layer) -> bool:
    sources = [each for each in structure.layers if each.name in layer.inbound]
    if len(sources) == 1 and "Dropout" in sources[0].class_name:
        return _reads_normalized(structure, sources[0])
    return len(sources) == 1 and sources[0].class_name in _NORMALIZED


def _joins(structure: Structure, layer: Layer, reach: int) -> bool:
    followers = structure.consumers(layer.name)
    if len(followers) != 1 or not reach:
        return False
    return followers[0].class_name == _JOIN or _joins(structure, followers[0], reach - 1)
