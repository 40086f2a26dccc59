"""How a decoder layer reads the source."""

from dataclasses import dataclass

from lit_transformer.config.base import Kind


class Cross(Kind):
    """How each layer of the decoder reads the encoder's output."""

    attention = "attention", "every target token attends to every source token", "Vaswani et al. 2017, 3.2.3"
    context = (
        "context",
        "no attention: one fixed vector for the whole source, the encoder's at its last token",
        "Cho et al. 2014; Sutskever et al. 2014",
    )
    aligned = (
        "aligned",
        "no attention: the source token at the same place, the last one beyond the end",
        "Kalchbrenner et al. 2016, 3.1",
    )

    @property
    def attends(self) -> bool:
        """True where there are attention weights over the source."""
        return self is Cross.attention


@dataclass(frozen=True)
class CrossConfig:
    """What connects encoder and decoder; `attention` is configured in `attention` and `cross_attention`."""

    kind: Cross = Cross.attention
