"""The two sound embedders: what is common to them, and which frames each pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vecdb import Embedder, EmbedderUnavailableError, InvalidInputError
from vecdb_audio.config import MfccConfig, SpectrogramConfig
from vecdb_audio.decoding import read_sound
from vecdb_audio.features import Floats, decibels, mel_filterbank, mel_power, mfcc
from vecdb_audio.pooling import Pooling


class Spectrogram(Embedder):
    """Sounds by their log-mel spectrogram, in dB under the sound's loudest band."""

    config: SpectrogramConfig
    _filters: Floats | None = None

    def load(self) -> None:
        """Compute the filters.

        Raises:
            EmbedderUnavailableError: soundfile or soxr is not installed or does not import.
            InvalidInputError: more mel bands than the window can tell apart.
        """
        try:
            import soundfile  # noqa: F401
            import soxr  # noqa: F401
        except (ImportError, OSError) as error:  # OSError: soundfile without a libsndfile
            raise EmbedderUnavailableError(
                f"sounds cannot be decoded ({error}): pip install 'vecdb-engine[audio]'", missing=["soundfile", "soxr"]
            ) from error
        config = self.config
        highest = config.sample_rate / 2 if config.fmax is None else config.fmax
        filters = mel_filterbank(config.sample_rate, config.n_fft, config.n_mels, config.fmin, highest)
        empty = int((filters.max(axis=1) == 0).sum())
        if empty:
            raise InvalidInputError(
                f"{empty} of n_mels={config.n_mels} mel bands are narrower than the resolution of "
                f"n_fft={config.n_fft} at sample_rate={config.sample_rate}; take fewer bands or a larger n_fft"
            )
        self._filters = filters

    def close(self) -> None:
        """Let go of the filters."""
        self._filters = None

    @property
    def dimension(self) -> int:
        """Length of every vector; a matter of the options alone."""
        return self._pooling().dimension

    def prepare(self, item: Any) -> Floats:
        """Decode, resample, analyse and pool one sound: float32 of shape (dimension,).

        Args:
            item: a `pathlib.Path` of a sound file, or a `vecdb.Audio`.

        Raises:
            DecodeError: not a sound file, damaged, truncated, or with samples that are not finite.
            ItemError: too long, too short for one window, or silent.
        """
        if self._filters is None:
            raise EmbedderUnavailableError("the embedder is not loaded; call load() first")
        config = self.config
        samples = read_sound(
            item,
            sample_rate=config.sample_rate,
            channel=config.channel,
            least=config.n_fft,
            max_seconds=config.max_seconds,
        )
        power = mel_power(samples, self._filters, n_fft=config.n_fft, hop=config.hop)
        bands = decibels(power, config.top_db)
        return self._pooling()(self._frames(bands), bands)

    def encode(self, batch: Sequence[Any], role: str) -> Floats:  # noqa: ARG002  (a query is a sound too)
        """Prepared sounds as an array of shape (len(batch), dimension)."""
        return np.stack(batch)

    def _frames(self, bands: Floats) -> Floats:
        return bands

    def _pooling(self) -> Pooling:
        return self._pooling_of(self.config.n_mels, cepstral=False)

    def _pooling_of(self, columns: int, *, cepstral: bool) -> Pooling:
        config = self.config
        frame_rate = config.sample_rate / config.hop
        return Pooling(config.pooling, columns, config.segments, frame_rate=frame_rate, cepstral=cepstral)


class Mfcc(Spectrogram):
    """Sounds by mel-frequency cepstral coefficients (Davis and Mermelstein 1980)."""

    config: MfccConfig

    def _frames(self, bands: Floats) -> Floats:
        return mfcc(bands, self.config.n_mfcc, self.config.lifter)

    def _pooling(self) -> Pooling:
        return self._pooling_of(self.config.n_mfcc, cepstral=True)
