"""An author's code that takes too long before anything trains is stopped, and named."""

import signal
import threading
import time

import pytest

from retrograde.errors import UserError
from retrograde.parts.author_code import guarded
from retrograde.parts.deadline import Late, untimed, within
from retrograde.parts.registry import Registry


def asleep():
    while True:
        try:
            time.sleep(0.01)
        except Exception:  # noqa: PERF203 - as code does that is careless
            continue


def test_what_takes_too_long_is_stopped_with_its_name_its_line_and_the_remedy(monkeypatch):
    monkeypatch.setenv("RETROGRADE_CHECK_SECONDS", "0.05")
    with pytest.raises(Late) as late, guarded("mine"), within("check", "mine.py"):
        asleep()
    assert (
        "mine.py takes longer than 0.05 s, the limit of a check, and was stopped at test_parts_deadline.py:"
        in str(late.value)
    )
    assert "RETROGRADE_CHECK_SECONDS" in str(late.value)


def test_a_plugin_that_sleeps_at_import_is_stopped(monkeypatch, tmp_path):
    (tmp_path / "sleepy.py").write_text("import time\ntime.sleep(10**6)\n")
    monkeypatch.setenv("RETROGRADE_IMPORT_SECONDS", "0.05")
    with pytest.raises(
        UserError, match=r"sleepy\.py takes longer than 0\.05 s.*stopped at sleepy\.py:2"
    ):
        Registry((tmp_path / "sleepy.py",))


def test_an_alarm_that_was_set_before_goes_on():
    rung = []
    before = (
        signal.signal(signal.SIGALRM, lambda *_: rung.append(True)),
        signal.setitimer(signal.ITIMER_REAL, 0),
    )
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with within("check", "mine.py"):
            pass
        until = time.monotonic() + 60
        while not rung and time.monotonic() < until:
            time.sleep(0.01)
        assert rung
    finally:
        signal.signal(signal.SIGALRM, before[0])
        signal.setitimer(signal.ITIMER_REAL, *before[1])


def test_the_clock_stands_still_for_long_work_and_goes_on_afterwards():
    def left():
        return signal.getitimer(signal.ITIMER_REAL)[0]

    with within("check", "mine.py", 10**6):
        with untimed():
            assert left() == 0
        assert 0 < left() <= 10**6


def test_in_another_thread_there_is_no_limit():
    done = []

    def work():
        with within("check", "mine.py", 0.001), untimed():
            time.sleep(0.05)
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done


@pytest.mark.parametrize("text", ["soon", "0", "-1", "inf", "nan"])
def test_a_limit_is_a_number_of_seconds(monkeypatch, text):
    monkeypatch.setenv("RETROGRADE_IMPORT_SECONDS", text)
    with pytest.raises(UserError, match="a number of seconds above 0"), within("import", "mine.py"):
        pass
