"""A component of one's own in a built network, without a change to the library: `python examples/own_component.py`.

A module that maps (N, D) to (N, D), the N tokens of a packed batch, takes the place of another. To compare it with
seeds and error bars, make it a choice of the library instead: docs/components.md.
"""

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from data_modules.config import DataConfig, GrammarConfig
from data_modules.corpora import load_corpus
from data_modules.prepared import prepare
from data_modules.translation import TranslationDataModule
from lit_transformer import LitTransformer, ModelConfig, OptimConfig, Transformer, build_transformer
from lit_transformer.config import AttentionConfig, FeedForwardConfig
from lit_transformer.initialisation import initialise


class Maxout(nn.Module):
    """W_o max(W_1 x + b_1, W_2 x + b_2) + b_o (Goodfellow et al. 2013, Maxout Networks)."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(d_model, d_ff), nn.Linear(d_model, d_ff)
        self.out = nn.Linear(d_ff, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, D)."""
        projected: Tensor = self.out(torch.maximum(self.fc1(x), self.fc2(x)))
        return projected


def build(config: ModelConfig, vocab_size: int) -> Transformer:
    """Build the configured network with Maxout in place of every feed-forward network."""
    network = build_transformer(config, vocab_size)
    for name, sublayer in [*network.encoder.sublayers(), *network.decoder.sublayers()]:
        if name == "feed_forward":
            sublayer.inner = Maxout(config.d_model, config.feed_forward.d_ff)
    initialise(network, config)  # the new matrices by the same law as the others
    return network


if __name__ == "__main__":
    few = GrammarConfig(train=1000, valid=100, test=20, test_long=0, test_comp=0)
    data_config = DataConfig(vocab_size=600, batch_tokens=2000, grammar=few)
    corpus = prepare(load_corpus("grammar", data_config), data_config, "data/few")
    data = TranslationDataModule(corpus, data_config)
    model_config = ModelConfig(  # smaller than the paper's base model, which is ModelConfig()
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        attention=AttentionConfig(heads=4, d_k=16, d_v=16),
        feed_forward=FeedForwardConfig(d_ff=256),
    )

    trainer = pl.Trainer(max_epochs=1, logger=pl.loggers.CSVLogger("runs", "maxout"), log_every_n_steps=1)
    trainer.fit(LitTransformer(build(model_config, corpus.vocab_size), OptimConfig(warmup=400)), datamodule=data)
    path = trainer.checkpoint_callback.best_model_path
    lit = LitTransformer.load_from_checkpoint(path, network=build(model_config, corpus.vocab_size))
    trainer.test(lit, datamodule=data)
