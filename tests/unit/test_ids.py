"""Ids: in order, and never the same twice, not even in a process that was forked."""

from __future__ import annotations

import os

from kaizen.ids import new_id


def test_a_child_names_things_otherwise_than_its_parent() -> None:
    new_id("x")  # so that there is chance in store
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, new_id("x").encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 100).decode()
    os.close(reading)
    os.close(writing)
    assert theirs[-15:] != new_id("x")[-15:]  # the last 75 of the 80 random bits: time tells the others apart


def test_thousands_differ_and_later_ones_come_later() -> None:
    made = [new_id("x") for _ in range(2000)]
    assert len(set(made)) == 2000
    assert [name[:10] for name in made] == sorted(name[:10] for name in made)
