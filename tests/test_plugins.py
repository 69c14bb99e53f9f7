"""Plugins are found by entry points and loaded one by one: a broken one costs a warning and nothing else."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import types
import warnings

import click
import pytest

import vecdb
from tests.embedding.lengths import INFO
from vecdb.errors import EmbedderNotFoundError, PluginConflictError, PluginLoadError, PluginWarning
from vecdb.plugins import Plugins

GOOD = """
from dataclasses import dataclass
import vecdb

@dataclass(frozen=True)
class Config:
    pass

@vecdb.hookimpl
def vecdb_register_embedders():
    return [
        vecdb.EmbedderInfo(
            name=name, summary="s", modalities={{"text"}}, config=Config, factory="nowhere:Nothing",
            distribution="{distribution}",
        )
        for name in {names!r}
    ]
"""
COMMAND = """
@vecdb.hookimpl
def vecdb_register_commands(cli):
    @cli.command()
    def {command}():
        pass
"""
_numbers = itertools.count()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution, as its files on the path: install("dist", "point", "source of the module")."""

    def install(distribution, point, source, *, version="1.0", folder="site"):
        module = f"vecdb_test_plugin_{next(_numbers)}"
        site = tmp_path / folder
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[vecdb]\n{point} = {module}\n")
        (site / f"{module}.py").write_text(source)
        monkeypatch.syspath_prepend(site)
        return module

    yield install
    for name in [name for name in sys.modules if name.startswith("vecdb_test_plugin_")]:
        del sys.modules[name]


def good(*names, distribution="good-one", command=None):
    return GOOD.format(names=names, distribution=distribution) + (COMMAND.format(command=command) if command else "")


def module(source, name="in_process"):
    made = types.ModuleType(name)
    sys.modules[name] = made
    exec(source, made.__dict__)
    return made


def names(plugins):
    return [info.name for info in plugins.embedders()]


def test_a_plugin_is_found_by_its_entry_point_and_imported_on_first_use(install):
    name = install("good-one", "mine", good("zebra", "aardvark"))
    plugins = Plugins(load=["mine"])
    assert name not in sys.modules
    assert names(plugins) == ["aardvark", "zebra"]
    assert plugins.embedder("zebra").name == "zebra"
    [status] = plugins.listing()
    assert (status.name, status.distribution, status.version, status.module) == ("mine", "good-one", "1.0", name)
    assert status.embedders == ("aardvark", "zebra")
    assert status.error is None
    assert not status.bundled


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_library", "No module named 'no_such_library'"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemError('bad day')", "bad day"),
        ("import vecdb\n@vecdb.hookimpl\ndef vecdb_register_embeders(): return []", "vecdb_register_embeders"),
        ("import vecdb\n@vecdb.hookimpl\ndef vecdb_register_embedders(argument): return []", "argument"),
        ("import vecdb\n@vecdb.hookimpl\ndef vecdb_register_embedders(): return ['name']", "not an EmbedderInfo"),
        ("import vecdb\n@vecdb.hookimpl\ndef vecdb_register_embedders(): return 7", "not iterable"),
        ("import vecdb\n@vecdb.hookimpl\ndef vecdb_register_embedders():\n    yield 1 / 0", "ZeroDivisionError"),
        (good("Bad Name"), "lower-case words"),
        (good("twice", "twice"), "one name twice"),
        (good("live") + "@vecdb.hookimpl\ndef vecdb_register_commands(wrong): pass", "wrong"),
    ],
    ids=["import", "syntax", "raises", "unknown-hook", "argument", "type", "number", "late", "name", "twice", "second"],
)
def test_a_broken_plugin_is_named_once_and_the_others_work(install, source, cause):
    install("bad-one", "broken", source, version="0.3")
    install("good-one", "mine", good("fine"))
    plugins = Plugins(load=["mine", "broken"], strict=False)
    with pytest.warns(PluginWarning) as caught:
        assert names(plugins) == ["fine"]
    [warning] = caught
    message = str(warning.message)
    assert "'broken' of bad-one 0.3" in message
    assert cause in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once, not each time
        assert [status.name for status in plugins.listing() if status.error] == ["broken"]
    with pytest.raises(PluginLoadError, match="bad-one") as strict:
        Plugins(load=["broken"], strict=True).embedders()
    assert strict.value.__cause__ is not None
    assert (strict.value.plugin, strict.value.distribution) == ("broken", "bad-one")


