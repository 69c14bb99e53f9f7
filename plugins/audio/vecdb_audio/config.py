"""The options of the sound embedders. Every default was chosen by measurement; see plugins/audio/README.md."""

from __future__ import annotations

from dataclasses import dataclass

from vecdb import InvalidInputError, option

CHANNELS = ("mix", "left", "right")
POOLINGS = ("combined", "segments", "percentiles", "mean_std", "mean_std_delta")
LIFTERS = ("root", "sine", "none")


@dataclass(frozen=True)
class SpectrogramConfig:
    """How a sound becomes frames of mel bands in decibels, and the frames one vector.

    Raises:
        InvalidInputError: options that are out of range or do not go together.
    """

    sample_rate: int = option(16_000, help="frames per second after resampling (1000 to 384000)")
    channel: str = option("mix", choices=CHANNELS, help="mix all channels to one, or take the first (left) or second")
    n_fft: int = option(1024, help="samples in one analysis window")
    hop: int = option(320, help="samples from one window to the next")
    n_mels: int = option(40, help="number of mel bands")
    fmin: float = option(20.0, help="lowest frequency in Hz")
    fmax: float | None = option(None, help="highest frequency in Hz; none: half the sample rate")
    top_db: float = option(45.0, help="what is this many decibels under the sound's loudest band counts as silence")
    pooling: str = option("combined", choices=POOLINGS, help="how all frames become one vector")
    segments: int = option(6, help="stretches of time that the poolings 'combined' and 'segments' tell apart")
    max_seconds: float = option(1800.0, affects="runtime", help="longer sounds are refused")

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise InvalidInputError(problem)

    def _problem(self) -> str | None:
        highest = self.sample_rate / 2 if self.fmax is None else self.fmax
        if not 1_000 <= self.sample_rate <= 384_000:
            return f"sample_rate={self.sample_rate} must be from 1000 to 384000"
        if not 16 <= self.n_fft <= 65_536:
            return f"n_fft={self.n_fft} must be from 16 to 65536"
        if not 1 <= self.hop <= self.n_fft:
            return f"hop={self.hop} must be from 1 to n_fft={self.n_fft}"
        if not 2 <= self.n_mels <= 512:
            return f"n_mels={self.n_mels} must be from 2 to 512"
        if not 0 <= self.fmin < highest <= self.sample_rate / 2:
            return f"0 <= fmin={self.fmin} < fmax={highest} <= {self.sample_rate / 2} (half the sample rate) must hold"
        if not 1 <= self.top_db <= 120:
            return f"top_db={self.top_db} must be from 1 to 120"
        if not 1 <= self.segments <= 64:
            return f"segments={self.segments} must be from 1 to 64"
        if not 0 < self.max_seconds <= 36_000:
            return f"max_seconds={self.max_seconds} must be above 0 and at most 36000 (ten hours)"
        return None


@dataclass(frozen=True)
class MfccConfig(SpectrogramConfig):
    """As `SpectrogramConfig`, and how the mel bands become cepstral coefficients."""

    n_mfcc: int = option(20, help="number of coefficients, with the 0th (the loudness)")
    lifter: str = option(
        "root", choices=LIFTERS, help="weight of coefficient n: root: sqrt(n); sine: 1 + 11 sin(pi n / 22); none: 1"
    )

    def _problem(self) -> str | None:
        if not 2 <= self.n_mfcc <= self.n_mels:
            return f"n_mfcc={self.n_mfcc} must be from 2 to n_mels={self.n_mels}"
        return super()._problem()
