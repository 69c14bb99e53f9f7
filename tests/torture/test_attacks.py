"""The attacks fit vecdb as it is: a function that gets another name takes its crash point and its mutant along."""

from __future__ import annotations

import signal
import sys

import pytest

from tests.torture import breaking, crash_points, lives, mutants
from tests.torture.__main__ import MODULES
from tests.torture.processes import in_child

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are forks that know their files by /proc")


def test_every_crash_point_is_passed_by_something_that_the_campaign_does(tmp_path):
    ended = in_child(lambda: lives.learn(tmp_path))
    assert ended.status == 0, ended.output
    passed = {point for kind in ended.result.values() for point in kind["hits"]}
    assert set(crash_points.points()) - passed == set()
    assert set(crash_points.first_points()) <= set(crash_points.points())


def test_a_child_dies_where_it_is_armed_and_nowhere_before(tmp_path):
    def die():
        crash_points.install()
        crash_points.arm("after the index folder of a new database", 1)
        with lives.open_database(tmp_path / "new.vecdb"):
            return "it lived"

    assert in_child(die).status == -signal.SIGKILL
    assert sorted(path.name for path in (tmp_path / "new.vecdb").iterdir()) == ["index"]


@pytest.mark.parametrize("name", breaking.MUTANTS)
def test_a_mutant_finds_what_it_breaks_and_names_a_campaign(name):
    ended = in_child(lambda: mutants.apply(name))
    assert ended.status == 0, ended.output
    assert breaking.MUTANTS[name].campaign in MODULES


def test_no_mutant_outlives_its_child():
    in_child(lambda: mutants.apply("labels-reused"))
    assert not mutants.applied()
