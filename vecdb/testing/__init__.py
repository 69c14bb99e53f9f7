"""The conformance kit: what an embedder must hold to, as checks that an author runs.

In a test module:

    from vecdb.testing import EmbedderContract

    class TestMine(EmbedderContract):
        info = INFO
        good = ["four", "or more", "different", "items"]

Without pytest: `run_contract(info, options)`, which is also what `vecdb embedders check NAME` runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vecdb.testing.case import ContractCase, ContractError
from vecdb.testing.checks import CHECKS, CheckResult, run_contract

if TYPE_CHECKING:
    from vecdb.testing.contract import EmbedderContract

__all__ = ["CHECKS", "CheckResult", "ContractCase", "ContractError", "EmbedderContract", "run_contract"]


def __getattr__(name: str) -> Any:
    if name == "EmbedderContract":  # needs pytest, which run_contract does not
        from vecdb.testing.contract import EmbedderContract  # noqa: PLC0415

        return EmbedderContract
    raise AttributeError(f"module 'vecdb.testing' has no attribute {name!r}")
