"""What is taken away from a Ray cluster that is not the installation's own, on stand-ins for Ray and Serve."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest
from ray.exceptions import ActorUnavailableError, GetTimeoutError

from kaizen.config import Settings
from kaizen.errors import Conflict, DeadlineExceeded, Unavailable

with warnings.catch_warnings():  # Serve warns of itself when it is imported
    warnings.simplefilter("ignore")
    from cluster import belongings


class Ray:
    """Named actors as (namespace, name), and Serve's applications; who is ended is listed in `ended`."""

    def __init__(self) -> None:
        ours = ("shard-i-000-0", "embedder-1", "generator-1", "steward", "fleet")
        self.actors = [*(("kaizen", name) for name in ours), ("kaizen", "theirs"), ("other", "fleet")]
        self.applications = {"kaizen": "RUNNING", "theirs": "RUNNING"}
        self.ended: list[str] = []
        self.ledger = Settings().ledger_url
        self.silent = False

    def names(self, namespace: str) -> list[str]:
        return [name for where, name in self.actors if where == namespace]

    def kill(self, actor: SimpleNamespace) -> None:
        self.ended.append(actor.name)
        self.actors.remove((actor.namespace, actor.name))

    def get_actor(self, name: str, namespace: str) -> SimpleNamespace:
        return SimpleNamespace(name=name, namespace=namespace, __ray_call__=SimpleNamespace(remote=lambda _: None))

    def get(self, *_: object, timeout: float) -> str:
        if self.silent:
            raise GetTimeoutError(f"{timeout}")
        return self.ledger

    def status(self) -> SimpleNamespace:
        return SimpleNamespace(applications=self.applications)

    def delete(self, name: str, **_: object) -> None:
        self.ended.append(f"application {name}")
        del self.applications[name]


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    there = Ray()
    monkeypatch.setattr(belongings, "ray", there)
    monkeypatch.setattr(belongings, "serve", there)
    monkeypatch.setattr(belongings, "GONE_SECONDS", 0.5)
    monkeypatch.setattr(belongings, "named_actors", there.names)
    return there


def test_our_application_and_our_actors_go_and_nobody_elses(ray: Ray) -> None:
    belongings.take_away("kaizen")
    assert ray.ended[:2] == ["application kaizen", "fleet"]  # requests finish first; the fleet would start others anew
    assert ray.actors == [("kaizen", "theirs"), ("other", "fleet")]
    assert ray.applications == {"theirs": "RUNNING"}
    belongings.take_away("kaizen")
    assert len(ray.ended) == 6  # nothing is there: nothing is done


def test_an_application_that_does_not_go_does_not_keep_the_actors(ray: Ray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "delete", lambda *_, **__: None)
    with pytest.raises(DeadlineExceeded):
        belongings.take_away("kaizen")
    assert ray.actors == [("kaizen", "theirs"), ("other", "fleet")]


def test_what_the_fleet_started_while_it_ended_goes_too(ray: Ray, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(actor: SimpleNamespace) -> None:
        if actor.name == "embedder-1" and "embedder-1" not in ray.ended:
            ray.actors.append(("kaizen", "shard-i-001-0"))
        Ray.kill(ray, actor)

    monkeypatch.setattr(ray, "kill", kill)
    belongings.take_away("kaizen")
    assert ray.actors == [("kaizen", "theirs"), ("other", "fleet")]


@pytest.mark.parametrize("silent", [False, True])
def test_what_an_earlier_head_left_is_ended_before_a_start(ray: Ray, silent: bool) -> None:
    ray.silent = silent
    belongings.clear_leftovers(Settings())
    assert ray.actors == [("kaizen", "theirs"), ("other", "fleet")]


def test_a_fleet_that_is_starting_anew_is_somebodys(ray: Ray, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(*_: object, **__: object) -> None:
        raise ActorUnavailableError("it is starting anew", b"0" * 16)

    monkeypatch.setattr(ray, "get", unavailable)
    with pytest.raises(Unavailable, match="being restarted"):
        belongings.clear_leftovers(Settings())
    assert ray.ended == []


def test_another_installation_in_the_same_namespace_is_left_alone(ray: Ray) -> None:
    ray.ledger = "postgresql+psycopg://their/ledger"
    with pytest.raises(Conflict, match="'kaizen'"):
        belongings.clear_leftovers(Settings())
    assert ray.ended == []
