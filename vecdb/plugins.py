"""Finding and loading plugins, each on its own: a broken one costs a warning and nothing else."""

from __future__ import annotations

import difflib
import importlib.metadata
import os
import re
import threading
import warnings
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import pluggy

from vecdb import hookspecs
from vecdb.embedder import EmbedderInfo
from vecdb.errors import EmbedderNotFoundError, PluginConflictError, PluginLoadError, PluginWarning, shown

BUNDLED = "vecdb-engine"
_LOAD = "VECDB_LOAD_PLUGINS"
_STRICT = "VECDB_STRICT_PLUGINS"


@dataclass(frozen=True, slots=True)
class PluginStatus:
    """One plugin, as `vecdb plugins` lists it.

    Attributes:
        name: of its entry point, or the name it was registered by.
        distribution, version: what was installed; "" for a plugin registered in this process.
        module: where its hooks are.
        embedders: names of the embedders it offers, sorted.
        error: why it could not be loaded, or None.
        bundled: whether it comes with vecdb.
    """

    name: str
    distribution: str
    version: str
    module: str
    embedders: tuple[str, ...] = ()
    error: str | None = None
    bundled: bool = False

    @property
    def title(self) -> str:
        """How messages call it."""
        source = f"of {self.distribution} {self.version}" if self.distribution else f"({self.module})"
        return f"plugin {self.name!r} {source}".rstrip()


