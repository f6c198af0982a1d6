"""Ranks agree on a round: members of a former one, late ones and replaced ones never come into it.

Processes are stepped by hand on one real store, so that each order of events is one that the test
chose.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from torch.distributed import Store, TCPStore

from microturn.training.fleet.beat import Beat
from microturn.training.fleet.rounds import Joining, MissingRanksError, Round
from microturn.training.fleet.watch import RankWatch


@pytest.fixture
def store() -> Store:
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def join(store: Store, *ranks: int, n: int) -> list[Joining]:
    return [Joining(store, rank=rank, n_ranks=n) for rank in ranks]


def come_together(*processes: Joining) -> list[Round | None]:
    """Step them in turn until nothing changes; what each ends with."""
    found: dict[int, Round] = {}
    for _ in range(4):
        for place, process in enumerate(processes):
            if place not in found and (there := process.step()) is not None:
                found[place] = there
    return [found.get(place) for place in range(len(processes))]


def numbers(found: list[Round | None]) -> list[int | None]:
    return [there and there.number for there in found]


def test_ranks_that_join_in_any_order_are_in_one_round_with_an_empty_store(store: Store) -> None:
    two, zero = join(store, 2, 0, n=3)
    assert come_together(two, zero) == [None, None]
    (one,) = join(store, 1, n=3)
    found = come_together(two, one, zero)
    assert numbers(found) == [1, 1, 1]
    assert [len(there.members) for there in found if there] == [3, 3, 3]
    assert found[0] is not None
    assert found[2] is not None
    found[0].store.set("address", "of rank 2")
    assert found[2].store.get("address") == b"of rank 2"
    again = come_together(*join(store, 0, 1, 2, n=3))
    assert numbers(again) == [2, 2, 2]
    assert again[0] is not None
    assert not again[0].store.check(["address"])


@pytest.mark.parametrize("first", [0, 1])
def test_a_rank_that_is_started_again_waits_for_those_of_the_former_round(
    first: int, store: Store
) -> None:
    """The other one trains in its round until it notices; only then is it started again."""
    assert numbers(come_together(*join(store, 0, 1, n=2))) == [1, 1]
    (early,) = join(store, first, n=2)
    assert come_together(early) == [None]
    (late,) = join(store, 1 - first, n=2)
    found = come_together(early, late)
    assert found[0] is not None
    assert numbers(found) == [found[0].number] * 2
    assert found[0].number > 1


def test_who_is_started_again_before_the_round_began_takes_nobody_into_an_old_one(
    store: Store,
) -> None:
    zero, one = join(store, 0, 1, n=2)
    assert zero.step() is None
    assert one.step() is None  # has accepted
    (one_again,) = join(store, 1, n=2)
    with pytest.raises(OSError, match="rank 1 was started again while this process of it waited"):
        one.step()
    found = come_together(zero, one_again)
    assert numbers(found) == [2, 2]


def test_a_member_that_comes_late_to_a_started_round_waits_for_the_next(store: Store) -> None:
    zero, one, two = join(store, 0, 1, 2, n=3)
    for process in (zero, one, two):
        assert process.step() is None
    started = zero.step()
    assert started is not None
    (two_again,) = join(store, 2, n=3)
    assert come_together(one, two_again) == [None, None]  # rank 0 is in a round that is over
    (zero_again,) = join(store, 0, n=3)
    assert numbers(come_together(one, two_again, zero_again)) == [2, 2, 2]


def test_a_proposal_of_a_former_first_rank_is_replaced(store: Store) -> None:
    """The former one was stopped between its look at the newest processes and its proposal."""
    former, one = join(store, 0, 1, n=2)
    look, news = former._newest, []

    def be_stopped() -> list[int] | None:
        seen = look()
        if not news:
            news.extend(join(store, 0, n=2))
            assert come_together(*news) == [None]
        return seen

    former._newest = be_stopped  # type: ignore[method-assign]
    assert former.step() is None
    with pytest.raises(OSError, match="rank 0 was started again"):
        former.step()
    found = come_together(one, *news)
    assert found[0] is not None
    assert numbers(found) == [found[0].number] * 2


def test_missing_ranks_are_named(store: Store) -> None:
    zero, one = join(store, 0, 1, n=4)
    for process in (zero, one):
        with pytest.raises(MissingRanksError, match="^ranks 2 to 3 did not come$") as error:
            process.wait(0.0)
        assert error.value.ranks == [2, 3]
    three_of_four = join(store, 2, 3, n=4)
    assert numbers(come_together(zero, one, *three_of_four)) == [1] * 4
    (two_again,) = join(store, 2, n=4)
    with pytest.raises(MissingRanksError, match=r"^rank 0 \(.*, process \d+\) came to a former"):
        two_again.wait(0.0)
    (zero_again,) = join(store, 0, n=4)
    for process in (zero_again, two_again):
        process.step()
    with pytest.raises(MissingRanksError, match="^ranks 1, 3 ") as error:
        zero_again.wait(0.0)
    assert error.value.ranks == [1, 3]


def test_a_member_without_a_first_beat_is_silent(store: Store) -> None:
    """It was lost between the start of its round and its first sign of life."""
    members = [Beat(number=0, host="node7", process=rank) for rank in range(2)]
    ends: list[int] = []
    watch = RankWatch(store, rank=0, world_size=2, limit_s=2.0, members=members, end=ends.append)
    watch.start()
    end_s = time.monotonic() + 60
    while not ends and time.monotonic() < end_s:
        time.sleep(0.05)
    watch.leave()
    assert ends == [75]


# --- any order of events -------------------------------------------------------------------------
@dataclass
class Started:
    """A process, the round that it is in, and whether it lives."""

    joining: Joining
    there: Round | None = None
    lives: bool = True


class Between:
    """A store that lets something happen before each of its operations."""

    def __init__(self, store: Any, happens: Callable[[], None]) -> None:
        self._store, self._happens = store, happens

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._store, name)

        def work(*args: Any) -> Any:
            self._happens()
            return operation(*args)

        return work


class Job:
    """Ranks that are lost, started again and stepped at random, in the midst of a step too."""

    def __init__(self, store: Store, n: int, seed: int) -> None:
        self.store, self.n, self.random = store, n, random.Random(seed)
        self.now: list[Started] = []
        self.all: list[Started] = []
        self.depth, self.lossy = 0, True
        for rank in range(n):
            self.now.append(self.start(rank))

    def start(self, rank: int) -> Started:
        one = Started(Joining(self.store, rank=rank, n_ranks=self.n))
        one.joining._store = Between(one.joining._store, self.happens)  # type: ignore[assignment]
        self.all.append(one)
        return one

    def happens(self) -> None:
        if self.depth < 2 and self.lossy and self.random.random() < 0.15:
            self.depth += 1
            rank = self.random.randrange(self.n)
            if self.random.random() < 0.3:
                self.start_again(rank)
            else:
                self.step(self.random.choice(self.all))
            self.depth -= 1

    def start_again(self, rank: int) -> None:
        """The former process may live on for a while, as one of a machine that was cut off."""
        self.now[rank].lives = self.random.random() < 0.5
        self.now[rank] = self.start(rank)

    def step(self, one: Started) -> None:
        if not one.lives or one.there is not None:
            return
        try:
            there = one.joining.step()
        except OSError:
            one.lives = False
            return
        if one.lives:  # it may have been lost in the midst
            one.there = one.there or there

    def is_over(self, there: Round) -> bool:
        """What a watch finds: members of the round that are not in it."""
        inside = [one for one in self.now if one.there and one.there.number == there.number]
        return len(inside) < self.n


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_all_ranks_end_in_one_round(seed: int, store: Store) -> None:
    n = 2 + seed % 3
    job = Job(store, n, seed)
    for _ in range(60):
        job.step(job.random.choice(job.all))
    job.lossy = False
    for turn in range(50):
        for one in [*job.all]:
            job.step(one)
        inside = {one.there.number if one.there else None for one in job.now}
        if len(inside) == 1 and None not in inside:
            break
        if turn % 5 == 4:  # the watch ends those whose round cannot go on
            for rank, one in enumerate(job.now):
                if one.there is not None and job.is_over(one.there):
                    job.start_again(rank)
    else:
        pytest.fail("they never came together")
    rounds: dict[int, dict[int, set[int]]] = {}
    for one in job.all:
        if one.there is not None:
            ranks = rounds.setdefault(one.there.number, {})
            ranks.setdefault(one.joining.rank, set()).add(one.joining.number)
    assert all(len(one) == 1 for ranks in rounds.values() for one in ranks.values())
