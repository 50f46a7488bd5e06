"""The little that the checks of Python stand on: they are registered, run one after the other, and told as lines.

A line is `ok`, `skip` or `FAIL`, the label, and the check's name; `run` beside this file counts them.
"""

import faulthandler
import sys
import threading
import time
import traceback


class Skip(Exception):
    """The server under test does not have what the check is about."""


class Checks:
    def __init__(self, label):
        self.label = label
        self.all = []

    def __call__(self, name):
        """Registers the function below as the check of this name."""

        def register(function):
            self.all.append((name, function))
            return function

        return register

    def run(self, seconds, before):
        """Runs each check, with what `before` gives it; exits 1 if one failed. None may hang: the limit is for all."""
        faulthandler.dump_traceback_later(seconds, exit=True)
        failed = False
        for name, function in self.all:
            try:
                function(before())
                print(f"ok   {self.label}: {name}", flush=True)
            except Skip as reason:
                print(f"skip {self.label}: {name} ({reason})", flush=True)
            except Exception:
                failed = True
                print(f"FAIL {self.label}: {name}", flush=True)
                traceback.print_exc(file=sys.stdout)
        sys.exit(1 if failed else 0)


def equal(got, expected):
    if got != expected:
        raise AssertionError(f"got {got!r}, expected {expected!r}")


def holds(condition, what):
    if not condition:
        raise AssertionError(what)


def raises(kind, text, function, *arguments, **named):
    """The call fails with exactly this class of error, and its message holds the text. Returns the error."""
    try:
        result = function(*arguments, **named)
    except Exception as error:
        if type(error) is not kind or text not in str(error):
            raise AssertionError(f"got {type(error).__name__}: {error}, expected {kind.__name__}: {text}") from error
        return error
    raise AssertionError(f"got {result!r}, expected {kind.__name__}: {text}")


def eventually(condition, what, seconds=20):
    """Waits until the condition holds; returns what it gave."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.005)


def at_once(count, work):
    """Runs work(0) … work(count - 1) in threads; raises the first error there was."""
    errors = []

    def guarded(n):
        try:
            work(n)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


class Background:
    """A call in a thread; `result` waits for it, and raises what it raised."""

    def __init__(self, function, *arguments, **named):
        self.value = self.error = None

        def work():
            try:
                self.value = function(*arguments, **named)
            except Exception as error:
                self.error = error

        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()

    def result(self, seconds=20):
        self.thread.join(seconds)
        if self.thread.is_alive():
            raise AssertionError(f"still under way after {seconds} s")
        if self.error:
            raise self.error
        return self.value
