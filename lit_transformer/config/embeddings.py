"""Embeddings, their tying, and the initial values of all matrices."""

from dataclasses import dataclass

from lit_transformer.config.base import Kind, option


class Tying(Kind):
    """Which of the source, target and output embeddings are one matrix (section 3.4)."""

    three_way = "three_way", "all three are one matrix", "Vaswani et al. 2017, 3.4; Press and Wolf 2017"
    two_way = "two_way", "target and output embedding are one matrix, the source has its own", "Press and Wolf 2017"
    none = "none", "three matrices", "Press and Wolf 2017, the baseline"


class Initialisation(Kind):
    """The distribution of the initial matrices; embeddings are normal with standard deviation d_model^-0.5."""

    xavier_uniform = "xavier_uniform", "uniform, variance 2 / (inputs + outputs)", "Glorot and Bengio 2010"
    xavier_fused_qkv = (
        "xavier_fused_qkv",
        "Xavier's, W_Q, W_K and W_V of attention as one (3D, D) matrix: 1/sqrt(2) of each drawn by itself",
        "Ott et al. 2019, fairseq; torch.nn.MultiheadAttention",
    )
    normal = "normal", "normal with standard deviation 0.02", "Radford et al. 2018"
    depth_scaled = "depth_scaled", "Xavier's divided by the root of the layer's number", "Zhang et al. 2019"
    t_fixup = "t_fixup", "Xavier's, embeddings and value path scaled down with the depth", "Huang et al. 2020"


@dataclass(frozen=True)
class EmbeddingConfig:
    """Token embeddings and the output embedding."""

    tying: Tying = Tying.three_way
    scale: bool = option(True, "embeddings times sqrt(d_model)", "Vaswani et al. 2017, 3.4")
