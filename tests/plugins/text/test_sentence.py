"""`sentence-transformers`: the library's own vectors, long texts, and images."""

from __future__ import annotations

import io
import socket
from pathlib import Path

import numpy as np
import pytest

import vecdb
from tests.plugins.text import transformer_models as models
from tests.plugins.text.transformer_models import LONG, MAX_LENGTH, TEXTS

library = pytest.importorskip("sentence_transformers")
NAME = "sentence-transformers"
PROMPTS = {"query": "query: ", "document": "one two three : "}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return models.sentence_folder(tmp_path_factory.mktemp("sentence") / "model")


@pytest.fixture(scope="module")
def prompted(tmp_path_factory):
    return models.sentence_folder(tmp_path_factory.mktemp("prompted") / "model", prompts=PROMPTS, normalise=False)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return models.clip_folder(tmp_path_factory.mktemp("clip") / "model")


def assert_same(ours, theirs):
    assert ours.shape == theirs.shape
    cosines = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosines.min() > 1 - 1e-5


def picture(colour, size=(40, 60), mode="RGB"):
    from PIL import Image, ImageDraw

    image = Image.new(mode, size, colour)
    ImageDraw.Draw(image).rectangle((5, 5, 20, 30), fill=(0,) * len(image.getbands()))
    return image


class TestTheLibrarysVectors:
    @pytest.mark.parametrize("role", ["document", "query"])
    @pytest.mark.parametrize("kind", ["plain", "prompts", "prompts left out of the pooling", "table", "asymmetric"])
    def test_are_given(self, kind, role, tmp_path):
        made = {
            "plain": models.sentence_folder,
            "prompts": lambda path: models.sentence_folder(path, prompts=PROMPTS),
            "prompts left out of the pooling": lambda path: models.sentence_folder(
                path, prompts=PROMPTS, include_prompt=False
            ),
            "table": models.static_folder,
            "asymmetric": models.asymmetric_folder,
        }[kind](tmp_path / "model")
        theirs = models.reference(made)
        texts = [*TEXTS, LONG]
        with models.host(NAME, made) as host:
            ours = host.embed(texts, role)
        assert_same(ours.check(), (theirs.encode_query if role == "query" else theirs.encode_document)(texts))
        assert (len(texts) - 1 in ours.truncated) == (kind != "table")

    def test_a_prompt_that_is_given_replaces_the_stored_one(self, prompted):
        theirs = models.reference(prompted)
        with models.host(NAME, prompted, query_prompt="the river ", document_prompt="") as host:
            assert_same(host.embed(TEXTS, "query").check(), theirs.encode(TEXTS, prompt="the river "))
            assert_same(host.embed(TEXTS).check(), theirs.encode(TEXTS, prompt=""))

    def test_dimension_keeps_the_first_numbers_at_length_1(self, folder, prompted):
        for path in (folder, prompted):
            theirs = models.reference(path).encode_document(TEXTS, truncate_dim=6, normalize_embeddings=True)
            with models.host(NAME, path, dimension=6) as host:
                ours = host.embed(TEXTS).check()
                assert host.dimension == 6
            assert_same(ours, theirs)
            assert np.linalg.norm(ours, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-6)

    def test_max_length_is_the_librarys_max_seq_length(self, folder):
        theirs = models.reference(folder)
        theirs.max_seq_length = 8
        with models.host(NAME, folder, max_length=8) as host:
            assert_same(host.embed([LONG]).check(), theirs.encode([LONG]))

    def test_max_length_beyond_what_the_model_has_positions_for_is_refused(self, folder):
        with models.host(NAME, folder, max_length=40) as host:
            assert not host.embed([LONG]).truncated
        with pytest.raises(vecdb.EmbedderUnavailableError, match=r"max_length=41; its own is 16: lower that option"):
            models.embedder(NAME, folder, max_length=41).load()

    def test_a_folder_of_transformers_alone_is_pooled_by_the_mean(self, tmp_path):
        made = models.bert_folder(tmp_path / "plain")
        with models.host(NAME, made) as host:
            assert_same(host.embed(TEXTS).check(), models.reference(made).encode(TEXTS))

    def test_bfloat16_is_near(self, folder):
        with models.host(NAME, folder) as exact, models.host(NAME, folder, dtype="bfloat16") as rough:
            cosines = (exact.embed(TEXTS).check() * rough.embed(TEXTS, metric="cosine").check()).sum(1)
            assert exact.fingerprint() == rough.fingerprint()
        assert 0.98 < cosines.min() < 0.9999999


