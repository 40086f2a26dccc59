"""The loaders: epochs or an endless stream that resumes exactly, evaluation with every pair once, no global RNG."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from data_modules.corpora.text import ParallelText, RawCorpus
from data_modules.prepared import PreparedCorpus, prepare
from data_modules.translation import TranslationDataModule
from lit_transformer.batch import TranslationBatch
from lit_transformer.errors import UserError
from lit_transformer.tokens import EOS
from tests.small_corpus import CONFIG, letters
from tests.small_training import Saver


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> PreparedCorpus:
    return letters(tmp_path_factory.mktemp("data") / "letters")


def module(
    corpus: PreparedCorpus, rank: int = 0, ranks: int = 1, seed: int = 7, done: int | None = None
) -> TranslationDataModule:
    """Return the endless stream; with `ranks` or `done`, of a trainer that is training and has had `done` batches."""
    data = TranslationDataModule(corpus, CONFIG, seed, endless=True)
    if ranks > 1 or done is not None:
        data.trainer = SimpleNamespace(  # type: ignore[assignment]
            global_rank=rank,
            world_size=ranks,
            accumulate_grad_batches=1,
            training=True,
            current_epoch=0,
            fit_loop=SimpleNamespace(batch_idx=(done or 0) - 1),
        )
    return data


def first(data: TranslationDataModule, count: int) -> list[TranslationBatch]:
    return list(itertools.islice(iter(data.train_dataloader()), count))


def test_batches_hold_their_pairs(corpus: PreparedCorpus) -> None:
    split = corpus.split("train")
    for batch in first(module(corpus), 5):
        sources = batch.src.split(batch.src_layout.lengths.tolist())
        targets = batch.tgt_out.split(batch.tgt_layout.lengths.tolist())
        for pair, source, target in zip(batch.pairs.tolist(), sources, targets, strict=True):
            assert source.tolist() == [*split[pair][0].tolist(), EOS]
            assert corpus.tokenizer.decode(target) == split.target_text[pair]
        assert batch.target_tokens == batch.tgt_layout.tokens
        assert len(batch.pairs) * max(batch.src_layout.max_seqlen, batch.tgt_layout.max_seqlen) <= CONFIG.batch_tokens


def test_training_streams_epochs_without_end(corpus: PreparedCorpus) -> None:
    data = module(corpus)
    steps = data.batches_per_epoch()
    batches = first(data, 3 * steps)
    epochs = [torch.cat([batch.pairs for batch in batches[i * steps : (i + 1) * steps]]).tolist() for i in range(3)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(150))] * 3
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("position", [1, 5, 17])
def test_the_stream_goes_on_where_the_trainer_is(corpus: PreparedCorpus, position: int) -> None:
    whole = first(module(corpus), position + 12)
    for one, other in zip(whole[position:], first(module(corpus, done=position), 12), strict=True):
        assert torch.equal(one.pairs, other.pairs)
        assert torch.equal(one.src, other.src)
        assert torch.equal(one.tgt_in, other.tgt_in)


def test_seeds_give_other_streams(corpus: PreparedCorpus) -> None:
    one, other = (torch.cat([b.pairs for b in first(module(corpus, seed=seed), 3)]).tolist() for seed in (1, 2))
    assert one != other


def test_loaders_leave_global_randomness_alone(corpus: PreparedCorpus) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first(module(corpus), 3)
    list(module(corpus).val_dataloader())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize("ranks", [1, 3])
def test_evaluation_keeps_every_pair_once(corpus: PreparedCorpus, split: str, ranks: int) -> None:
    loaders = [module(corpus, rank, ranks).evaluation_loader(split) for rank in range(ranks)]
    assert len({len(loader) for loader in loaders}) == 1
    batches = [list(loader) for loader in loaders]
    pairs = torch.cat([batch.pairs for loader in batches for batch in loader]).tolist()
    assert sorted(pairs) == list(range(len(corpus.split(split))))
    assert sum(batch.tgt_layout.tokens for loader in batches for batch in loader) == sum(
        batch.target_tokens for batch in batches[0]
    )


def test_validation_is_the_valid_split_longest_first(corpus: PreparedCorpus) -> None:
    batches = list(module(corpus).val_dataloader())
    assert sorted(torch.cat([batch.pairs for batch in batches]).tolist()) == list(range(40))
    longest = [max(batch.src_layout.max_seqlen, batch.tgt_layout.max_seqlen) for batch in batches]
    assert longest == sorted(longest, reverse=True)


def test_evaluation_may_have_its_own_budget_and_refuses_nothing(corpus: PreparedCorpus) -> None:
    loader = module(corpus).evaluation_loader("test", batch_tokens=1)
    assert len(loader) == 50
    assert len(module(corpus).evaluation_loader("test", batch_tokens=100_000)) == 1


def test_ranks_train_on_shares_of_the_same_batches(corpus: PreparedCorpus) -> None:
    shares = [first(module(corpus, rank, 3), 12) for rank in range(3)]
    for parts, whole in zip(zip(*shares, strict=True), first(module(corpus), 12), strict=True):
        assert sorted(torch.cat([part.pairs for part in parts]).tolist()) == sorted(whole.pairs.tolist())
        assert {part.target_tokens for part in parts} == {whole.target_tokens}
        assert sum(part.tgt_layout.tokens for part in parts) == whole.target_tokens


def test_more_ranks_than_pairs(corpus: PreparedCorpus) -> None:
    with pytest.raises(UserError, match="split 'tiny': 2 pairs cannot be shared by 3 ranks"):
        module(corpus, 0, 3).evaluation_loader("tiny")


class Recorder(pl.LightningModule):
    """Records the batches that Lightning passes to it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained: list[list[int]] = []
        self.target_tokens: list[int] = []
        self.validated: list[int] = []

    def training_step(self, batch: TranslationBatch) -> torch.Tensor:
        self.trained.append(batch.pairs.tolist())
        self.target_tokens.append(batch.target_tokens)
        return self.weight * batch.target_tokens

    def validation_step(self, batch: TranslationBatch) -> None:
        self.validated += batch.pairs.tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_test_loaders_are_the_other_splits(corpus: PreparedCorpus) -> None:
    data = module(corpus)
    data.setup("test")
    assert data.test_splits == ["test", "tiny"]
    for loaders in (data.test_dataloader(), data.predict_dataloader()):
        pairs = [sorted(torch.cat([batch.pairs for batch in loader]).tolist()) for loader in loaders]
        assert pairs == [list(range(50)), list(range(2))]


