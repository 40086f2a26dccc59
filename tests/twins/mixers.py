"""The twins of mixers."""

from torch import Tensor, nn

from lit_transformer.config import Mixer, ModelConfig
from tests.twins.attention import naive_self_attention


def naive_mixer(config: ModelConfig, part: nn.Module, x: Tensor, causal: bool, layer: int) -> Tensor:
    """Mix the tokens (L, D) of one sentence, in the layer of that index from the bottom."""
    mixer = config.decoder_mixer if causal else config.encoder_mixer
    match mixer.kind:
        case Mixer.attention:
            return naive_self_attention(config, part, x, causal)
