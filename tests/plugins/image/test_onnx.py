"""ONNX networks are cut where their features are, and give what onnxruntime gives there uncut."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import vecdb
from tests.plugins.image.networks import SIZE, NetworkWriter, body, classifier, embedder, saved, values_of
from tests.plugins.image.pictures import item, scene
from tests.shared import needs_shared, shared
from vecdb_image.onnx_graph import Graph

PIXELS = np.random.default_rng(1).standard_normal((3, 3, SIZE, SIZE)).astype(np.float32)


def features_of(model, tmp_path, pixels=PIXELS, **options):
    return embedder(saved(model, tmp_path / "model.onnx"), **options)._network.features(pixels)


def cut_at(model) -> str:
    return Graph(model).features().tensor


def head(writer: NetworkWriter, kind: str) -> None:
    """Ways in which exporters write a classifier of 10 labels on 16 features."""
    if kind == "matmul-add":
        writer.add("MatMul", writer.random(16, 10))
        writer.add("Add", writer.random(10))
    elif kind == "transposed-weight":
        weight = writer.random(10, 16)
        value, writer.value = writer.value, weight
        transposed = writer.add("Transpose", perm=[1, 0])
        writer.value = value
        writer.add("MatMul", transposed)
    elif kind == "int8-weight":
        value = writer.value
        random = np.random.default_rng(2)
        writer.value = writer.stored(random.integers(-127, 127, (10, 16)).astype(np.int8))
        scale = writer.stored(np.full(10, 0.01, np.float32))
        weight = writer.add("DequantizeLinear", scale, writer.stored(np.zeros(10, np.int8)), axis=0)
        writer.value = value
        writer.add("Gemm", weight, transB=1)
    elif kind == "dropout":
        writer.add("Dropout")
        writer.add("Gemm", writer.random(10, 16), transB=1)


@pytest.mark.parametrize("kind", ["matmul-add", "transposed-weight", "int8-weight", "dropout"])
@pytest.mark.parametrize("softmax", [False, True])
def test_the_classifier_is_found_however_it_is_written(kind, softmax, tmp_path):
    writer = NetworkWriter()
    body(writer)
    head(writer, kind)
    if softmax:
        writer.add("Softmax")
    model = writer.model(["n", 3, SIZE, SIZE], {writer.value: ["n", 10]})
    found = features_of(model, tmp_path)
    assert found.shape == (3, 16)
    assert found == pytest.approx(values_of(model, "pooled_map", PIXELS), abs=1e-5)


def test_what_the_features_do_not_need_is_dropped():
    model = classifier()
    graph = Graph(model)
    graph.cut(graph.features())
    assert [node.op_type for node in model.graph.node] == [
        "Conv",
        "Relu",
        "Conv",
        "Relu",
        "GlobalAveragePool",
        "Flatten",
    ]
    assert len(model.graph.initializer) == 2
    assert cut_at(model) == "pooled_map"  # cut again: nothing more to take off


def residual(writer: NetworkWriter) -> None:
    writer.add("Conv", writer.random(16, 3, 3, 3), strides=[2, 2], pads=[1] * 4)
    shortcut = writer.value
    writer.add("Conv", writer.random(16, 16, 3, 3), pads=[1] * 4)
    writer.add("Add", shortcut)


@pytest.mark.parametrize("ending", ["pooling", "activation", "sum", "length-1"])
def test_a_network_without_a_classifier_is_taken_whole(ending, tmp_path):
    writer = NetworkWriter()
    residual(writer)
    if ending == "pooling":
        writer.add("GlobalAveragePool")
        writer.add("Flatten")
    elif ending == "activation":
        writer.add("Relu")
    elif ending == "length-1":
        writer.add("GlobalAveragePool")
        writer.add("Flatten")
        writer.add("Gemm", writer.random(16, 16), transB=1)
        value = writer.value
        length = writer.add("ReduceL2", axes=[1], keepdims=1)
        writer.value = value
        writer.add("Div", length)
    sides = [1, 1] if ending in ("pooling", "length-1") else [1] * 4
    model = writer.model(["n", 3, SIZE, SIZE], {writer.value: ["n", 16, *(["h", "w"] * (len(sides) == 4))]})
    found = features_of(model, tmp_path)
    whole = values_of(model, model.graph.output[0].name, PIXELS)
    assert found == pytest.approx(whole if whole.ndim == 2 else whole.mean(axis=(2, 3)), abs=1e-5)


def test_a_convolution_as_classifier_before_the_pooling_is_known_by_its_labels(tmp_path):
    """SqueezeNet ends so."""
    writer = NetworkWriter()
    body(writer)
    writer.value = "map"
    writer.add("Conv", writer.random(1000, 16, 1, 1))
    writer.add("Relu")
    writer.add("GlobalAveragePool")
    writer.add("Flatten", output="labels")
    model = writer.model(["n", 3, SIZE, SIZE], {"labels": ["n", 1000]})
    expected = values_of(model, "map", PIXELS).mean(axis=(2, 3))
    assert features_of(model, tmp_path) == pytest.approx(expected, abs=1e-5)


def test_an_output_that_is_called_features_is_taken(tmp_path):
    writer = NetworkWriter()
    body(writer)
    writer.add("Gemm", writer.random(12, 16), transB=1, output="image_embeds")
    writer.add("Gemm", writer.random(10, 12), transB=1, output="logits")
    model = writer.model(["n", 3, SIZE, SIZE], {"logits": ["n", 10], "image_embeds": ["n", 12]})
    assert features_of(model, tmp_path) == pytest.approx(values_of(model, "image_embeds", PIXELS), abs=1e-5)


@pytest.mark.parametrize(("layer", "tensor"), [("map", "map"), ("logits", "logits"), ("Relu_1", "v1")])
def test_another_layer_by_the_name_of_a_tensor_or_node(layer, tensor, tmp_path):
    model = classifier()
    expected = values_of(model, tensor, PIXELS)
    expected = expected.mean(axis=(2, 3)) if expected.ndim == 4 else expected
    assert features_of(model, tmp_path, layer=layer) == pytest.approx(expected, abs=1e-5)


def test_an_unknown_layer_names_some_that_there_are(tmp_path):
    with pytest.raises(vecdb.InvalidInputError, match=r"'pooled_mop'; near it: pooled_map.*last tensors are .*logits"):
        features_of(classifier(), tmp_path, layer="pooled_mop")


@pytest.mark.parametrize(("tokens", "first"), [(10, True), (9, False)])
def test_tokens_give_the_class_token_or_their_mean(tokens, first, tmp_path):
    writer = NetworkWriter()
    side = 3 * SIZE * SIZE
    writer.add("Flatten")
    writer.add("Gemm", writer.random(tokens * 8, side), transB=1)
    writer.add("Reshape", writer.stored(np.array([-1, tokens, 8])), output="tokens")
    writer.add("Relu")
    model = writer.model(["n", 3, SIZE, SIZE], {writer.value: ["n", tokens, 8]})
    whole = values_of(model, writer.value, PIXELS)
    assert features_of(model, tmp_path) == pytest.approx(whole[:, 0] if first else whole.mean(axis=1), abs=1e-5)


# --- inputs -------------------------------------------------------------------------------------


def test_channels_last_gives_what_channels_first_gives(tmp_path):
    plain = classifier()
    writer = NetworkWriter()
    writer.add("Transpose", perm=[0, 3, 1, 2])
    body(writer)
    writer.add("Gemm", writer.random(10, 16), transB=1, output="logits")
    turned = writer.model(["n", SIZE, SIZE, 3], {"logits": ["n", 10]})
    expected = features_of(plain, tmp_path)
    assert features_of(turned, tmp_path) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_network_for_batches_of_one_length(batch, tmp_path):
    assert features_of(classifier(batch=batch), tmp_path) == pytest.approx(
        features_of(classifier(), tmp_path), abs=1e-6
    )


@pytest.mark.parametrize(("kind", "cast"), [(TensorProto.UINT8, np.uint8), (TensorProto.FLOAT16, np.float16)])
def test_inputs_of_other_types(kind, cast, tmp_path):
    writer = NetworkWriter()
    writer.add("Cast", to=TensorProto.FLOAT)
    body(writer)
    writer.add("Gemm", writer.random(10, 16), transB=1, output="logits")
    model = writer.model(["n", 3, SIZE, SIZE], {"logits": ["n", 10]}, kind=kind)
    made = embedder(saved(model, tmp_path / "model.onnx"))
    prepared = made.prepare(item(scene()))
    pixels = made._network.preprocessing.normalised([prepared])
    if kind == TensorProto.UINT8:
        assert (pixels[0] == prepared).all()  # as they are: the network does the rest
    assert made.encode([prepared], "document") == pytest.approx(
        values_of(model, "pooled_map", pixels.astype(cast)), abs=1e-5
    )


def test_the_size_is_read_from_the_graph_or_224(tmp_path):
    fixed = embedder(saved(classifier(size=40), tmp_path / "fixed.onnx"))
    free = embedder(saved(classifier(size=None), tmp_path / "free.onnx"))
    assert fixed.prepare(item(scene())).shape == (3, 40, 40)
    assert free.prepare(item(scene())).shape == (3, 224, 224)
    chosen = embedder(tmp_path / "free.onnx", size=96)
    assert chosen.prepare(item(scene())).shape == (3, 96, 96)
    with pytest.raises(vecdb.InvalidInputError, match="takes 40 x 40 pixels only; leave size out"):
        embedder(tmp_path / "fixed.onnx", size=96)


def test_quantised_features_are_scaled_back(tmp_path):
    """A statically quantised network in operator form: what goes into its last layer is uint8."""
    writer = NetworkWriter()
    body(writer)
    step, zero = writer.stored(np.float32(0.02)), writer.stored(np.uint8(7))
    writer.add("QuantizeLinear", step, zero, output="small")
    weight = writer.stored(np.random.default_rng(0).integers(-100, 100, (16, 10)).astype(np.int8))
    weight_step, weight_zero = writer.stored(np.float32(0.01)), writer.stored(np.int8(0))
    writer.add("QLinearMatMul", step, zero, weight, weight_step, weight_zero, step, zero)
    writer.add("DequantizeLinear", step, zero, output="logits")
    model = writer.model(["n", 3, SIZE, SIZE], {"logits": ["n", 10]})
    expected = values_of(model, "pooled_map", PIXELS).clip(0, 0.02 * 248)
    assert features_of(model, tmp_path) == pytest.approx(expected, abs=0.0101)


def test_dynamic_quantisation_looks_at_one_picture_at_a_time(tmp_path):
    """It scales by the greatest value of the batch: a bright neighbour would change a picture's vector."""
    writer = NetworkWriter()
    body(writer)
    small, step, zero = "small", "step", "zero"
    writer.nodes.append(onnx.helper.make_node("DynamicQuantizeLinear", ["pooled_map"], [small, step, zero]))
    random = np.random.default_rng(0)
    writer.value = small
    writer.add("MatMulInteger", writer.stored(random.integers(-100, 100, (16, 12)).astype(np.int8)), zero)
    writer.add("Cast", to=TensorProto.FLOAT)
    writer.add("Mul", step)
    writer.add("Relu", output="hidden")
    writer.add("Gemm", writer.random(10, 12), transB=1, output="logits")
    made = embedder(saved(writer.model(["n", 3, SIZE, SIZE], {"logits": ["n", 10]}), tmp_path / "model.onnx"))
    assert made.dimension == 12
    bright = PIXELS * np.array([1, 1, 50], np.float32)[:, None, None, None]
    alone = np.concatenate([made._network.features(one[None]) for one in bright])
    assert made._network.features(bright) == pytest.approx(alone, abs=1e-6)


