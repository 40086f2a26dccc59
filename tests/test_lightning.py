"""`LitTransformer` and `TranslationDataModule` in a plain `pl.Trainer`, as a user of Lightning expects them to work."""

import copy
import csv
import json
import math
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import (
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateFinder,
    LearningRateMonitor,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from pytorch_lightning.loggers import CSVLogger, WandbLogger
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from pytorch_lightning.tuner import Tuner
from torch import nn

from data_modules.config import DataConfig
from data_modules.prepared import PreparedCorpus
from data_modules.translation import TranslationDataModule
from experiments.scoring.inference import translate_ids
from experiments.scoring.perplexity import reference_nats
from lit_transformer import LitTransformer
from lit_transformer.config import DecodeConfig, Ensemble, OptimConfig, Schedule
from lit_transformer.errors import UserError
from tests.killing import ROOT
from tests.small_corpus import CONFIG, letters
from tests.small_models import PAIRS, batch_of, build, padded
from tests.small_training import BATCHES, DROPPING, Losses, Rates, Saver, endless, loader, weights

BATCHES_PER_EPOCH = 6
OPTIM = OptimConfig(steps=60, schedule=Schedule.linear, peak=3e-3, warmup=4)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> PreparedCorpus:
    return letters(tmp_path_factory.mktemp("data") / "letters")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainers write into the current folder."""
    monkeypatch.chdir(tmp_path)


def lit_of(corpus: PreparedCorpus, **optim: Any) -> LitTransformer:
    torch.manual_seed(7)
    return LitTransformer(build(DROPPING, corpus.vocab_size), replace(OPTIM, **optim), decode=DecodeConfig(beam=2))


def data_of(corpus: PreparedCorpus, config: DataConfig = CONFIG, endless: bool = False) -> TranslationDataModule:
    return TranslationDataModule(corpus, config, seed=7, endless=endless)


def plain(**settings: Any) -> pl.Trainer:
    """Return a Trainer with Lightning's defaults, quiet, and for two epochs unless the settings say otherwise."""
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    limits = {} if {"max_epochs", "max_steps"} & settings.keys() else {"max_epochs": 2}
    return pl.Trainer(accelerator="cpu", **(quiet | limits | {"enable_checkpointing": False} | settings))


def assert_same_weights(one: LitTransformer, other: LitTransformer) -> None:
    mine, expected = weights(one), weights(other)
    assert mine.keys() == expected.keys()
    assert [name for name in mine if not torch.equal(mine[name], expected[name])] == []


def test_one_epoch_is_one_pass_that_loggers_and_callbacks_follow(corpus: PreparedCorpus, tmp_path: Path) -> None:
    losses, best = Losses(), ModelCheckpoint(tmp_path, monitor="valid/loss")
    trainer = plain(
        max_epochs=1,
        logger=CSVLogger(tmp_path, "logs"),
        log_every_n_steps=1,
        callbacks=[losses, best, LearningRateMonitor()],
        enable_checkpointing=True,
    )
    lit = lit_of(corpus)
    trainer.fit(lit, datamodule=data_of(corpus))
    assert trainer.global_step == BATCHES_PER_EPOCH
    rows = list(csv.DictReader((tmp_path / "logs/version_0/metrics.csv").open()))
    assert [float(row["train/loss"]) for row in rows if row["train/loss"]] == pytest.approx(losses.values, rel=1e-5)
    rates = [float(row["lr-Adam"]) for row in rows if row["lr-Adam"]]
    assert rates == pytest.approx([lit.schedule(step) for step in range(1, 7)])
    (valid,) = [row for row in rows if row["valid/loss"]]
    assert float(valid["valid/ppl"]) == pytest.approx(math.exp(float(valid["valid/loss"])))
    assert float(best.best_model_score or 0) == pytest.approx(float(valid["valid/loss"]))
    hparams = (tmp_path / "logs/version_0/hparams.yaml").read_text()
    assert "d_model: 16" in hparams
    assert "peak: 0.003" in hparams


def test_early_stopping_watches_the_training_loss(corpus: PreparedCorpus) -> None:
    stopping = EarlyStopping("train/loss", min_delta=100.0, patience=2, check_on_train_epoch_end=True)
    trainer = plain(max_epochs=9, callbacks=[stopping])
    trainer.fit(lit_of(corpus), datamodule=data_of(corpus))
    assert trainer.current_epoch == 3


def test_the_logged_loss_is_nats_per_token_of_the_batch() -> None:
    torch.manual_seed(7)
    lit, losses = LitTransformer(build(DROPPING), replace(OPTIM, accumulate=2)), Losses()
    tokens = [len(batch.tgt_out) for batch in BATCHES[:2]]
    batches = [replace(batch, target_tokens=sum(tokens)) for batch in BATCHES[:2]]
    trainer = plain(max_steps=1, accumulate_grad_batches=2, callbacks=[losses])
    trainer.fit(lit, endless(batches))
    share = float(trainer.callback_metrics["train/loss"]) * tokens[1] / sum(tokens)
    assert losses.values[1] == pytest.approx(share, rel=1e-5)  # Lightning has divided it by the two batches


def test_a_checkpoint_is_all_it_takes(corpus: PreparedCorpus, tmp_path: Path) -> None:
    lit, trainer = lit_of(corpus, clip_norm=1.0), plain(max_epochs=1)
    trainer.fit(lit, datamodule=data_of(corpus))
    trainer.save_checkpoint(tmp_path / "lit.ckpt")
    state = torch.get_rng_state()
    loaded = LitTransformer.load_from_checkpoint(tmp_path / "lit.ckpt")
    assert torch.equal(torch.get_rng_state(), state)
    assert_same_weights(loaded, lit)
    assert (loaded.network.config, loaded.optim, loaded.decode) == (lit.network.config, lit.optim, lit.decode)
    assert loaded.hparams == lit.hparams
    assert LitTransformer.load_from_checkpoint(tmp_path / "lit.ckpt", seed=5).seed == 5
    again = plain(max_epochs=2)
    again.fit(loaded, datamodule=data_of(corpus), ckpt_path=tmp_path / "lit.ckpt", weights_only=True)
    assert again.global_step == 2 * BATCHES_PER_EPOCH


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"", "EOFError"),
        (b"hello", "KeyError"),
        ({"weight": torch.zeros(2)}, "KeyError: 'pytorch-lightning_version'"),
        ({"state_dict": {}, "pytorch-lightning_version": "2.5.0"}, "missing 2 required positional arguments"),
        ({"state_dict": {}, "pytorch-lightning_version": "2.5.0", "hyper_parameters": {"network": {}, "optim": {}}},
         "KeyError: 'config'"),
    ],
    ids=["missing", "empty", "no archive", "weights only", "without hyperparameters", "of another module"],
)  # fmt: skip
def test_another_file_is_refused_in_one_line(tmp_path: Path, content: Any, reason: str) -> None:
    path = tmp_path / "foreign.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=r"foreign\.ckpt is not a checkpoint of this LitTransformer") as caught:
        LitTransformer.load_from_checkpoint(path)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


