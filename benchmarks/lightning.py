"""Lightning as a user has it, who lacks the extra `bench`."""

from experiments.common.stand_ins import import_lightning, standing_in


def import_as_a_user() -> None:
    """Import Lightning without transformers, which its torchmetrics imports where it is installed."""
    with standing_in("transformers", AutoModel=None, AutoTokenizer=None):
        import_lightning()
