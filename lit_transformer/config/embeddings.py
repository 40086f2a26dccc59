"""Embeddings and their tying; and the initial values of every matrix."""

from dataclasses import dataclass

from lit_transformer.config.base import Kind, option


class Tying(Kind):
    """Which of the source embedding, the target embedding and the softmax matrix are one (section 3.4)."""

    three_way = "three_way", "all three are one matrix", "Vaswani et al. 2017, 3.4; Press and Wolf 2017"
    two_way = "two_way", "target embedding and softmax are one matrix, the source has its own", "Press and Wolf 2017"
    none = "none", "three matrices", "Press and Wolf 2017, the baseline"


class Initialisation(Kind):
    """The law of the initial weight matrices; embeddings are normal with deviation d_model^-0.5."""

    xavier_uniform = "xavier_uniform", "uniform, variance 2 / (inputs + outputs)", "Glorot and Bengio 2010"
    normal = "normal", "normal with deviation 0.02", "Radford et al. 2018"
    depth_scaled = "depth_scaled", "Xavier's over the root of the layer's number", "Zhang et al. 2019"
    t_fixup = "t_fixup", "Xavier's, embeddings and what is said smaller by the depth", "Huang et al. 2020"


@dataclass(frozen=True)
class EmbeddingConfig:
    """Token embeddings and the softmax matrix."""

    tying: Tying = Tying.three_way
    scale: bool = option(True, "embeddings times sqrt(d_model)", "Vaswani et al. 2017, 3.4")