class Mish(nn.Mish):
    """An activation of one's own, which has no weights."""


def test_a_network_with_modules_of_its_own_is_not_taken_for_another(corpus: PreparedCorpus, tmp_path: Path) -> None:
    def own() -> LitTransformer:
        lit = lit_of(corpus)
        network = lit.network
        for layer in network.encoder.layers:
            layer.add_module("own", Mish())
        return LitTransformer(network, OPTIM)

    path, trainer = tmp_path / "own.ckpt", plain(max_epochs=1)
    trainer.fit(own(), datamodule=data_of(corpus))
    trainer.save_checkpoint(path)
    with pytest.raises(UserError, match=r"own.ckpt: the checkpoint is of a network with other modules"):
        LitTransformer.load_from_checkpoint(path)
    with pytest.raises(UserError, match="the checkpoint is of a network with other modules"):
        plain().fit(lit_of(corpus), datamodule=data_of(corpus), ckpt_path=path)
    loaded = LitTransformer.load_from_checkpoint(path, network=own().network)
    assert isinstance(loaded.network.encoder.layers[0].own, Mish)


def test_forward_is_the_network() -> None:
    torch.manual_seed(7)
    lit = LitTransformer(build(DROPPING), OPTIM).eval()
    src, tgt_in, _ = padded(batch_of(PAIRS))
    assert torch.equal(lit(src, tgt_in), lit.network(src, tgt_in))


