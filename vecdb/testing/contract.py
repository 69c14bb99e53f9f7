"""The contract as a pytest class."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from vecdb.embedder import EmbedderInfo
from vecdb.errors import InvalidInputError
from vecdb.plugins import Plugins
from vecdb.testing.case import ContractCase, NotApplicableError
from vecdb.testing.checks import CHECKS, Check


class EmbedderContract:
    """What an embedder must hold to: one test a clause. Subclass it under a name that starts with `Test`.

        class TestGlove(EmbedderContract):
            info = INFO                                      # or: embedder = "glove", an installed one
            good = ["the king", "the queen", "a potato", "some water"]
            bad = ["qqq www"]                                # no known word
            runtime_change = {"threads": 2}
            vector_change = {"pooling": "mean"}
            near = ("the king", "the queen", "a potato")

            def set_up(self, folder: Path) -> None:          # only where files are needed
                vectors = folder / "vectors.txt"
                vectors.write_text(...)
                self.config = {"model": vectors}

    One clause alone: `pytest -k batch_invariance`. The message of a clause says what to do.

    Attributes:
        info: the embedder's `EmbedderInfo`.
        embedder: or its name, if its plugin is installed.
        config: its options.
        good: at least four different items; made-up ones where none are given.
        bad: items that must fail alone, beside those that no embedder can embed.
        runtime_change: options that must change neither the vectors nor the fingerprint.
        vector_change: options that must change the fingerprint.
        near: three items, the first nearer to the second than to the third.
    """

    info: EmbedderInfo | None = None
    embedder: str = ""
    config: Mapping[str, Any] = {}
    good: Sequence[Any] = ()
    bad: Sequence[Any] = ()
    runtime_change: Mapping[str, Any] = {}
    vector_change: Mapping[str, Any] = {}
    near: Sequence[Any] = ()

    _case: ClassVar[ContractCase]

    def set_up(self, folder: Path) -> None:
        """Override to make files in `folder` and set `self.config`, `self.good` and the others to them.

        Called once for the class; the folder lives as long as its tests.
        """

    @pytest.fixture
    def contract(self, tmp_path_factory: pytest.TempPathFactory) -> ContractCase:
        """The case, made once for the class: loading a model takes long."""
        cls = type(self)
        if "_case" not in vars(cls):
            self.set_up(tmp_path_factory.mktemp("contract", numbered=True))
            cls._case = ContractCase(
                self._info(),
                self.config,
                self.good,
                bad=self.bad,
                runtime_change=self.runtime_change,
                vector_change=self.vector_change,
                near=self.near,
            )
        return cls._case

    def _info(self) -> EmbedderInfo:
        if self.info is not None:
            return self.info
        if not self.embedder:
            raise InvalidInputError(f"{type(self).__name__} needs `info = ...` or `embedder = 'name'`; set one")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's broken plugins are not what is checked
            return Plugins().embedder(self.embedder)

    @pytest.mark.parametrize("clause", CHECKS, ids=lambda check: check.name)
    def test_contract(self, contract: ContractCase, clause: Check) -> None:
        """One clause of the contract."""
        try:
            clause.run(contract)
        except NotApplicableError as reason:
            pytest.skip(str(reason))