class Plugins:
    """The plugins of one database or program. Nothing is imported before first use.

    Args:
        load: names of the entry points to load, and no others; empty: those bundled with vecdb only.
            None: what the environment variable VECDB_LOAD_PLUGINS says ("a,b"); if it is not set, all.
        strict: raise `PluginLoadError` for a broken plugin, where otherwise a `PluginWarning` is given
            and the others work. None: whether the environment variable VECDB_STRICT_PLUGINS is "1".
    """

    def __init__(self, *, load: Iterable[str] | None = None, strict: bool | None = None) -> None:
        if load is None and _LOAD in os.environ:
            load = [name.strip() for name in os.environ[_LOAD].split(",") if name.strip()]
        self._load = None if load is None else frozenset(load)
        self._strict = os.environ.get(_STRICT) == "1" if strict is None else strict
        self._manager = pluggy.PluginManager("vecdb")
        self._manager.add_hookspecs(hookspecs)
        self._lock = threading.RLock()
        self._found = False
        self._plugins: dict[str, PluginStatus] = {}
        self._objects: dict[str, object] = {}
        self._causes: dict[str, Exception] = {}
        self._offers: dict[str, list[tuple[EmbedderInfo, PluginStatus]]] = {}

    def register(self, plugin: object, name: str | None = None) -> None:
        """Add a plugin of this process: a module or an object with hooks.

        Args:
            plugin: has functions marked with `vecdb.hookimpl`.
            name: how messages call it; by default the module's or the class's name.

        Raises:
            PluginLoadError: it is broken, or the name is taken.
        """
        module = plugin.__name__ if isinstance(plugin, ModuleType) else type(plugin).__module__
        known_as = name or (module if isinstance(plugin, ModuleType) else type(plugin).__qualname__)
        status = PluginStatus(known_as, "", "", module)
        with self._lock:
            self._find()
            if known_as in self._plugins:
                raise PluginLoadError(f"a plugin {known_as!r} exists already; give another name", plugin=known_as)
            try:
                self._add(plugin, status)
            except Exception as error:
                raise _load_error(status, error) from error

    def embedders(self) -> tuple[EmbedderInfo, ...]:
        """The embedders of all plugins, sorted by name; those whose name two plugins claim are left out."""
        with self._lock:
            self._find()
            return tuple(offers[0][0] for _, offers in sorted(self._offers.items()) if len(offers) == 1)

    def embedder(self, name: str) -> EmbedderInfo:
        """The embedder of this name.

        Raises:
            EmbedderNotFoundError: no plugin offers it.
            PluginConflictError: two plugins offer it.
            PluginLoadError: the plugin of this name is broken; the cause is chained.
        """
        with self._lock:
            self._find()
            offers = self._offers.get(name, [])
            if len(offers) == 1:
                return offers[0][0]
            raise self._conflict(name) if offers else self._not_found(name)

    def add_commands(self, cli: Any) -> None:
        """Let each plugin add its commands to a `click.Group`.

        A plugin that fails, or replaces a command that exists, adds none, and a `PluginWarning` says so.
        """
        with self._lock:
            self._find()
            for name, plugin in self._objects.items():
                before = dict(cli.commands)
                known = {*before, *cli.list_commands(cli.context_class(cli))}  # also those that a group loads late
                try:
                    self._hooks_of(plugin, "vecdb_register_commands")(cli=cli)
                    taken = sorted(key for key in known if cli.commands.get(key) is not before.get(key))
                    if taken:
                        raise PluginLoadError(f"it replaces the command {', '.join(taken)}, which exists already")
                except Exception as error:  # noqa: BLE001  (a plugin's code)
                    cli.commands.clear()
                    cli.commands.update(before)
                    self._report(_load_error(self._plugins[name], error), error)

    def listing(self) -> tuple[PluginStatus, ...]:
        """All plugins, the broken ones and those in conflict too, sorted by name."""
        with self._lock:
            self._find()
            conflicts = {name for name, offers in self._offers.items() if len(offers) > 1}
            found = [
                replace(status, error=str(self._conflict(min(conflicts & set(status.embedders)))))
                if conflicts & set(status.embedders)
                else status
                for status in self._plugins.values()
            ]
            return tuple(sorted(found, key=lambda status: (status.name, status.distribution)))

    # --- loading ---

    def _find(self) -> None:
        """Load the entry points, once."""
        if self._found:
            return
        self._found = True
        try:
            points = _entry_points()
            for point in points:
                self._load_entry_point(point)
            self._check_wanted({point.name for point in points})
            conflicts = [name for name, offers in self._offers.items() if len(offers) > 1]
            if self._strict and conflicts:
                raise self._conflict(min(conflicts))
        except BaseException:
            self._found = False
            raise

    def _load_entry_point(self, point: importlib.metadata.EntryPoint) -> None:
        distribution = point.dist.name if point.dist else ""
        version = point.dist.version if point.dist else ""
        bundled = _canonical(distribution) == BUNDLED
        wanted = self._load is None or (point.name in self._load if self._load else bundled)
        key = self._key(point.name, distribution)
        if not wanted or key in self._plugins:
            return
        status = PluginStatus(point.name, distribution, version, point.value, bundled=bundled)
        try:
            self._add(point.load(), status, key=key)
        except Exception as error:  # noqa: BLE001  (a plugin's code)
            self._report(_load_error(status, error), error)
            self._plugins[key] = replace(status, error=f"{type(error).__name__}: {error}")
            self._causes[key] = error

    def _check_wanted(self, installed: Collection[str]) -> None:
        missing = ", ".join(sorted((self._load or frozenset()) - set(installed)))
        if not missing:
            return
        message = (
            f"no installed plugin is called {missing}; installed are: {', '.join(sorted(installed)) or 'none'}; "
            f"correct `load` or {_LOAD}"
        )
        if self._strict:
            raise PluginLoadError(message, plugin=missing)
        warnings.warn(PluginWarning(message), stacklevel=4)

    def _key(self, name: str, distribution: str) -> str:
        """The plugin's name; with its distribution where another one has used the name."""
        taken = self._plugins.get(name)
        return name if taken is None or taken.distribution == distribution else f"{name} ({distribution})"

    def _add(self, plugin: object, status: PluginStatus, *, key: str | None = None) -> None:
        """Register a plugin and ask for its embedders, or leave nothing of it."""
        key = key or status.name
        known = any(plugin is other for other in self._objects.values())
        if known:
            raise PluginLoadError("it is registered already under another name")
        try:
            self._manager.register(plugin, name=key)
            self._manager.check_pending()
            infos = self._infos(plugin)
        except BaseException:
            # A plugin whose second hook is malformed stays registered, with its first hook live.
            if self._manager.has_plugin(key):
                self._manager.unregister(name=key)
            raise
        self._objects[key] = plugin
        self._plugins[key] = found = replace(status, embedders=tuple(sorted(info.name for info in infos)))
        for info in infos:
            self._offers.setdefault(info.name, []).append((info, found))

    def _infos(self, plugin: object) -> list[EmbedderInfo]:
        infos: list[EmbedderInfo] = []
        for offered in self._hooks_of(plugin, "vecdb_register_embedders")():
            if isinstance(offered, EmbedderInfo):
                raise PluginLoadError("vecdb_register_embedders returned one EmbedderInfo; return a list of them")
            infos += offered
        for info in infos:
            if not isinstance(info, EmbedderInfo):
                raise PluginLoadError(f"vecdb_register_embedders returned {info!r}, which is not an EmbedderInfo")
        names = [info.name for info in infos]
        if len(set(names)) < len(names):
            raise PluginLoadError(f"it offers one name twice: {', '.join(sorted(names))}")
        return infos

    def _hooks_of(self, plugin: object, hook: str) -> Any:
        """The caller of one hook for one plugin only: pluggy loses the results of all if one raises."""
        others = [other for other in self._manager.get_plugins() if other is not plugin]
        return self._manager.subset_hook_caller(hook, others)

    # --- telling ---

    def _report(self, problem: PluginLoadError, cause: Exception) -> None:
        if self._strict:
            raise problem from cause
        warnings.warn(PluginWarning(str(problem)), stacklevel=3)

    def _conflict(self, name: str) -> PluginConflictError:
        offers = [status for _, status in self._offers[name]]
        others = {status.name for status in offers[1:]}
        rest = ",".join(sorted(status.name for status in self._plugins.values() if status.name not in others))
        return PluginConflictError(
            f"the embedder {name!r} is offered by {' and '.join(status.title for status in offers)}; "
            f"uninstall one of them, or choose with {_LOAD}={rest}",
            name=name,
            distributions=[status.distribution or status.name for status in offers],
        )

    def _not_found(self, name: str) -> Exception:
        installed = sorted(self._offers)
        message = f"no installed plugin offers the embedder {shown(name)}"
        for key, cause in self._causes.items():
            if self._plugins[key].name == name:
                problem = _load_error(self._plugins[key], cause, f"{message}: ")
                problem.__cause__ = cause
                return problem
        if self._causes:
            broken = ", ".join(self._plugins[key].title for key in self._causes)
            message += f" ({broken} could not be loaded and may have offered it)"
        if nearest := difflib.get_close_matches(name[:200], installed, 1):
            message += f"; did you mean {nearest[0]!r}?"
        return EmbedderNotFoundError(
            f"{message}; installed are: {', '.join(installed) or 'none'}; install the plugin that has it", name=name
        )


def _entry_points() -> list[importlib.metadata.EntryPoint]:
    """The entry points of the group, those of vecdb first; one that a distribution has twice (an
    editable installation beside a leftover wheel) stands once.
    """
    found = {
        (point.dist and _canonical(point.dist.name), point.name, point.value): point
        for point in reversed(tuple(importlib.metadata.entry_points(group=hookspecs.ENTRY_POINT_GROUP)))
    }
    ordered = sorted(found.items(), key=lambda item: (item[0][0] != BUNDLED, item[0][1], item[0][0] or ""))
    return [point for _, point in ordered]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _load_error(status: PluginStatus, error: Exception, prefix: str = "") -> PluginLoadError:
    return PluginLoadError(
        f"{prefix}{status.title} cannot be loaded: {type(error).__name__}: {error}; update or uninstall it",
        plugin=status.name,
        distribution=status.distribution,
    )
