"""Fourier mixing (Lee-Thorp et al. 2022, FNet): no parameter, and every output depends on the whole sentence."""

import math

import torch
from torch import Tensor

from lit_transformer.batch import Layout
from lit_transformer.components.cost import Cost
from lit_transformer.components.precision import upcast
from lit_transformer.components.token_mixer import TokenMixer


class Fourier(TokenMixer):
    """The real part of the discrete Fourier transform over features and over the sentence (section 3.1, eq. 3).

    The paper transforms a padded length; here every sentence has the transform of its own length, as two matrices,
    since lengths differ within a batch. Computed in at least float32. The cost leaves out the FFT over features.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model

    def forward(self, x: Tensor, layout: Layout, cache: None = None) -> tuple[Tensor, None]:
        """(N, D) -> (N, D)."""
        with torch.autocast(x.device.type, enabled=False):
            features = torch.fft.fft(upcast(x))  # (N, D), complex
            cosines, sines = dft_matrices(layout, features.real.dtype)  # (B, L, L)
            mixed = cosines @ layout.pad(features.real) + sines @ layout.pad(features.imag)  # (B, L, D)
        return layout.pack(mixed).to(x.dtype), None

    def cost(self) -> Cost:
        return Cost(pair=2 * 2 * self.d_model)


def dft_matrices(layout: Layout, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return cos and sin of 2 pi s t / length for the positions s, t of each sentence, 0 where t is padding: (B, L, L).

    exp(-i a)(u + i v) has the real part cos(a) u + sin(a) v.
    """
    positions = torch.arange(layout.max_seqlen, device=layout.lengths.device)
    lengths = layout.lengths[:, None, None]
    turns = (positions[:, None] * positions) % lengths / lengths.double()  # (B, L, L), of a full turn
    angles = 2 * math.pi * turns
    mask = layout.mask[:, None]  # (B, 1, L)
    return (angles.cos() * mask).to(dtype), (angles.sin() * mask).to(dtype)