def test_a_corpus_without_test_splits_cannot_be_tested(tmp_path: Path) -> None:
    text = ParallelText(["ab cde f"] * 40, ["AB CDE F"] * 40)
    bare = prepare(RawCorpus("bare", "de", "en", {"train": text, "valid": text}), CONFIG, tmp_path / "bare")
    module(bare).setup("fit")
    with pytest.raises(UserError, match="corpus bare has no split besides 'train' and 'valid' to test"):
        module(bare).setup("test")


def test_lightning_trains_epoch_by_epoch(corpus: PreparedCorpus, tmp_path: Path) -> None:
    """One pass per epoch, in the order of the endless stream; a last accumulated step counts its own batches."""
    data, recorder = TranslationDataModule(corpus, CONFIG, seed=7), Recorder()
    steps = data.batches_per_epoch()
    trainer = pl.Trainer(
        max_epochs=2,
        accumulate_grad_batches=4,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
    )
    trainer.fit(recorder, datamodule=data)
    stream = first(module(corpus), 2 * steps)
    assert recorder.trained == [batch.pairs.tolist() for batch in stream]
    assert len(recorder.validated) == 2 * 40
    assert trainer.global_step == 2 * -(-steps // 4)
    groups = [stream[start : min(start + 4, steps)] for start in range(0, steps, 4)]
    expected = [sum(batch.tgt_layout.tokens for batch in group) for group in groups for _ in group]
    assert recorder.target_tokens[:steps] == expected


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_lightning_trains_on_the_stream_and_resumes(corpus: PreparedCorpus, tmp_path: Path) -> None:
    path = tmp_path / "10.ckpt"

    def run(resume: Path | None) -> Recorder:
        data, recorder = module(corpus), Recorder()
        trainer = pl.Trainer(
            max_steps=25,
            max_epochs=-1,
            val_check_interval=25,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            accelerator="cpu",
            callbacks=[Saver(path, "on_train_batch_end", 10)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(recorder, datamodule=data, ckpt_path=resume)
        return recorder

    whole, rest = run(None), run(path)
    assert len(whole.trained) == 25  # more than one epoch
    assert whole.trained[10:] == rest.trained
    assert sorted(whole.validated) == list(range(40))
