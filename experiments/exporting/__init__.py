"""What an exported model is written and proven with.

marian_folder.py       what Hugging Face's Marian reads
ctranslate2_model.py   the format of CTranslate2
cards.py               the README.md of an export
checks.py              an export, loaded as its users load it, against the network it comes from
"""