# --- what a model says of itself ----------------------------------------------------------------


def with_metadata(**properties: str):
    model = classifier()
    onnx.helper.set_model_props(model, {f"Image.{key}": value for key, value in properties.items()})
    return model


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (classifier(), ("rgb", 123.675, 58.395)),
        (with_metadata(BitmapPixelFormat="Bgr8", NominalPixelRange="NominalRange_0_255"), ("bgr", 0, 1)),
        (with_metadata(BitmapPixelFormat="Rgb8", NominalPixelRange="Normalized_0_1"), ("rgb", 0, 255)),
        (with_metadata(NominalPixelRange="Normalized_1_1"), ("rgb", 127.5, 127.5)),
    ],
    ids=["nothing", "bgr", "0..1", "-1..1"],
)
def test_preprocessing_from_the_metadata(model, expected, tmp_path):
    said = embedder(saved(model, tmp_path / "model.onnx"))._network.preprocessing
    assert (said.channels, said.mean[0], said.std[0]) == expected
    chosen = embedder(tmp_path / "model.onnx", preprocess="caffe")._network.preprocessing
    assert (chosen.channels, chosen.mean[0], chosen.std[0]) == ("bgr", 103.939, 1)


def test_preprocessing_from_a_file_of_transformers(tmp_path):
    folder = tmp_path / "onnx"
    folder.mkdir()
    model = saved(classifier(size=None), folder / "model.onnx")
    processor = tmp_path / "preprocessor_config.json"
    processor.write_text(
        '{"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2], "size": {"shortest_edge": 64}, '
        '"crop_size": {"height": 48, "width": 48}, "do_center_crop": true, "resample": 3}'
    )
    made = embedder(model)
    said = made._network.preprocessing
    assert (said.input_size, said.shorter_side, said.fit, said.interpolation) == ((48, 48), 64, "crop", "bicubic")
    assert said.mean == pytest.approx((127.5, 102, 76.5))
    assert said.std == pytest.approx((51,) * 3)
    assert list(made.weights()) == [model, processor]
    processor.write_text('{"image_mean": "red"}')
    with pytest.raises(vecdb.EmbedderUnavailableError, match=r"preprocessor_config.json cannot be read .*; correct it"):
        embedder(model)


