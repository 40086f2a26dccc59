"""From a trained model to scores: inference, BLEU and its kin, perplexity, counts per sentence."""
