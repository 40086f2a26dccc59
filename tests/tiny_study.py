"""A study that trains in seconds on one core; a test gives what differs, as YAML."""

from omegaconf import OmegaConf

TINY = """
name: tiny
question: Does it run?
corpus: grammar
baseline: base
seeds: [0]
base:
  recipe: paper
  model:
    d_model: 16
    encoder_layers: 1
    decoder_layers: 1
    attention: {heads: 2, d_k: 8, d_v: 8}
    feed_forward: {d_ff: 32}
  data:
    vocab_size: 400
    batch_tokens: 512
    grammar: {train: 800, valid: 20, test: 20, test_long: 6, test_comp: 6}
  optim: {steps: 12, schedule: constant, warmup: 2, peak: 0.01}
  trainer: {accelerator: cpu, validate_every: 12, checkpoint_every: 5}
  decode: {extra_length: 3}
variants:
  base: {}
"""


def study_yaml(changes: str) -> str:
    """Return the text of study.yaml: the tiny study with `changes`, YAML, merged into it."""
    return OmegaConf.to_yaml(OmegaConf.merge(OmegaConf.create(TINY), OmegaConf.create(changes)))