class TestLongTexts:
    def test_the_first_part_is_what_the_library_sees_and_all_parts_are_the_whole_text(self, prompted):
        embedder = models.embedder(NAME, prompted)
        embedder.load()
        found = embedder.prepare(LONG)
        assert isinstance(found, vecdb.Windows)
        for role, encode in (("document", "encode_document"), ("query", "encode_query")):
            assert_same(embedder.encode(found.parts[:1], role), getattr(models.reference(prompted), encode)([LONG]))
        tokenizer = models.reference(prompted).tokenizer
        prompt = tokenizer(PROMPTS["document"])["input_ids"][1:-1]
        seen = [part.document[0].tolist() for part in found.parts]
        assert all(len(numbers) <= MAX_LENGTH for numbers in seen)
        assert all(numbers[1 : len(prompt) + 1] == prompt for numbers in seen)
        words = [number for numbers in seen for number in numbers[1 + len(prompt) : -1]]
        assert words == tokenizer(LONG, truncation=False)["input_ids"][1:-1]
        embedder.close()

    def test_a_model_that_tokenises_for_itself_gets_the_whole_text_in_pieces(self, tmp_path):
        embedder = models.embedder(NAME, models.asymmetric_folder(tmp_path / "model"))
        embedder.load()
        found = embedder.prepare(LONG)
        assert found.parts[0].text == LONG
        rest = "".join(part.text for part in found.parts[1:])
        assert LONG.endswith(rest)
        assert LONG.removesuffix(rest).split() == LONG.split()[: MAX_LENGTH - 2]
        embedder.close()

    def test_on_truncate_decides(self, folder):
        with models.host(NAME, folder) as host:
            marked = host.embed([TEXTS[0], LONG])
        with models.host(NAME, folder, on_truncate="error") as host:
            refused = host.embed([TEXTS[0], LONG])
        with models.host(NAME, folder, on_truncate="mean") as host:
            mean = host.embed([TEXTS[0], LONG])
        assert marked.truncated == (1,)
        assert [error.index for error in refused.errors] == [1]
        assert not mean.truncated
        assert np.allclose(mean.vectors[0], marked.vectors[0])
        assert not np.allclose(mean.vectors[1], marked.vectors[1], atol=1e-3)

    def test_text_without_spaces_is_cut_as_well(self, folder):
        with models.host(NAME, folder) as host:
            assert host.embed(["x" * 500]).truncated == ()  # one unknown word is one token
            assert host.embed(["." * 500]).truncated == (0,)

    def test_a_prompt_that_leaves_no_room_is_refused(self, folder):
        with pytest.raises(vecdb.InvalidInputError, match="leaves no room for a text within max_length=16"):
            models.embedder(NAME, folder, query_prompt="the dog " * 20).load()


