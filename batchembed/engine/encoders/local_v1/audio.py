"""A vector of sound: how loud each band of a log-mel spectrogram is, how much it varies, how fast.

Sixteen statistics of 64 bands make 1024 numbers. Each statistic is centred over its bands, which
takes loudness away, and every number gets 1 added, so that digital silence has a direction too:
1/32 in each component.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from batchembed.engine.encoders.local_v1.projection import unit

SAMPLE_RATE = 16_000
BANDS = 64
_WINDOW = 400  # 25 ms
_HOP = 160  # 10 ms
_FLOOR_DB = -100.0
_QUANTILES = np.linspace(5.0, 95.0, 10)
#: Distances, in hops, at which change is measured: 10, 50, 200 and 500 ms.
_LAGS = (1, 5, 20, 50)
#: Windows transformed at once, so that memory does not grow with the segment.
_AT_ONCE = 512


def _mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    return 2595.0 * np.log10(1.0 + hertz / 700.0)


def _filters() -> NDArray[np.float64]:
    """Triangles [64, 201] on the mel scale over the power spectrum, from 0 to 8 kHz."""
    bins = np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE)
    top = _mel(np.array([SAMPLE_RATE / 2]))[0]
    edges = 700.0 * (10.0 ** (np.linspace(0.0, top, BANDS + 2) / 2595.0) - 1.0)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (bins - low) / (middle - low)
    falling = (high - bins) / (high - middle)
    triangles: NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    # The lowest bands are narrower than a bin: none may be empty, or it would never sound.
    for band in np.flatnonzero(triangles.sum(axis=1) == 0.0):
        triangles[band, np.abs(bins - middle[band, 0]).argmin()] = 1.0
    return triangles


_HANN = np.hanning(_WINDOW + 1)[:_WINDOW]
_MEL_FILTERS = _filters()


def log_mel(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Decibels [windows, 64] of mono samples at 16 kHz, -100 dB at least.

    What is shorter than one window is filled up with silence.
    """
    sound = samples.astype(np.float64)
    if len(sound) < _WINDOW:
        sound = np.pad(sound, (0, _WINDOW - len(sound)))
    windows = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[::_HOP]
    parts = [_bands(windows[at : at + _AT_ONCE] * _HANN) for at in range(0, len(windows), _AT_ONCE)]
    floor = 10.0 ** (_FLOOR_DB / 10.0)
    decibels: NDArray[np.float64] = 10.0 * np.log10(np.maximum(np.concatenate(parts), floor))
    return decibels


def _bands(windows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean power [n, 64] in each band. Summed bin by bin: the order of a BLAS product is not fixed."""
    spectrum = np.fft.rfft(windows, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2) / float((_HANN * _HANN).sum() * _WINDOW)
    bands = np.zeros((len(windows), BANDS))
    for number, weights in enumerate(_MEL_FILTERS):
        for position in np.flatnonzero(weights):
            bands[:, number] += power[:, position] * weights[position]
    return bands


def statistics(decibels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sixteen statistics [16, 64] of each band over time: mean, spread, quantiles, change."""
    changes = [
        np.abs(decibels[lag:] - decibels[:-lag]).mean(axis=0)
        if len(decibels) > lag
        else np.zeros(BANDS)
        for lag in _LAGS
    ]
    return np.stack(
        [
            decibels.mean(axis=0),
            decibels.std(axis=0),
            *np.percentile(decibels, _QUANTILES, axis=0),
            *changes,
        ]
    )


def embed_sound(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vector [1024], of length one, of mono samples at 16 kHz."""
    blocks = statistics(log_mel(samples))
    centred = blocks - blocks.mean(axis=1, keepdims=True) + 1.0
    return unit(centred.ravel())