@pytest.mark.parametrize(
    "said",
    [
        '{"image_mean": 0.5, "image_std": 0}',
        '{"image_mean": NaN, "image_std": 0.5}',
        '{"image_mean": 0.5, "image_std": 0.5, "size": -3}',
        '{"image_mean": 0.5, "image_std": 0.5, "size": 1000000}',
        '{"image_mean": 0.5, "image_std": 0.5, "size": {"height": 0, "width": 9}}',
    ],
)
def test_a_file_of_transformers_that_says_what_cannot_be(said, tmp_path):
    model = saved(classifier(size=None), tmp_path / "model.onnx")
    (tmp_path / "preprocessor_config.json").write_text(said)
    unavailable(model, r"preprocessor_config.json cannot be read .*; correct it")


# --- faults -------------------------------------------------------------------------------------


def unavailable(path, words: str, **options) -> None:
    with pytest.raises(vecdb.EmbedderUnavailableError, match=words):
        embedder(path, **options)


def test_files_that_are_no_networks(tmp_path):
    path = tmp_path / "model.onnx"
    unavailable(path, "there is no file .*model.onnx; give the path")
    path.write_bytes(b"")
    unavailable(path, "holds no network|cannot be run")
    path.write_bytes(b"\x80\x04\x95\x1c\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.")
    unavailable(path, "model.onnx cannot be run as an ONNX image network .*; get a whole copy")
    whole = saved(classifier(), tmp_path / "whole.onnx").read_bytes()
    for kept in (0.95, 0.6, 0.2):
        path.write_bytes(whole[: int(len(whole) * kept)])
        unavailable(path, "; ")


