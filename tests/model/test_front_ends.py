"""The ears against the public implementation of Inkling in `transformers`, on random input."""

import numpy as np
import pytest
import torch

from microturn.model.embed import DMelEmbedding
from microturn.model.streams import StreamLayout
from microturn.model.streams.mel import DMEL_BINS, LOG_MAX, LOG_MIN, MelStream, dmel

LAYOUT = StreamLayout()


def sounds(seconds: float, seed: int) -> list[np.ndarray]:
    """Noise loud and faint, a tone, clicks, silence with a beginning.

    The tone has some noise under it: far from a clean one there is only the rounding of the FFT.
    """
    rng = np.random.default_rng(seed)
    n = LAYOUT.n_micro_turns(int(seconds * LAYOUT.sample_rate)) * LAYOUT.samples_per_micro_turn
    noise = rng.standard_normal(n)
    clicks = np.where(rng.random(n) < 1e-3, rng.uniform(-1, 1, n), 0.0)
    late = np.where(np.arange(n) < n // 2, 0.0, 0.2 * noise)
    tone = 0.5 * np.sin(2 * np.pi * rng.uniform(80, 6000) * np.arange(n) / LAYOUT.sample_rate)
    tone += 1e-3 * noise
    return [x.astype(np.float32) for x in (0.3 * noise, 1e-4 * noise, tone, clicks, late)]


@pytest.mark.parametrize("seed", range(3))
def test_dmel_is_that_of_the_public_extractor(seed: int) -> None:
    public = pytest.importorskip("transformers.models.inkling.feature_extraction_inkling")
    extractor = public.InklingFeatureExtractor()
    centres = torch.linspace(LOG_MIN, LOG_MAX, DMEL_BINS, dtype=torch.float64).float()
    for sound in sounds(2.0, seed):
        features = extractor(sound, sampling_rate=LAYOUT.sample_rate, return_tensors="pt")
        log_mel = features["input_features"][0].clamp(LOG_MIN, LOG_MAX)
        bins = (log_mel.unsqueeze(-1) - centres).abs().argmin(-1)  # as InklingProcessor does
        ours = MelStream(LAYOUT, fine=False).push(sound)
        torch.testing.assert_close(
            torch.from_numpy(ours).flatten(0, 1), log_mel, atol=2e-4, rtol=2e-4
        )
        ids = torch.from_numpy(dmel(sound, LAYOUT).astype(np.int64)).flatten(0, 1)
        # A number on the border of two bins may fall either way.
        assert (ids - bins).abs().max() <= 1
        assert (ids != bins).float().mean() < 1e-3


def test_bag_of_embeddings_is_the_public_one() -> None:
    public = pytest.importorskip("transformers.models.inkling.modeling_inkling")
    config_of = pytest.importorskip("transformers.models.inkling.configuration_inkling")
    torch.manual_seed(0)
    D, ids = 40, torch.randint(0, DMEL_BINS, (3, 7, LAYOUT.n_mels))
    config = config_of.InklingAudioConfig(
        n_mel_bins=LAYOUT.n_mels, mel_vocab_size=DMEL_BINS, text_hidden_size=D
    )
    theirs = public.InklingAudioModel(config).requires_grad_(False)
    ours = DMelEmbedding(D, LAYOUT.n_mels, group=1).requires_grad_(False)
    torch.nn.init.uniform_(ours.norm.weight, 0.5, 1.5)
    theirs.embed_audio_tokens.embed_audio_tokens.weight.copy_(ours.table)
    theirs.norm.weight.copy_(ours.norm.weight)
    expected = theirs(ids).last_hidden_state
    torch.testing.assert_close(ours(ids.to(torch.uint8)), expected, atol=1e-5, rtol=1e-5)
