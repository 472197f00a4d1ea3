"""Ctrl-C while a network is trained."""

import logging
import multiprocessing
import os
import pickle
import shlex
import signal
import subprocess
import sys
import threading
import weakref

import pytest
from conftest import train_settings
from lightning import Callback

from gender_recognizer.training.run import train


@pytest.fixture
def settings(tmp_path, colour_data, cache_dir):
    options = [f"data.root={colour_data}", f"data.cache_dir={cache_dir}", "trainer.max_epochs=4", "data.split=random"]
    return train_settings(*options, f"outputs={tmp_path}", f"+run_dir={tmp_path}/run")


@pytest.fixture
def exports(monkeypatch, light_training):
    """Return the list of the checkpoints that are exported, with their metrics."""
    exported = []
    monkeypatch.setattr(
        "gender_recognizer.training.run.export", lambda path, _, metrics: exported.append((path, metrics))
    )
    return exported


class Interrupt(Callback):
    """Sends the signal of Ctrl-C in the middle of an epoch, and remembers the processes that read data."""

    def __init__(self, epoch):
        self.epoch, self.workers = epoch, []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.current_epoch == self.epoch and batch_idx == 1:
            self.workers = multiprocessing.active_children()
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_best_model_so_far_is_exported_and_the_run_can_go_on(settings, exports, caplog, workers):
    settings.data.num_workers = workers
    settings.typed = [f"outputs={settings.outputs}", "data.root=my own/pictures"]
    handler = signal.getsignal(signal.SIGINT)
    interrupt = Interrupt(epoch=2)
    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        train(settings, [interrupt])
    assert signal.getsignal(signal.SIGINT) == handler
    assert bool(interrupt.workers) == bool(workers)
    assert not any(worker.is_alive() for worker in interrupt.workers)
    ((best, metrics),) = exports
    assert f"val_acc-{metrics['val/acc']:.4f}" in best.name
    assert f"kept: {best} and model.onnx beside it" in caplog.text
    (line,) = (record.getMessage() for record in caplog.records if "to go on: " in record.getMessage())
    typed = shlex.split(line.removeprefix("to go on: "))
    assert typed[1:] == ["train", *settings.typed, f"ckpt_path={settings.run_dir}/checkpoints/last.ckpt"]
    settings.ckpt_path, settings.run_dir = str(settings.run_dir / "checkpoints/last.ckpt"), None
    assert train(settings).metrics["val/acc"] >= metrics["val/acc"]


def test_before_the_first_epoch_ends_there_is_nothing_to_keep(settings, exports, caplog):
    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        train(settings, [Interrupt(epoch=0)])
    assert exports == []
    assert "stopped before the first epoch ended: no model was kept" in caplog.text


def test_while_it_is_measured_the_model_is_exported_all_the_same(settings, exports):
    settings.trainer.max_epochs = 1

    class InterruptTest(Callback):
        def on_test_start(self, trainer, module):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(settings, [InterruptTest()])
    assert len(exports) == 1


class InterruptUnheard(Callback):
    """Press Ctrl-C where what it raises is lost: in the callback of a weak reference."""

    def on_train_batch_start(self, trainer, *_):
        if trainer.current_epoch == 1:
            thing = threading.Event()
            self.reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
            del thing


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_is_heard_wherever_it_comes(settings, exports):
    with pytest.raises(KeyboardInterrupt):
        train(settings, [InterruptUnheard()])
    ((best, _),) = exports
    assert "epoch-00" in best.name


SECOND = """
import os, pickle, signal, sys
import torch
from gender_recognizer.training import run
from test_interruption import Interrupt

torch.set_num_threads(1)
moment, settings = pickle.load(sys.stdin.buffer)

def interrupt_again(*_):
    os.kill(os.getpid(), signal.SIGINT)
    os._exit(0)  # is not reached

if moment == "while Lightning shuts down":
    run.lightning.Trainer._teardown = interrupt_again
else:
    run.export = interrupt_again
run.train(settings, [Interrupt(epoch=1)])
"""


def test_the_second_ends_the_process_at_once(settings):
    """In processes of their own: a copy of this one could wait for threads that it does not have."""
    started = {}
    for moment in ("while Lightning shuts down", "while the model is exported"):
        settings.run_dir = settings.outputs / moment
        process = subprocess.Popen(
            [sys.executable, "-c", SECOND],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        process.stdin.write(pickle.dumps((moment, settings)))
        process.stdin.close()
        started[moment] = process
    for moment, process in started.items():
        errors = process.stderr.read().decode()
        assert process.wait(timeout=120) == 130, f"{moment}: {errors}"