def test_networks_that_take_no_pictures(tmp_path):
    writer = NetworkWriter()
    writer.add("Gemm", writer.random(10, 16), transB=1)
    unavailable(saved(writer.model(["n", 16], {writer.value: ["n", 10]}), tmp_path / "a.onnx"), "not pictures of shape")
    model = classifier()
    model.graph.input.append(onnx.helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    unavailable(saved(model, tmp_path / "b.onnx"), "has the inputs image, more, not one")


def test_weights_in_a_file_beside_the_model(tmp_path):
    expected = features_of(classifier(), tmp_path)
    path = tmp_path / "split.onnx"
    onnx.save(classifier(), path, save_as_external_data=True, location="split.onnx.data", size_threshold=0)
    made = embedder(path)
    assert made._network.features(PIXELS) == pytest.approx(expected, abs=1e-6)
    assert list(made.weights()) == [path, tmp_path / "split.onnx.data"]
    (tmp_path / "split.onnx.data").rename(tmp_path / "other.data")
    unavailable(path, r"keeps its weights in split.onnx.data.*; put that file there, or make one file")


def test_nothing_is_written_beside_the_model(tmp_path):
    features_of(classifier(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("device", ["cuda", "cuda:3", "mps"])
def test_a_device_that_is_not_there(device, tmp_path):
    import onnxruntime

    provider = {"cuda": "CUDAExecutionProvider", "mps": "CoreMLExecutionProvider"}[device.partition(":")[0]]
    if provider in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has it")
    unavailable(
        saved(classifier(), tmp_path / "m.onnx"), f"device='{device}'.*only cpu; .*another device", device=device
    )


# --- real networks ------------------------------------------------------------------------------


@needs_shared("cnn", "images-caltech25")
def test_resnet50_gives_its_golden_features():
    import zipfile

    from tests.plugins.image.networks import cosine

    golden = np.load(shared("cnn", "golden.npz"))
    made = embedder(shared("cnn", "resnet50_imagenet_int8w.onnx"), preprocess="caffe")
    assert made.dimension == 2048
    wave = np.sin(0.01 * np.arange(3 * 224 * 224)).astype(np.float32).reshape(1, 3, 224, 224)
    assert made._network.features(wave) == pytest.approx(golden["resnet50_sin_features"].reshape(1, -1), abs=1e-4)
    with zipfile.ZipFile(shared("images-caltech25", "images.zip")) as images:
        items = [vecdb.Image(images.read(name)) for name in golden["images"]]
    found = made.encode([made.prepare(one) for one in items], "document")
    assert min(map(cosine, found, golden["resnet50_image_features"])) > 0.99999


@needs_shared("cnn")
def test_resnet50_without_its_features_output_is_cut_at_them():
    """The same file with `logits` alone: its last weight is int8 behind DequantizeLinear."""
    model = onnx.load(shared("cnn", "resnet50_imagenet_int8w.onnx"))
    del model.graph.output[0]
    assert [output.name for output in model.graph.output] == ["logits"]
    assert cut_at(model) == "features"


@needs_shared("cnn", "images-caltech25")
def test_mobilenet_gives_its_golden_features(tmp_path):
    import zipfile

    from tests.plugins.image.networks import cosine, mobilenet_v1

    golden = np.load(shared("cnn", "golden.npz"))
    path = mobilenet_v1(shared("cnn", "mobilenet_v1_1.0_224.safetensors"), tmp_path / "mobilenet.onnx")
    made = embedder(path, preprocess="inception")
    wave = np.sin(0.01 * np.arange(3 * 224 * 224)).astype(np.float32).reshape(1, 3, 224, 224)
    assert made._network.features(wave) == pytest.approx(golden["mobilenet_sin_features"].reshape(1, -1), abs=1e-4)
    assert made._network.features(wave) == pytest.approx(
        values_of(onnx.load(path), made._network._session.get_outputs()[0].name, wave), abs=1e-5
    )
    with zipfile.ZipFile(shared("images-caltech25", "images.zip")) as images:
        items = [vecdb.Image(images.read(name)) for name in golden["images"]]
    found = made.encode([made.prepare(one) for one in items], "document")
    assert min(map(cosine, found, golden["mobilenet_image_features"])) > 0.9999