class TestImages:
    def test_text_and_images_share_a_space_and_a_batch_holds_both(self, clip, tmp_path):
        red, blue = picture("red"), picture("blue", (90, 33))
        path = tmp_path / "blue.png"
        blue.save(path)
        items = ["a dog", vecdb.Image(red), "the river", path]
        theirs = models.reference(clip)
        texts = theirs.encode([{"text": items[0]}, {"text": items[2]}])
        images = theirs.encode([{"image": red}, {"image": blue}])
        with models.host(NAME, clip) as host:
            ours = host.embed(items).check()
        assert_same(ours[[0, 2]], texts)
        assert_same(ours[[1, 3]], images)

    def test_a_text_that_names_an_image_is_text(self, clip, tmp_path, monkeypatch):
        path = tmp_path / "a.png"
        picture("red").save(path)
        link = "http://a.b/c.png"

        def refuse(*arguments, **options):
            raise AssertionError("the network was asked")

        with models.host(NAME, clip, max_length=20) as host:
            host.embed(["a"]).check()
            monkeypatch.setattr(socket, "getaddrinfo", refuse)
            monkeypatch.setattr(socket.socket, "connect", refuse)
            monkeypatch.chdir(tmp_path)
            as_text = host.embed(["a.png", str(path), link]).check()
            as_image = host.embed([path]).check()[0]
        theirs = models.reference(clip).encode([{"text": "a.png"}, {"text": str(path)}, {"text": link}])
        assert_same(as_text, theirs)
        assert all(row @ as_image < 0.99 * np.linalg.norm(row) * np.linalg.norm(as_image) for row in as_text)

    def test_a_text_model_refuses_images_one_by_one(self, folder):
        with models.host(NAME, folder) as host:
            found = host.embed(["the dog", vecdb.Image(picture("red"))])
            assert [vector is None for vector in host.probe()].count(True) == 3
        [error] = found.errors
        assert error.index == 1
        assert "takes text only, not image; use a model that takes image" in str(error)

    @pytest.mark.parametrize(
        ("name", "image"),
        [
            ("grey", lambda: picture(200, mode="L")),
            ("alpha", lambda: picture((255, 0, 0, 128), mode="RGBA")),
            ("16 bit", lambda: picture(200 * 257, mode="I;16")),
            ("CMYK", lambda: picture((0, 80, 0, 0), mode="CMYK")),
            ("palette", lambda: picture("red").convert("P")),
        ],
    )
    def test_any_colours_become_rgb(self, name, image):
        from vecdb_text.transformer.images import read_image

        data = io.BytesIO()
        image().save(data, "TIFF")
        found = read_image(vecdb.Image(data.getvalue()))
        assert (found.mode, found.size) == ("RGB", (40, 60))
        wanted = {"grey": 200, "alpha": (255, 127, 127), "16 bit": 200, "CMYK": (255, 175, 255), "palette": (255, 0, 0)}
        assert np.abs(np.array(found.getpixel((38, 58))) - wanted[name]).max() <= 1

    def test_a_photo_is_turned_upright(self):
        from vecdb_text.transformer.images import read_image

        image, data = picture("red"), io.BytesIO()
        tags = image.getexif()
        tags[0x0112] = 6  # to be turned by a quarter
        image.save(data, "JPEG", exif=tags)
        assert read_image(vecdb.Image(data.getvalue())).size == (60, 40)

    def test_of_an_animation_the_first_frame_is_taken(self):
        from vecdb_text.transformer.images import read_image

        data = io.BytesIO()
        picture("red").save(data, "GIF", save_all=True, append_images=[picture("blue")])
        assert read_image(vecdb.Image(data.getvalue())).getpixel((38, 58)) == (255, 0, 0)

    def test_a_bomb_is_found_before_it_is_decoded(self):
        from vecdb.embedding.probe import png_bytes
        from vecdb_text.transformer.images import read_image

        small = png_bytes(np.zeros((1, 1, 3), np.uint8))
        import struct
        import zlib

        for width, height in ((10_000, 10_000), (200_000, 200_000)):
            header = b"IHDR" + struct.pack(">II", width, height) + small[24:29]
            data = small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
            with pytest.raises(vecdb.LimitError, match="more than 89 million; scale it down"):
                read_image(vecdb.Image(data))

    def test_a_long_file_is_refused_unread(self, tmp_path):
        from vecdb_text.transformer.images import read_image

        path = tmp_path / "long.webp"
        with path.open("wb") as file:
            file.write(b"RIFF\xff\xff\xff\xffWEBPVP8 ")
            file.truncate(3 << 30)  # takes no room on the disk, and would take twice as much memory
        with pytest.raises(vecdb.LimitError, match=r"is 3221225472 bytes long, .*; scale it down"):
            read_image(path)

    def test_pixels_that_are_no_numbers_are_a_decode_error(self):
        from PIL import Image

        from vecdb_text.transformer.images import read_image

        data = io.BytesIO()
        Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(data, "TIFF")
        with pytest.raises(vecdb.DecodeError, match="NaN or infinite"):
            read_image(vecdb.Image(data.getvalue()))

    def test_an_unknown_kind_is_named_alike_each_time(self):
        from vecdb_text.transformer.images import read_image

        with pytest.raises(vecdb.DecodeError, match=r"^the image is not one of AVIF, .*; convert it to PNG or JPEG"):
            read_image(vecdb.Image(b"text"))

    def test_what_is_no_image_is_a_decode_error(self, tmp_path):
        from vecdb_text.transformer.images import read_image

        data = io.BytesIO()
        picture("red", (300, 300)).save(data, "JPEG")
        drawing = tmp_path / "a.svg"
        drawing.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
        for item in (vecdb.Image(data.getvalue()[:600]), vecdb.Image(b""), vecdb.Image(b"text"), drawing):
            with pytest.raises(
                vecdb.DecodeError, match=r"(cannot be decoded|is not one of) .*; convert it to PNG or JPEG"
            ):
                read_image(item)


def test_options_out_of_range_are_refused():
    configure = models.INFOS[NAME].configure
    for options, problem in (
        ({"model": ""}, "model is empty"),
        ({"max_length": 1}, "max_length=1 must be 4 or more"),
        ({"device": "tpu"}, "device='tpu' must be auto, cpu, cuda"),
        ({"threads": -1}, "threads=-1 must be 0"),
        ({"dimension": 0}, "dimension=0 must be 1 or more"),
        ({"on_truncate": "cut"}, "must be one of"),
        ({"dtype": "int8"}, "must be one of"),
    ):
        with pytest.raises(vecdb.InvalidInputError, match=problem):
            configure({"model": "some/name", **options})


def test_a_name_is_a_folder_if_there_is_one(tmp_path, monkeypatch):
    (tmp_path / "org" / "name").mkdir(parents=True)
    configure = models.INFOS[NAME].configure
    assert configure({"model": "org/name"}).model == "org/name"
    monkeypatch.chdir(tmp_path)
    assert configure({"model": "org/name"}).model == Path("org/name")
    for place in ("./org/other", "/org/other", "a/b/c", "~/models"):
        assert isinstance(configure({"model": place}).model, Path)


def test_dimension_beyond_the_models_is_refused(folder):
    with pytest.raises(vecdb.EmbedderUnavailableError, match=r"vectors of 16 numbers, fewer than dimension=17; lower"):
        models.embedder(NAME, folder, dimension=17).load()