def test_testing_gives_the_perplexity_of_every_split(corpus: PreparedCorpus) -> None:
    lit = lit_of(corpus)
    metrics = plain().test(lit, datamodule=data_of(corpus), verbose=False)[0]
    assert metrics.keys() == {"test/loss", "test/ppl", "tiny/loss", "tiny/ppl"}
    for split in ("test", "tiny"):
        nats, tokens = reference_nats([lit.network.eval()], Ensemble.probabilities, corpus, split, 1000)
        assert metrics[f"{split}/loss"] == pytest.approx(nats / tokens, rel=1e-5)
        assert metrics[f"{split}/ppl"] == pytest.approx(math.exp(nats / tokens), rel=1e-5)


def test_loaders_without_names_are_numbered() -> None:
    torch.manual_seed(7)
    lit = LitTransformer(build(DROPPING), OPTIM)
    metrics = plain().test(lit, [loader(BATCHES), loader(BATCHES[:1])], verbose=False)[0]
    assert metrics.keys() == {"test/loss", "test/ppl", "test1/loss", "test1/ppl"}
    assert metrics["test/loss"] != pytest.approx(metrics["test1/loss"], rel=1e-3)


def test_predictions_are_those_of_the_search(corpus: PreparedCorpus) -> None:
    lit, split = lit_of(corpus), corpus.split("test")
    by_loader = plain().predict(lit, datamodule=data_of(corpus)) or []
    predicted: dict[int, Any] = {}
    for batch in by_loader[0]:
        assert predicted.keys().isdisjoint(batch)
        predicted |= batch
    expected = translate_ids([lit.network.eval()], [split[pair][0] for pair in range(50)], lit.decode)
    assert sorted(predicted) == list(range(50))
    assert [predicted[pair].tokens for pair in range(50)] == [best.tokens for (best,) in expected]


