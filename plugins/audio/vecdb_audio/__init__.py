"""Sound embedders: the hooks."""

from __future__ import annotations

from vecdb import EmbedderInfo, hookimpl
from vecdb_audio.config import MfccConfig, SpectrogramConfig


@hookimpl
def vecdb_register_embedders() -> list[EmbedderInfo]:
    """`mfcc` and `spectrogram`."""
    return [
        EmbedderInfo(
            name="mfcc",
            summary="sounds by mel-frequency cepstral coefficients: timbre and how it changes, at any loudness",
            modalities=frozenset({"audio"}),
            config=MfccConfig,
            factory="vecdb_audio.embedders:Mfcc",
            requires=("soundfile", "soxr"),
            extra="audio",
            revision=2,
        ),
        EmbedderInfo(
            name="spectrogram",
            summary="sounds by their log-mel spectrogram: which frequencies are loud, and how that changes",
            modalities=frozenset({"audio"}),
            config=SpectrogramConfig,
            factory="vecdb_audio.embedders:Spectrogram",
            requires=("soundfile", "soxr"),
            extra="audio",
            revision=2,
        ),
    ]
