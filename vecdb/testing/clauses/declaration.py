"""What a plugin says of its embedder: options, weights, and the fingerprint made of them."""

from __future__ import annotations

import json
from pathlib import Path

from vecdb.errors import InvalidInputError
from vecdb.options import affects, config_values, fields_of
from vecdb.testing.case import ContractCase, ContractError, NotApplicableError
from vecdb.testing.compare import SAME_AT_RUNTIME, require_close


def description(case: ContractCase) -> None:
    """The factory makes an `Embedder`, and making one is possible without loading it."""
    embedder = case.info.create(case.config)
    if embedder.config is not case.config:
        raise ContractError("`__init__` must keep the config it is given as `self.config`; call super().__init__")


def options(case: ContractCase) -> None:
    """Options survive being stored as JSON, and an unknown one is refused."""
    stored = json.loads(json.dumps(config_values(case.config, "vectors", "runtime", "location", "secret")))
    again = case.info.configure(stored)
    if again != case.config:
        raise ContractError(
            f"options change when stored as JSON and read again: {case.config} became {again}; "
            "use str, int, float, bool, Path and tuples of these"
        )
    try:
        case.info.configure({**case.options, "no_such_option_": 1})
    except InvalidInputError:
        return
    raise ContractError("an unknown option is accepted; leave `__init__` and `configure` to the dataclass")


def cheap_import(case: ContractCase) -> None:
    """Registering the plugin imports no model library."""
    heavy = case.from_other_process("heavy")
    if heavy:
        raise ContractError(
            f"registering the plugin imports {', '.join(heavy)}; import them in `load()`, and keep the "
            "config class and the hooks in a module without them"
        )


def weights(case: ContractCase) -> None:
    """Every file named by a location option is among the weights, so that its content is fingerprinted."""
    named = [
        Path(value)
        for field in fields_of(case.config)
        if affects(field) == "location"
        and isinstance(value := getattr(case.config, field.name), Path | str)
        and str(value)
        and Path(value).exists()
    ]
    if not named:
        raise NotApplicableError("no location option names a file that exists")
    covered = [Path(path).resolve() for path in case.info.create(case.config).weights()]
    for path in map(Path.resolve, named):
        if not any(path == other or other in path.parents or path in other.parents for other in covered):
            raise ContractError(f"weights() leaves out {path}; return every file whose content decides the vectors")



def fingerprint(case: ContractCase) -> None:
    """The fingerprint is the same for another instance, after loading, and in another process."""
    first = case.host().fingerprint()
    with case.host() as host:
        host.embed(case.good[:1]).check()
        loaded = host.fingerprint()
    other = case.from_other_process("fingerprint")
    if not first == loaded == other:
        raise ContractError(
            "the fingerprint differs between instances or processes; config values must not depend on the process, "
            "and `weights()` must name the same unchanged files each time, before and after `load`"
        )


def runtime_options(case: ContractCase) -> None:
    """Runtime options change neither the fingerprint nor the vectors."""
    if not case.runtime_change:
        raise NotApplicableError("no `runtime_change` given")
    changed = case.host(**case.runtime_change)
    if changed.fingerprint() != case.host().fingerprint():
        raise ContractError(
            f"{case.runtime_change} changes the fingerprint; declare these options with affects='runtime'"
        )
    with changed:
        require_close(
            case.vectors,
            changed.embed(case.good).check(),
            SAME_AT_RUNTIME,
            fault=f"with {case.runtime_change}",
            advice="declare these options with affects='vectors'",
        )


def vector_options(case: ContractCase) -> None:
    """Options that change the vectors change the fingerprint."""
    if not case.vector_change:
        raise NotApplicableError("no `vector_change` given")
    if case.host(**case.vector_change).fingerprint() == case.host().fingerprint():
        raise ContractError(
            f"{case.vector_change} does not change the fingerprint; declare these options with affects='vectors', "
            "or name the files they choose in `weights()`"
        )