@pytest.mark.parametrize("limit", [{"max_epochs": 3}, {"max_epochs": 9, "max_steps": 18}], ids=["epochs", "steps"])
@pytest.mark.parametrize(
    ("hook", "batches", "settings"),
    [
        ("on_train_batch_end", 8, {}),
        ("on_train_batch_end", 8, {"accumulate_grad_batches": 2}),
        ("on_train_batch_end", 4, {"precision": "bf16-mixed"}),
        ("on_train_batch_end", 6, {}),
        ("on_validation_end", 9, {"val_check_interval": 3}),
        ("on_validation_end", 6, {}),
        ("on_train_epoch_end", 12, {}),
    ],
)
def test_a_run_resumes_bit_for_bit_from_anywhere(
    corpus: PreparedCorpus, tmp_path: Path, hook: str, batches: int, settings: dict[str, Any], limit: dict[str, int]
) -> None:
    accumulate = settings.get("accumulate_grad_batches", 1)
    if "max_steps" in limit:
        limit = limit | {"max_steps": limit["max_steps"] // accumulate}
    path = tmp_path / "saved.ckpt"
    whole, losses = lit_of(corpus, accumulate=accumulate), Losses()
    callbacks = [losses, Saver(path, hook, batches // accumulate)]
    plain(callbacks=callbacks, **limit, **settings).fit(whole, datamodule=data_of(corpus))
    assert len(losses.values) == 18

    resumed, rest = lit_of(corpus, accumulate=accumulate), Losses()
    torch.manual_seed(12345)
    again = plain(callbacks=[rest], **limit, **settings)
    again.fit(resumed, datamodule=data_of(corpus), ckpt_path=path, weights_only=True)
    assert rest.values == losses.values[batches:]
    assert_same_weights(resumed, whole)


def test_epochs_are_the_endless_stream(corpus: PreparedCorpus) -> None:
    """So a plain Trainer repeats what `python -m experiments train` computes, dropout included."""
    runs = []
    for endless_stream, limit in ((False, {"max_epochs": 2}), (True, {"max_steps": 2 * BATCHES_PER_EPOCH})):
        losses = Losses()
        limit |= {} if not endless_stream else {"val_check_interval": 6, "check_val_every_n_epoch": None}
        plain(callbacks=[losses], **limit).fit(lit_of(corpus), datamodule=data_of(corpus, endless=endless_stream))
        runs.append(losses.values)
    assert runs[0] == runs[1]
    assert len(runs[0]) == 2 * BATCHES_PER_EPOCH


def test_a_checkpoint_of_other_batches_is_not_resumed_but_tested(corpus: PreparedCorpus, tmp_path: Path) -> None:
    trained, trainer, path = lit_of(corpus), plain(max_epochs=1), tmp_path / "lit.ckpt"
    trainer.fit(trained, datamodule=data_of(corpus))
    trainer.save_checkpoint(path)
    other = data_of(corpus, replace(CONFIG, batch_tokens=500))
    with pytest.raises(UserError, match="trained with batch_tokens 400, now it is 500, so it cannot resume exactly"):
        plain().fit(lit_of(corpus), datamodule=other, ckpt_path=path)
    untrained = lit_of(corpus)
    (metrics, _) = plain().test(untrained, datamodule=other, ckpt_path=path, verbose=False)
    assert_same_weights(untrained, trained)
    nats, tokens = reference_nats([trained.network.eval()], Ensemble.probabilities, corpus, "test", 1000)
    assert metrics["test/loss"] == pytest.approx(nats / tokens, rel=1e-5)


@pytest.mark.parametrize(("optim", "configured"), [(1, 2), (2, 1)])
def test_another_accumulation_than_the_module_s_is_refused(corpus: PreparedCorpus, optim: int, configured: int) -> None:
    message = rf"Trainer\(accumulate_grad_batches={configured}\) and OptimConfig\(accumulate={optim}\) differ"
    with pytest.raises(UserError, match=message):
        plain(accumulate_grad_batches=configured).fit(lit_of(corpus, accumulate=optim), datamodule=data_of(corpus))


def test_another_accumulation_than_the_loader_s_is_refused(corpus: PreparedCorpus) -> None:
    """A loader made before a Trainer was there counts one batch per step; a batch by hand does not say."""
    trainer = plain(max_steps=1, accumulate_grad_batches=2)
    with pytest.raises(UserError, match="made for steps of 1 batches over all devices, and the Trainer takes 2"):
        trainer.fit(lit_of(corpus, accumulate=2), data_of(corpus).train_dataloader())
    accumulated = data_of(corpus)
    plain(max_steps=1, accumulate_grad_batches=2).fit(lit_of(corpus, accumulate=2), datamodule=accumulated)
    with pytest.raises(UserError, match="made for steps of 2 batches over all devices, and the Trainer takes 1"):
        plain(max_steps=1).fit(lit_of(corpus), accumulated.train_dataloader())


def test_a_schedule_of_accumulation_is_refused(corpus: PreparedCorpus) -> None:
    with pytest.raises(UserError, match="GradientAccumulationScheduler is not supported"):
        plain(callbacks=[GradientAccumulationScheduler({1: 2})]).fit(lit_of(corpus), datamodule=data_of(corpus))


def test_no_step_comes_after_the_end_of_the_schedule(corpus: PreparedCorpus) -> None:
    """It would climb the loss: a linear schedule falls below 0."""
    with pytest.raises(UserError, match=r"takes 12 steps, and the schedule `linear` ends after OptimConfig\(steps=11"):
        plain().fit(lit_of(corpus, steps=11), datamodule=data_of(corpus))
    trainer = plain()
    trainer.fit(lit_of(corpus, steps=11, schedule=Schedule.constant), datamodule=data_of(corpus))
    assert trainer.global_step == 12


@pytest.mark.parametrize(("precision", "dtype"), [("bf16-true", torch.bfloat16), ("64-true", torch.float64)])
def test_true_precisions_learn_test_and_translate(corpus: PreparedCorpus, precision: Any, dtype: torch.dtype) -> None:
    lit, losses = lit_of(corpus, peak=1e-2), Losses()
    trainer = plain(max_epochs=4, precision=precision, callbacks=[losses])
    trainer.fit(lit, datamodule=data_of(corpus))
    assert {parameter.dtype for parameter in lit.parameters()} == {dtype}
    assert sum(losses.values[-6:]) < 0.9 * sum(losses.values[:6])
    (metrics, _) = trainer.test(lit, datamodule=data_of(corpus), verbose=False)
    assert sum(len(batch) for batch in (trainer.predict(lit, datamodule=data_of(corpus)) or [])[0]) == 50
    nats, tokens = reference_nats([lit.network.double().eval()], Ensemble.probabilities, corpus, "test", 1000)
    assert metrics["test/loss"] == pytest.approx(nats / tokens, rel=0.02 if dtype is torch.bfloat16 else 1e-6)


@pytest.mark.parametrize("schedule", [Schedule.linear, Schedule.paper])
def test_the_rate_finder_scales_the_schedule(corpus: PreparedCorpus, schedule: Schedule) -> None:
    lit, data, trainer = lit_of(corpus, schedule=schedule), data_of(corpus), plain(max_epochs=10)
    before, initial = [lit.schedule(step) for step in (1, 4, 50)], weights(lit)
    finder = Tuner(trainer).lr_find(lit, datamodule=data, num_training=30)
    assert finder is not None
    assert finder.results["lr"][0] < 1e-7 < 0.5 < finder.results["lr"][-1]
    assert lit.learning_rate == pytest.approx(finder.suggestion())
    factor = lit.schedule(4) / before[1]
    assert [lit.schedule(step) / factor for step in (1, 4, 50)] == pytest.approx(before)
    assert all(torch.equal(value, initial[name]) for name, value in weights(lit).items())
    assert LitTransformer(**lit.hparams).optim == lit.optim


def test_the_rate_finder_as_a_callback_leaves_the_warm_up(corpus: PreparedCorpus) -> None:
    lit, rates = lit_of(corpus), Rates()
    finder = LearningRateFinder(num_training_steps=20)
    plain(max_epochs=4, callbacks=[finder, rates], enable_checkpointing=True).fit(lit, datamodule=data_of(corpus))
    assert lit.optim.peak != OPTIM.peak
    assert rates.values == pytest.approx([lit.schedule(step) for step in range(1, 25)])


def test_stochastic_weight_averaging_ends_with_the_mean(corpus: PreparedCorpus) -> None:
    class Snapshots(pl.Callback):
        def __init__(self) -> None:
            self.values: list[dict[str, torch.Tensor]] = []

        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
            if trainer.current_epoch >= 2:
                self.values.append(weights(pl_module))

    lit, snapshots = lit_of(corpus), Snapshots()
    averaging = StochasticWeightAveraging(1e-3, swa_epoch_start=3)
    plain(max_epochs=5, callbacks=[snapshots, averaging]).fit(lit, datamodule=data_of(corpus))
    assert len(snapshots.values) == 3
    for name, value in weights(lit).items():
        mean = torch.stack([snapshot[name] for snapshot in snapshots.values]).mean(0)
        torch.testing.assert_close(value, mean)


def test_all_that_spawned_processes_need_is_picklable(corpus: PreparedCorpus) -> None:
    lit, data, losses = lit_of(corpus), data_of(corpus), Losses()
    trainer = plain(max_epochs=1, callbacks=[losses])
    trainer.fit(lit, datamodule=data)
    for again, source in (pickle.loads(pickle.dumps((lit, data))), copy.deepcopy((lit, data))):
        assert_same_weights(again, lit)
        assert source.state_dict() == data_of(corpus).state_dict()
    scheduler = pickle.loads(pickle.dumps(trainer.lr_scheduler_configs[0].scheduler))
    assert scheduler.get_last_lr() == [lit.schedule(BATCHES_PER_EPOCH + 1)]


@pytest.mark.slow
def test_spawned_processes_share_the_batches(corpus: PreparedCorpus) -> None:
    lit = lit_of(corpus)
    trainer = plain(max_epochs=1, strategy="ddp_spawn", devices=2)
    trainer.fit(lit, datamodule=data_of(corpus))
    alone = lit_of(corpus)
    (metrics,) = plain().validate(alone, datamodule=data_of(corpus), verbose=False)
    assert float(trainer.callback_metrics["valid/loss"]) < metrics["valid/loss"]  # as untrained
    before, after = weights(alone), weights(lit)
    assert not any(torch.equal(before[name], after[name]) for name in before if name.endswith("weight"))


@pytest.mark.slow
def test_sharded_training_computes_what_one_process_does(tmp_path: Path) -> None:
    """Two processes by gloo, each with half of every parameter, clipped, tested, translating, and resumed."""
    letters(tmp_path / "letters")
    runs = {}
    for name, arguments in {"one": [], "two": ["--sharded"], "again": ["--sharded", "--resume"]}.items():
        folder = tmp_path / ("one" if name == "one" else "two")
        command = [sys.executable, str(ROOT / "tests/sharded.py"), str(tmp_path / "letters"), str(folder), *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        runs[name] = json.loads((folder / "run.json").read_text())
        runs[name]["weights"] = weights(LitTransformer.load_from_checkpoint(folder / "last.ckpt"))
    one, two, again = runs.values()
    assert len(one["losses"]) == 2 * BATCHES_PER_EPOCH
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)
    assert again["losses"] == pytest.approx(two["losses"][BATCHES_PER_EPOCH:], rel=1e-6)
    for run in (two, again):
        assert run["metrics"] == pytest.approx(one["metrics"], rel=1e-5)
        assert run["predicted"] == one["predicted"]
        for name, value in one["weights"].items():
            torch.testing.assert_close(run["weights"][name], value, rtol=1e-4, atol=1e-6)
    held = {name: math.prod(shape) for name, shape in two["held"].items()}
    assert held == {name: math.prod(shape) // 2 for name, shape in one["held"].items()}


def test_tensor_parallelism_is_refused(corpus: PreparedCorpus) -> None:
    """Lightning's default: all devices of a node for it."""
    lit, strategy = lit_of(corpus), ModelParallelStrategy()
    strategy._device_mesh = {"tensor_parallel": SimpleNamespace(size=lambda: 2)}  # type: ignore[assignment]
    lit.trainer = SimpleNamespace(strategy=strategy)  # type: ignore[assignment]
    with pytest.raises(
        UserError, match=r"use ModelParallelStrategy\(data_parallel_size=DEVICES, tensor_parallel_size=1"
    ):
        lit.setup("fit")


@pytest.mark.parametrize("kind", [DeepSpeedStrategy, FSDPStrategy])
def test_sharding_is_refused(corpus: PreparedCorpus, kind: type) -> None:
    lit = lit_of(corpus)
    lit.trainer = SimpleNamespace(strategy=kind.__new__(kind))  # type: ignore[assignment]
    with pytest.raises(UserError, match=rf"{kind.__name__} is not supported: .* use strategy='ddp'"):
        lit.setup("fit")


@pytest.mark.slow
def test_wandb_gets_the_losses_and_the_configuration(corpus: PreparedCorpus, tmp_path: Path) -> None:
    logger = WandbLogger(project="plain", save_dir=tmp_path, offline=True)
    trainer = plain(max_epochs=1, logger=logger, log_every_n_steps=1)
    trainer.fit(lit_of(corpus), datamodule=data_of(corpus))
    run = logger.experiment
    assert run.summary["train/loss"] == pytest.approx(float(trainer.callback_metrics["train/loss"]))
    assert run.summary["valid/ppl"] == pytest.approx(float(trainer.callback_metrics["valid/ppl"]))
    assert run.config["network"]["config"]["d_model"] == DROPPING.d_model
    assert run.config["optim"]["peak"] == OPTIM.peak
    run.finish()
