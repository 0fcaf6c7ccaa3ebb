"""Training that was killed goes on bit for bit; what cannot be saved, or is no number, ends it with what is known."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerass2s import zoo
from kerass2s.data import BucketByExamples
from kerass2s.errors import TrainingError
from kerass2s.recipes.runs import results
from kerass2s.seq2seq import Seq2Seq
from kerass2s.training import Checkpoints, FiniteLoss, Interrupted, Standing, checkpoints
from kerass2s.training.checkpoints import ARRAYS, STATE

RUN = Path(__file__).with_name("training_runs.py")


def start(ending: str, out: Path, pairs: Path) -> subprocess.Popen[str]:
    """Starts a run of `kerass2s train` that ends as `training_runs` says."""
    command = [sys.executable, str(RUN), ending, str(out), str(pairs)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_run_killed_in_a_checkpoint_equals_one_that_never_was(lexicon: list[tuple[str, str]], tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{word}\t{phones}\n" for word, phones in lexicon), encoding="utf-8")
    with start("none", tmp_path / "whole", pairs) as whole:
        # The averaged weights, accumulated gradients, curriculum, coins and early stopping are all part of these runs.
        for ending, status in (("write:2", -signal.SIGKILL), ("none", 0)):
            with start(ending, tmp_path / "cut", pairs) as run:
                _, said = run.communicate(timeout=300)
            assert run.returncode == status, said[-2000:]
        _, said = whole.communicate(timeout=300)
        assert whole.returncode == 0, said[-2000:]
    assert results(tmp_path / "cut") == results(tmp_path / "whole")
    for name in ("config.json", "source.spm"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    states = [sorted((tmp_path / name / "backup" / "state").iterdir())[-1] for name in ("whole", "cut")]
    assert [place.name for place in states] == ["000003-000000000"] * 2
    one, other = (dict(np.load(place / ARRAYS).items()) for place in states)
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one if not name.startswith("metric"))
    assert {path.name for path in (tmp_path / "cut").iterdir()} == {
        path.name for path in (tmp_path / "whole").iterdir()
    }


# === In this process ===


@pytest.fixture(scope="module")
def shared(source_tokenizer, target_tokenizer) -> tuple[Seq2Seq, list[np.ndarray]]:
    """A tiny compiled model, and what it begins with; one model, so that its training is traced once."""
    keras.utils.set_random_seed(3)
    tokenizers = {"source_tokenizer": source_tokenizer, "target_tokenizer": target_tokenizer}
    model = zoo.build("keras_lstm_seq2seq", **tokenizers, preset="tiny")
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    model.optimizer.build(model.trainable_variables)
    return model, [np.array(variable) for variable in (*model.variables, *model.optimizer.variables)]


@pytest.fixture
def make(shared: tuple[Seq2Seq, list[np.ndarray]]) -> Callable[[], Seq2Seq]:
    """Returns that model as it began, whatever it was trained on."""

    def begin() -> Seq2Seq:
        model, values = shared
        for variable, value in zip((*model.variables, *model.optimizer.variables), values, strict=True):
            variable.assign(value)
        return model

    return begin


class At(keras.callbacks.Callback):
    """Does something at the begin of the n-th batch of the run."""

    def __init__(self, count: int, then: Callable[[keras.Model], None]) -> None:
        super().__init__()
        self.left, self.then = count, then

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Counts."""
        self.left -= 1
        if self.left == 0:
            self.then(self.model)


def fit(model: Seq2Seq, lexicon: Any, *callbacks: Any, **options: Any) -> dict[str, list[float]]:
    options = {"epochs": 2, "batching": BucketByExamples(4), "verbose": 0, **options}
    return model.fit(lexicon, callbacks=list(callbacks), **options).history


