"""Train, test and translate in a plain Lightning Trainer: `python examples/plain_lightning.py`.

On a few generated sentence pairs, so that it takes seconds on a CPU and learns little.
"""

import pytorch_lightning as pl

from data_modules.config import DataConfig, GrammarConfig
from data_modules.corpora import load_corpus
from data_modules.prepared import prepare
from data_modules.translation import TranslationDataModule
from lit_transformer import LitTransformer, ModelConfig, OptimConfig, build_transformer
from lit_transformer.config import AttentionConfig, FeedForwardConfig

few = GrammarConfig(train=1000, valid=100, test=20, test_long=0, test_comp=0)
config = DataConfig(vocab_size=600, batch_tokens=2000, grammar=few)
corpus = prepare(load_corpus("grammar", config), config, "data/few")  # "multi30k": a folder of $LIT_CORPORA

data = TranslationDataModule(corpus, config)
model = ModelConfig(  # smaller than the paper's base model, which is ModelConfig()
    d_model=64,
    encoder_layers=2,
    decoder_layers=2,
    attention=AttentionConfig(heads=4, d_k=16, d_v=16),
    feed_forward=FeedForwardConfig(d_ff=256),
)
network = build_transformer(model, corpus.vocab_size)
lit = LitTransformer(network, OptimConfig(warmup=400))
trainer = pl.Trainer(max_epochs=1, logger=pl.loggers.CSVLogger("runs", "few"), log_every_n_steps=1)  # or WandbLogger()
trainer.fit(lit, datamodule=data)
lit = LitTransformer.load_from_checkpoint(trainer.checkpoint_callback.best_model_path)
trainer.test(lit, datamodule=data)
for batch in trainer.predict(lit, datamodule=data):
    for pair, hypothesis in batch.items():
        print(pair, corpus.tokenizer.decode(hypothesis.tokens))