def test_strict_raises_each_time(install):
    install("bad-one", "broken", "1 / 0")
    plugins = Plugins(load=["broken"], strict=True)
    for _ in range(2):
        with pytest.raises(PluginLoadError):
            plugins.embedders()


def test_a_keyboard_interrupt_is_not_a_broken_plugin(install):
    install("slow-one", "slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        Plugins(load=["slow"]).embedders()


def test_an_unknown_embedder_names_the_nearest_and_the_installed(install):
    install("good-one", "mine", good("hashing", "glove"))
    with pytest.raises(EmbedderNotFoundError, match=r"did you mean 'hashing'.*glove, hashing") as found:
        Plugins(load=["mine"]).embedder("hasing")
    assert found.value.name == "hasing"


def test_an_unknown_embedder_that_a_broken_plugin_may_have_had(install):
    install("bad-one", "broken", "import no_such_library")
    plugins = Plugins(load=["broken"], strict=False)
    with pytest.warns(PluginWarning):
        plugins.embedders()
    with pytest.raises(EmbedderNotFoundError, match=r"bad-one .*may have offered"):
        plugins.embedder("anything")
    for _ in range(2):
        with pytest.raises(PluginLoadError, match="no installed plugin offers the embedder 'broken': plugin") as found:
            plugins.embedder("broken")
        assert isinstance(found.value.__cause__, ModuleNotFoundError)


def test_two_plugins_with_one_embedder_conflict_only_when_it_is_used(install):
    install("good-one", "mine", good("shared", "own"))
    install("other-one", "theirs", good("shared", distribution="other-one"))
    plugins = Plugins(load=["mine", "theirs"])
    assert names(plugins) == ["own"]
    with pytest.raises(PluginConflictError, match=r"good-one 1.0 and plugin 'theirs' of other-one") as found:
        plugins.embedder("shared")
    assert found.value.distributions == ("good-one", "other-one")
    assert names(Plugins(load=["theirs"])) == ["shared"]


def test_two_distributions_may_call_their_entry_points_alike(install):
    install("good-one", "alike", good("first"))
    install("other-one", "alike", good("second"))
    plugins = Plugins(load=["alike"])
    assert names(plugins) == ["first", "second"]
    assert [(status.name, status.distribution) for status in plugins.listing()] == [
        ("alike", "good-one"),
        ("alike", "other-one"),
    ]


def test_a_distribution_that_is_there_twice_does_not_conflict_with_itself(install):
    install("good-one", "mine", good("own"), folder="wheel")
    install("Good.One", "mine", good("own"), folder="editable", version="1.1")
    plugins = Plugins(load=["mine"])
    assert names(plugins) == ["own"]
    assert [status.version for status in plugins.listing()] == ["1.1"]


def test_the_environment_chooses_plugins(install, monkeypatch):
    install("good-one", "mine", good("fine"))
    install("other-one", "theirs", good("other"))
    monkeypatch.setenv("VECDB_LOAD_PLUGINS", " mine ,theirs")
    assert names(Plugins()) == ["fine", "other"]
    monkeypatch.setenv("VECDB_LOAD_PLUGINS", "mine")
    assert names(Plugins()) == ["fine"]
    monkeypatch.setenv("VECDB_LOAD_PLUGINS", "")
    assert all(status.bundled for status in Plugins().listing())
    monkeypatch.delenv("VECDB_LOAD_PLUGINS")
    assert {"mine", "theirs"} <= {status.name for status in Plugins().listing()}
    assert any(status.bundled and status.distribution == "vecdb-engine" for status in Plugins().listing())


def test_a_chosen_plugin_that_is_not_installed_is_told(install, monkeypatch):
    install("good-one", "mine", good("fine"))
    monkeypatch.setenv("VECDB_LOAD_PLUGINS", "mine,mien")
    with pytest.warns(PluginWarning, match="no installed plugin is called mien"):
        assert names(Plugins()) == ["fine"]
    monkeypatch.setenv("VECDB_STRICT_PLUGINS", "1")
    with pytest.raises(PluginLoadError, match="mien"):
        Plugins().embedders()


def test_a_plugin_of_this_process(monkeypatch):
    plugins = Plugins(load=["-"], strict=False)
    with pytest.warns(PluginWarning, match="is called -"):
        plugins.register(module(good("fine")))
    assert names(plugins) == ["fine"]
    [status] = plugins.listing()
    assert (status.name, status.distribution, status.module) == ("in_process", "", "in_process")
    with pytest.raises(PluginLoadError, match="exists already"):
        plugins.register(module(good("again")))
    with pytest.raises(PluginLoadError, match=r"'lame' .*ZeroDivisionError"):
        plugins.register(module("import vecdb\n@vecdb.hookimpl\ndef vecdb_register_embedders(): 1 / 0"), "lame")
    assert names(plugins) == ["fine"]


def test_plugins_share_nothing():
    one, other = Plugins(load=[]), Plugins(load=[])
    one.register(module(good("mine-alone")))
    assert "mine-alone" in names(one)
    assert "mine-alone" not in names(other)


def test_threads_that_ask_at_once_load_once(install):
    name = install("good-one", "mine", f"import {__name__} as t\nt.imports.append(1)\nimport time\ntime.sleep(0.05)")
    plugins = Plugins(load=["mine"])
    imports.clear()
    found = []
    threads = [threading.Thread(target=lambda: found.append(plugins.listing())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert imports == [1]
    assert [status.module for [status] in found] == [name] * 4


imports: list[int] = []


def test_commands_are_added_and_a_broken_or_greedy_plugin_adds_none(install):
    install("good-one", "a", good("one", command="shout"))
    install(
        "greedy-one",
        "b",
        "import vecdb\n"
        "@vecdb.hookimpl\n"
        "def vecdb_register_commands(cli):\n"
        "    cli.command('extra')(lambda: None)\n"
        "    cli.command('search')(lambda: None)\n",
    )
    install(
        "broken-one",
        "c",
        "import vecdb\n"
        "@vecdb.hookimpl\n"
        "def vecdb_register_commands(cli):\n"
        "    cli.command('half')(lambda: None)\n"
        "    raise OSError('no more')\n",
    )
    search = click.Command("search")
    cli = click.Group(commands={"search": search})
    with pytest.warns(PluginWarning) as caught:
        Plugins(load=["a", "b", "c"], strict=False).add_commands(cli)
    assert sorted(cli.commands) == ["search", "shout"]
    assert cli.commands["search"] is search
    messages = sorted(str(warning.message) for warning in caught)
    assert len(messages) == 2
    assert "'b' of greedy-one" in messages[0]
    assert "replaces the command search" in messages[0]
    assert "'c' of broken-one" in messages[1]


def test_a_command_that_the_group_loads_late_is_not_replaced(install):
    class LateGroup(click.Group):
        def list_commands(self, ctx):
            return ["search", *super().list_commands(ctx)]

    install("greedy-one", "b", "import vecdb\n" + COMMAND.format(command="search"))
    cli = LateGroup()
    with pytest.warns(PluginWarning, match="search"):
        Plugins(load=["b"], strict=False).add_commands(cli)
    assert cli.commands == {}


def test_listing_the_bundled_plugins_imports_no_heavy_library():
    code = (
        "import sys; from vecdb.plugins import Plugins; Plugins(load=[], strict=True).listing();"
        "heavy = {'sqlalchemy', 'hnswlib', 'soundfile', 'soxr', 'torch', 'click'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_conflict_is_listed_at_both_and_strict_raises_it():
    class One:
        @vecdb.hookimpl
        def vecdb_register_embedders(self):
            return [INFO]

    class Other(One):
        pass

    plugins = Plugins(load=[])
    plugins.register(One(), "one")
    plugins.register(Other(), "other")
    errors = {status.name: status.error for status in plugins.listing() if status.error}
    assert set(errors) == {"one", "other"}
    assert all(repr(INFO.name) in error for error in errors.values())


def test_one_description_instead_of_a_list_is_named():
    class Single:
        @vecdb.hookimpl
        def vecdb_register_embedders(self):
            return INFO

    with pytest.raises(PluginLoadError, match="return a list"):
        Plugins(load=[]).register(Single())
