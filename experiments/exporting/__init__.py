"""Exported models: the formats, and the comparison of each export with the model it comes from.

export.py              the export of a cell as one folder
marian.py              the files of Hugging Face's Marian
ctranslate2_model.py   the format of CTranslate2
comparison.py          an export, loaded as its users load it, against the cell's own model
model_card.py          the formats' names and the README.md of an exported folder
"""
