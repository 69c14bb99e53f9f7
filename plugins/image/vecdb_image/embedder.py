"""The embedder `cnn`: pictures by the features of a pretrained network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vecdb import Embedder, EmbedderUnavailableError
from vecdb_image.config import CnnConfig
from vecdb_image.decoding import read_picture
from vecdb_image.network import Network
from vecdb_image.onnx_network import OnnxNetwork, onnx_files
from vecdb_image.preprocessing import Floats, Pixels
from vecdb_image.torchvision_network import TorchvisionNetwork, torchvision_files


class CnnEmbedder(Embedder):
    """Pictures by what the last layer before the classifier of a convolutional network sees.

    Such features, of a network trained to tell the classes of ImageNet, tell other classes, too: Razavian
    et al. (2014), "CNN features off-the-shelf: an astounding baseline for recognition".
    """

    config: CnnConfig
    _network: Network | None = None

    def weights(self) -> Sequence[Path]:
        """The model's files.

        Raises:
            EmbedderUnavailableError: torchvision's weights are not there and cannot be fetched.
        """
        config = self.config
        if isinstance(config.model, Path):
            return onnx_files(config.model)
        return torchvision_files(config.model, config.checkpoint, config.weights)

    def load(self) -> None:
        """Open the network and cut it.

        Raises:
            EmbedderUnavailableError: a library or file is missing, damaged or of another kind; no such device.
            InvalidInputError: no such layer, or an input size that the network does not take.
        """
        try:
            import PIL.Image  # noqa: F401
        except (ImportError, OSError) as error:
            raise EmbedderUnavailableError(
                f"images cannot be decoded ({error}): pip install 'vecdb-engine[image]'", missing=["PIL"]
            ) from error
        model = self.config.model
        if isinstance(model, Path):
            self._network = OnnxNetwork(model, self.config)
        else:
            self._network = TorchvisionNetwork(model, self.config)

    def close(self) -> None:
        """Let go of the network."""
        self._network = None

    @property
    def dimension(self) -> int:
        """Number of features."""
        return self._loaded().dimension

    def prepare(self, item: Any) -> Pixels:
        """Decode a picture and fit it to the network: uint8 of shape (3, height, width).

        Args:
            item: a `pathlib.Path` of an image file, or a `vecdb.Image`.

        Raises:
            DecodeError: not an image file, damaged, truncated, or with too many pixels.
        """
        preprocessing = self._loaded().preprocessing
        picture = read_picture(item, max_pixels=self.config.max_pixels, wanted=preprocessing.shorter_side)
        return preprocessing.pixels(picture)

    def encode(self, batch: Sequence[Pixels], role: str) -> Floats:  # noqa: ARG002  (a query is a picture too)
        """The features of prepared pictures: float32 of shape (len(batch), dimension)."""
        network = self._loaded()
        return network.features(network.preprocessing.normalised(batch))

    def _loaded(self) -> Network:
        if self._network is None:
            raise EmbedderUnavailableError("the embedder is not loaded; call load() first")
        return self._network
