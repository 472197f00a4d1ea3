"""Ctrl-C while threads work."""

import itertools
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from gender_recognizer.interruption import Interruption, raise_if_interrupted
from gender_recognizer.labelling.engines import sliding_window


@pytest.fixture
def patient():
    with Interruption() as interruption:
        interruption.is_patient = True
        yield interruption


def test_the_first_ctrl_c_is_put_off_until_it_is_asked_for(patient):
    raise_if_interrupted()
    signal.raise_signal(signal.SIGINT)
    assert patient.is_asked
    with pytest.raises(KeyboardInterrupt):
        raise_if_interrupted()


def test_an_impatient_one_raises_at_once_and_handlers_are_set_back():
    with pytest.raises(KeyboardInterrupt), Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
    assert interruption.is_asked
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_one_within_another_takes_its_place(patient):
    with Interruption() as inner:
        inner.is_patient = True
        signal.raise_signal(signal.SIGINT)
        assert (inner.is_asked, patient.is_asked) == (True, False)
    assert signal.getsignal(signal.SIGINT) is patient


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL, lambda *_: None], ids=["ignored", "none", "own"])
def test_handlers_of_others_stay(handler):
    signal.signal(signal.SIGINT, handler)
    with Interruption():
        assert signal.getsignal(signal.SIGINT) is handler
    assert signal.getsignal(signal.SIGINT) is handler


def test_it_does_nothing_in_other_threads():
    def enter():
        with Interruption():
            return signal.getsignal(signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(enter).result() is signal.default_int_handler


def test_waiting_for_a_result_ends_soon_after_ctrl_c(patient):
    main = threading.main_thread().ident
    threading.Timer(0.2, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
    never = Future()
    with pytest.raises(KeyboardInterrupt):
        next(sliding_window([0], lambda _: never, 1))


def test_no_further_result_is_yielded_after_ctrl_c(patient):
    with ThreadPoolExecutor(1) as pool:
        window = sliding_window(range(9), lambda item: pool.submit(lambda: item), 2)
        assert next(window) == 0
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            next(window)


@pytest.mark.parametrize("number", range(10))
def test_a_ctrl_c_that_comes_just_when_a_lock_was_taken_leaves_none_held(patient, monkeypatch, number):
    enter, count = threading.Condition.__enter__, itertools.count()

    def take_and_interrupt(condition):
        taken = enter(condition)
        if threading.get_ident() == threading.main_thread().ident and next(count) == number:
            signal.raise_signal(signal.SIGINT)
        return taken

    pool = ThreadPoolExecutor(1)
    window = sliding_window(range(9), lambda item: pool.submit(time.sleep, 0.05), 2)
    monkeypatch.setattr(threading.Condition, "__enter__", take_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(window)
    monkeypatch.undo()
    ending = threading.Thread(target=pool.shutdown, daemon=True)
    ending.start()
    ending.join(10)
    assert not ending.is_alive()


TWICE = """
import signal
from gender_recognizer.interruption import Interruption
with Interruption() as interruption:
    interruption.is_patient = True
    signal.raise_signal(signal.SIGINT)
    print("goes on", flush=True)
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        print("cleans up", flush=True)
"""


def test_the_second_ends_the_process_at_once():
    done = subprocess.run(
        [sys.executable, "-c", TWICE],
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "goes on\n", "")
