"""Which of sacreBLEU's tokenizers BLEU takes: the one that fits the target language, unless `decode` names another.

13a, the usual one, finds words between blanks. In a language that writes none it takes a clause for one word, and
translations that are nearly right score 0.
"""

import re
from collections.abc import Sequence
from importlib.util import find_spec

from lit_transformer.errors import UserError, nearest

AUTO = "auto"
USUAL = "13a"
OF_LANGUAGES = {
    "zh": ("zh", "zho", "chi", "cmn", "yue", "wuu", "lzh"),
    "ja-mecab": ("ja", "jpn"),
    "ko-mecab": ("ko", "kor"),
    "char": ("bo", "dz", "km", "khm", "lo", "lao", "my", "mya", "th", "tha"),
}
"""Languages, by ISO 639, for which the usual tokenizer is wrong; of those under `char`, sacreBLEU knows no words."""
TOKENIZERS = (USUAL, "intl", *OF_LANGUAGES, "flores101", "flores200", "spBLEU-1K", "none")
"""What `decode.bleu_tokenizer` may name, as sacreBLEU does; the flores ones are downloaded at first use."""
PACKAGES = {
    "ja-mecab": ("MeCab", "sacrebleu[ja]"),
    "ko-mecab": ("mecab_ko", "sacrebleu[ko]"),
    **dict.fromkeys(("flores101", "flores200", "spBLEU-1K"), ("sentencepiece", "sentencepiece")),
}
"""The module that a tokenizer imports, and what pip installs for it."""
_WITHOUT_BLANKS = re.compile("[\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]")
"""A letter of a script that writes no blank between words: Thai to Burmese, Khmer, kana, Han."""


def check_name(name: str) -> None:
    """Raise UserError for a name that is not among TOKENIZERS."""
    if name not in (known := (AUTO, *TOKENIZERS)):
        raise UserError(
            f"decode.bleu_tokenizer is '{name}'{nearest(name, known)}; it must be one of {', '.join(known)}"
        )


def bleu_tokenizer(name: str, language: str) -> str:
    """Return sacreBLEU's name of the tokenizer that BLEU takes in a target language, such as "de" or "zh-CN".

    Raises UserError where it needs a package that is not installed.
    """
    if name == AUTO:
        code = re.split("[-_]", language.lower())[0]
        name = next((known for known, codes in OF_LANGUAGES.items() if code in codes), USUAL)
    module, package = PACKAGES.get(name, ("", ""))
    if module and find_spec(module) is None:
        raise UserError(
            f"BLEU in the language {language} takes sacreBLEU's tokenizer {name}, which is not installed: "
            f"pip install '{package}', or set decode.bleu_tokenizer=char to count characters"
        )
    return name


def check_finds_words(name: str, language: str, references: Sequence[str]) -> None:
    """Raise UserError where the usual tokenizer would be taken for text without blanks, as for a code such as "cn"."""
    if name != AUTO or bleu_tokenizer(name, language) != USUAL:
        return
    text = "".join(references)
    if 2 * len(_WITHOUT_BLANKS.findall(text)) > sum(map(str.isalpha, text)):
        raise UserError(
            f"the target text is in a script without blanks between words, and BLEU's tokenizer for data.target "
            f"'{language}' is {USUAL}, which needs them: set decode.bleu_tokenizer to one of {', '.join(OF_LANGUAGES)}"
        )
