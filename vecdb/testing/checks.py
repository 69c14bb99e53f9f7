"""All clauses of the contract, and running them without pytest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vecdb.embedder import EmbedderInfo
from vecdb.errors import VecdbError
from vecdb.testing.case import ContractCase, ContractError, NotApplicableError
from vecdb.testing.clauses import behaviour, declaration, output


@dataclass(frozen=True, slots=True)
class Check:
    """A clause: its name, and the function that checks it."""

    name: str
    run: Callable[[ContractCase], None]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How a check went. `passed` is None where it could not be made; `message` says why, or what to do."""

    name: str
    passed: bool | None
    message: str = ""


CHECKS: tuple[Check, ...] = tuple(
    Check(clause.__name__, clause)
    for clause in (
        declaration.description,
        declaration.options,
        declaration.cheap_import,
        declaration.weights,
        declaration.fingerprint,
        declaration.runtime_options,
        declaration.vector_options,
        output.dimension,
        output.shape,
        output.finite,
        output.order,
        output.batch_invariance,
        output.determinism,
        output.distinct,
        output.roles,
        output.nearness,
        behaviour.isolation,
        behaviour.truncation,
        behaviour.offline,
        behaviour.silence,
        behaviour.side_effects,
        behaviour.input_unchanged,
        behaviour.reuse,
        behaviour.threads,
    )
)


def run_contract(
    info: EmbedderInfo,
    options: Mapping[str, Any] | None = None,
    items: Sequence[Any] | None = None,
    *,
    bad: Sequence[Any] = (),
    runtime_change: Mapping[str, Any] | None = None,
    vector_change: Mapping[str, Any] | None = None,
    near: Sequence[Any] = (),
) -> list[CheckResult]:
    """Check an embedder without pytest.

    Args:
        info, options, bad, runtime_change, vector_change, near: as in `ContractCase`.
        items: the good items; made-up ones of its kind where None.

    Returns:
        One result a clause, in the order of `CHECKS`; a fault of the embedder is a result, never an
        exception.

    Raises:
        InvalidInputError: an option is wrong, or there are fewer than four different items.
        EmbedderUnavailableError: a library that it needs is missing.
    """
    info.check_available()
    case = ContractCase(
        info,
        options,
        items,
        bad=bad,
        runtime_change=runtime_change,
        vector_change=vector_change,
        near=near,
    )
    return [_result(check, case) for check in CHECKS]


def _result(check: Check, case: ContractCase) -> CheckResult:
    try:
        check.run(case)
    except NotApplicableError as reason:
        return CheckResult(check.name, None, str(reason))
    except Exception as error:  # noqa: BLE001  (whatever a plugin raises is the finding)
        known = isinstance(error, ContractError | VecdbError)
        return CheckResult(check.name, False, str(error) if known else f"{type(error).__name__}: {error}")
    return CheckResult(check.name, True)
