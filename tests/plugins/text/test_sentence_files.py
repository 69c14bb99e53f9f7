"""`sentence-transformers` and `bert`: files that are missing, damaged or hostile; names on the hub; libraries."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from types import SimpleNamespace

import pytest

import vecdb
from tests.plugins.text import transformer_models as models
from vecdb_text.transformer.model_files import deciding, weight_files

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")
NAMES = ("sentence-transformers", "bert")
Unavailable = vecdb.EmbedderUnavailableError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return models.sentence_folder(tmp_path_factory.mktemp("files") / "model")


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "model")


def load_fails(folder, problem, names=NAMES, **options):
    for name in names:
        embedder = models.embedder(name, folder, **options)
        for _ in range(2):  # the second time it has not become half loaded
            with pytest.raises(Unavailable, match=problem) as caught:
                embedder.load()
        assert "\n" not in str(caught.value)


class TestWeights:
    def test_are_the_files_that_decide_the_vectors(self, folder):
        for name in ("README.md", "training_args.bin", "LICENSE.txt", "pytorch_model.bin", "data_config.json"):
            (folder / name).write_text("{}")
        (folder / "onnx").mkdir()
        (folder / "onnx" / "model.onnx").write_text("")
        names = {path.relative_to(folder).as_posix() for path in models.embedder(NAMES[0], folder).weights()}
        assert names == {
            "1_Pooling/config.json",
            "2_Normalize/config.json",
            "config.json",
            "config_sentence_transformers.json",
            "model.safetensors",
            "modules.json",
            "sentence_bert_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
        }

    def test_pickled_weights_count_only_where_there_are_no_safe_ones(self):
        from pathlib import PurePosixPath as Path

        assert deciding(map(Path, ["pytorch_model.bin", "2_Dense/pytorch_model.bin", "2_Dense/model.safetensors"])) == [
            Path("2_Dense/model.safetensors"),
            Path("pytorch_model.bin"),
        ]

    def test_a_changed_prompt_or_length_changes_the_fingerprint(self, folder):
        before = models.host(NAMES[0], folder).fingerprint()
        models.edit_json(folder / "config_sentence_transformers.json", prompts={"query": "x", "document": ""})
        assert models.host(NAMES[0], folder).fingerprint() != before


class TestFolders:
    def test_a_missing_folder(self, tmp_path):
        load_fails(tmp_path / "none", r"the model folder .*none does not exist; put the model's files there")
        with pytest.raises(Unavailable, match="does not exist"):
            models.host(NAMES[0], tmp_path / "none").fingerprint()

    def test_a_folder_without_a_model(self, tmp_path):
        (tmp_path / "notes.txt").write_text("notes")
        load_fails(tmp_path, r"holds no model \(none of config.json, .*\); give the folder that these are in")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
    @pytest.mark.parametrize("name", ["modules.json", "1_Pooling/config.json", "tokenizer.json"])
    def test_a_pipe_is_not_waited_on(self, folder, name):
        (folder / name).unlink()
        os.mkfifo(folder / name)
        load_fails(folder, "is a pipe or a device; put the model's own file there")

    def test_truncated_weights(self, folder):
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        load_fails(folder, "cannot be used: .*; fetch its files again")

    @pytest.mark.parametrize("text", ["{", "[]", "{}", '{"model_type": "nonesuch"}'])
    def test_a_corrupt_config(self, folder, text):
        (folder / "config.json").write_text(text)
        load_fails(folder, "cannot be used: .*; fetch its files again")

    def test_a_corrupt_tokenizer(self, folder):
        (folder / "tokenizer.json").write_text('{"version": "1.0"')
        load_fails(folder, "cannot be used: .*; fetch its files again")

    def test_weights_that_are_lacking_are_not_made_up(self, folder):
        from safetensors.torch import load_file, save_file

        weights = load_file(folder / "model.safetensors")
        del weights["encoder.layer.1.output.dense.weight"]
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        load_fails(folder, r"its files lack 1 of its weights, the first is encoder\.layer\.1\.output\.dense\.weight")

    def test_a_pickle_in_disguise_is_not_run(self, folder, monkeypatch):
        monkeypatch.chdir(folder)
        (folder / "model.safetensors").unlink()
        hostile = b"cos\nmkdir\n(Vran\ntR."
        pickle.loads(hostile)
        (folder / "ran").rmdir()  # it does run where it is let
        for disguise in ("pickle", "archive"):
            target = folder / "pytorch_model.bin"
            if disguise == "pickle":
                target.write_bytes(hostile)
            else:
                with zipfile.ZipFile(target, "w") as archive:
                    archive.writestr("archive/data.pkl", hostile)
                    archive.writestr("archive/version", "3")
            load_fails(folder, "cannot be used: .*; fetch its files again")
        assert not (folder / "ran").exists()

    def test_code_in_the_folder_is_not_run(self, folder):
        (folder / "mine.py").write_text("raise SystemExit('it ran')")
        models.edit_json(folder / "config.json", auto_map={"AutoModel": "mine.Model", "AutoConfig": "mine.Config"})
        models.edit_json(folder / "config.json", model_type="mine")
        load_fails(folder, "cannot be used")

    def test_a_module_from_elsewhere_is_not_imported(self, folder):
        modules = json.loads((folder / "modules.json").read_text())
        modules[1]["type"] = "mine.Pooling"
        (folder / "modules.json").write_text(json.dumps(modules))
        (folder / "mine.py").write_text("raise SystemExit('it ran')")
        load_fails(folder, "cannot be used", NAMES[:1])

    def test_a_device_that_is_not_there(self, folder):
        load_fails(folder, r"there is no device 'cuda:99' for torch .* here; there is .*cpu: choose", device="cuda:99")


class TestHub:
    @pytest.fixture
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        asked = []

        def refuse(host, *arguments, **options):
            asked.append(host)
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        self.asked = asked
        return tmp_path / "hub"

    @pytest.mark.parametrize("revision", [None, "v1", "a" * 40])
    def test_a_name_without_network_fails_at_once(self, cache, revision):
        start = time.monotonic()
        load_fails(
            "no-such/model",
            r"no folder 'no-such/model' here, .* cannot be fetched from the hub .*hf download no-such/model",
            revision=revision,
        )
        assert time.monotonic() - start < 60  # "at once" on a machine that does much else; endless retries take minutes
        assert self.asked

    def test_a_name_in_the_cache_needs_no_network(self, cache, made):
        commit = "b" * 40
        place = cache / "models--some--model"
        shutil.copytree(made, place / "snapshots" / commit)
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text(commit)
        for revision in (None, commit):
            for name in NAMES:
                host = models.host(name, "some/model", revision=revision)
                assert host.fingerprint() == models.host(name, made).fingerprint()
                with host:
                    assert len(host.embed(models.TEXTS).check()) == len(models.TEXTS)
        assert not self.asked

    def test_a_name_is_fetched_once_and_only_what_is_read(self, made, monkeypatch):
        asked = {}

        def from_cache(name, *, revision, local_files_only=False, allow_patterns=()):
            if local_files_only and not asked:
                raise FileNotFoundError
            asked.setdefault(name, allow_patterns)
            return str(made)

        names = [
            "README.md",
            "config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "onnx/model.onnx",
            "rust_model.ot",
        ]
        known = SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names])
        monkeypatch.setattr("huggingface_hub.snapshot_download", from_cache)
        monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda self, name, **options: known)
        for _ in range(2):
            assert models.host(NAMES[0], "some/model").fingerprint() == models.host(NAMES[0], made).fingerprint()
        assert asked == {"some/model": ["config.json", "model.safetensors"]}

    def test_a_snapshot_without_weights_is_no_model(self, cache):
        place = cache / "models--some--model"
        (place / "snapshots" / ("c" * 40)).mkdir(parents=True)
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text("c" * 40)
        load_fails("some/model", "cannot be fetched from the hub", NAMES[:1])


class TestLibraries:
    def test_a_missing_library_says_what_to_install(self, made, monkeypatch):
        found = importlib.util.find_spec

        def without(name, *arguments):
            return None if name in ("torch", "sentence_transformers") else found(name, *arguments)

        monkeypatch.setattr(importlib.util, "find_spec", without)
        with pytest.raises(Unavailable, match=r"needs torch, sentence_transformers: pip install 'vecdb-eng"):
            models.host(NAMES[0], made).embed(["a"])

    def test_a_library_that_does_not_import(self, made, monkeypatch):
        embedder = models.embedder(NAMES[0], made)
        monkeypatch.setitem(sys.modules, "sentence_transformers", None)
        with pytest.raises(Unavailable, match=r"sentence_transformers cannot be imported .*; pip install 'vecdb"):
            embedder.load()

    def test_a_torchvision_that_does_not_match_is_named(self, made, monkeypatch, tmp_path):
        package = tmp_path / "torchvision"
        package.mkdir()
        (package / "__init__.py").write_text("")
        broken = tmp_path / "sentence_transformers"
        broken.mkdir()
        (broken / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
        monkeypatch.syspath_prepend(str(tmp_path))
        for name in [name for name in sys.modules if name.partition(".")[0] == "sentence_transformers"]:
            monkeypatch.delitem(sys.modules, name)
        with pytest.raises(Unavailable, match=r"torchvision may not match your torch: uninstall, or"):
            models.embedder(NAMES[0], made).load()


def test_loading_leaves_the_process_as_it_is(made):
    import logging

    from transformers.utils import logging as bars

    def state():
        loggers = [logging.getLogger(name) for name in ("transformers", "sentence_transformers")]
        return (
            torch.get_num_threads(),
            torch.get_rng_state().tolist(),
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
            bars.is_progress_bar_enabled(),
            [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers],
        )

    before = state()
    for name in NAMES:
        with models.host(name, made) as host:
            host.embed(models.TEXTS).check()
    assert state() == before


def test_the_first_load_of_a_process_leaves_its_environment_as_it_is(made):
    code = (
        "import os, sys\n"
        "from tests.plugins.text import transformer_models as models\n"
        "before = dict(os.environ)\n"
        "models.embedder('bert', sys.argv[1]).load()\n"
        "sys.exit(str(set(os.environ) - set(before)) if os.environ != before else 0)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(made)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_threads_are_set_only_where_asked_for(made):
    before = torch.get_num_threads()
    try:
        with models.host(NAMES[0], made, threads=before + 1) as host:
            host.embed(["the dog"]).check()
            assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_weight_files_of_a_router_are_found_in_its_folders(tmp_path):
    folder = models.asymmetric_folder(tmp_path / "model")
    tensors = {path.relative_to(folder).as_posix() for path in weight_files(folder) if path.suffix == ".safetensors"}
    assert len(tensors) == 2
