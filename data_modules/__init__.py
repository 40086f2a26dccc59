"""The data: corpora, the joint tokenizer, prepared token ids on disk, and batches by token budget for Lightning.

`prepare` reads config, corpora/, tokenizer and prepared; training reads prepared, batches and translation.
"""