def test_ctrl_c_saves_and_leaves_and_the_rest_is_as_it_would_have_been(make, lexicon, tmp_path: Path) -> None:
    whole = make()
    expected, weights = fit(whole, lexicon), whole.get_weights()
    kept = Checkpoints(tmp_path / "state")
    begun = make()
    assert kept.restore(begun) is None
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="ended by SIGINT"), kept.heeding_signals():
        fit(begun, lexicon, At(2, lambda model: os.kill(os.getpid(), signal.SIGINT)), kept)
    assert signal.getsignal(signal.SIGINT) is before
    later, again = Checkpoints(tmp_path / "state"), make()
    standing = later.restore(again)
    assert (standing.epoch, standing.batch) == (0, 2)
    found = fit(again, lexicon, later, standing=standing)
    assert found == expected  # the mean loss of the epoch that was cut in two, too
    for one, other in zip(weights, again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    # What is not whole is passed over: the last one is damaged, the one before is taken, and without that nothing is.
    first, last = sorted((tmp_path / "state").iterdir())
    (last / ARRAYS).write_bytes((last / ARRAYS).read_bytes()[:-9])
    (tmp_path / "state" / ".making-1").mkdir()
    assert Checkpoints(tmp_path / "state").restore(make()) == Standing(1)
    (first / STATE).write_text((first / STATE).read_text().replace('"epoch": 1', '"epoch": 0'))
    with pytest.raises(TrainingError, match="no checkpoint can be read.*damaged"):
        Checkpoints(tmp_path / "state").restore(make())


# NumPy before 2.2 leaves the file that it could not write to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*ZipFile.__del__:pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_ends_the_run_and_leaves_the_checkpoint_before(
    make, lexicon, small_disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, written, sync = small_disk.place / "state", [], checkpoints.sync_file

    def full(path: Path) -> None:
        """Stands for the disk where none can be mounted: the second checkpoint cannot be written."""
        written.append(path)
        if len(written) > 1:
            raise OSError(28, "No space left on device")
        sync(path)

    def fill(epoch: int, logs: Any) -> None:
        if epoch == 1 and small_disk.mounted:
            small_disk.fill()

    if not small_disk.mounted:
        monkeypatch.setattr(checkpoints, "sync_file", full)
    filling = keras.callbacks.LambdaCallback(on_epoch_begin=fill)
    with pytest.raises(TrainingError, match=r"cannot be saved \(.*[Nn]o space left.*the checkpoint before"):
        fit(make(), lexicon, filling, Checkpoints(place))
    assert [path.name for path in place.iterdir()] == ["000001-000000000"]
    assert Checkpoints(place).restore(make()) == Standing(1)


def test_a_loss_that_is_no_number_ends_the_run_with_its_batch(make, lexicon, tmp_path: Path) -> None:
    def spoil(model: keras.Model) -> None:
        weight = model.trainable_variables[0]
        weight.assign(weight * float("inf"))

    kept, seen = Checkpoints(tmp_path / "state"), []
    path = tmp_path / "run" / "bad_batch.npz"
    model = make()
    epoch = int(model.codec.batches(lexicon, BucketByExamples(4), 0).cardinality())
    looking = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: seen.append(model.trained_batches(batch, batch)[0])
    )
    with pytest.raises(TrainingError, match=r"its batch is in .*clipnorm.*Received: nan in epoch 2, batch 1"):
        fit(model, lexicon, looking, At(epoch + 1, spoil), FiniteLoss(path), kept, epochs=3)
    assert [place.name for place in (tmp_path / "state").iterdir()] == ["000001-000000000"]
    found = np.load(path)
    features, labels, _ = seen[-1]
    assert set(found) == {*features, "labels", "sample_weight"}
    np.testing.assert_array_equal(found["labels"], labels)
    np.testing.assert_array_equal(found["source_ids"], features["source_ids"])


def test_early_stopping_counts_on_and_a_run_it_ended_stays_ended(make, lexicon, tmp_path: Path) -> None:
    def parts() -> tuple[keras.callbacks.EarlyStopping, Checkpoints]:
        stopping = keras.callbacks.EarlyStopping("loss", patience=2, mode="max")  # the loss falls: no epoch is better
        return stopping, Checkpoints(tmp_path / "state", [stopping])

    model = make()
    fit(model, lexicon, *parts(), epochs=2)
    stopping, kept = parts()
    standing = kept.restore(model)
    assert not kept.stopped()
    assert len(fit(model, lexicon, stopping, kept, epochs=9, standing=standing)["loss"]) == 1
    _, kept = parts()
    kept.restore(model)
    assert kept.stopped()


def test_a_state_of_another_model_is_refused(make, lexicon, tmp_path: Path, source_tokenizer) -> None:
    fit(make(), lexicon, Checkpoints(tmp_path / "state"), epochs=1)
    tokenizers = {"source_tokenizer": source_tokenizer, "target_tokenizer": source_tokenizer}
    other = zoo.build("keras_lstm_seq2seq", **tokenizers, preset="tiny", units=5)
    other.compile()
    with pytest.raises(TrainingError, match="the state of another model"):
        Checkpoints(tmp_path / "state").restore(other)
    assert json.loads(next((tmp_path / "state").glob(f"*/{STATE}")).read_text())["standing"]["epoch"] == 1
