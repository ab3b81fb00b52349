from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec.data.sequences import Sequences
from recbole_raserec.regeneration.decoding import decode_all, generative_steps, local_decoder, source_tokens
from recbole_raserec.regeneration.regenerator import Packed, Regenerator

ITEMS, LONGEST = 13, 7


def random_model(seed: int) -> Regenerator:
    """A regenerator that writes long rows, in which every position and token matters."""
    torch.manual_seed(seed)
    model = Regenerator(torch.randn(ITEMS, 8), max_length=5, max_target=LONGEST, diversity=3, inner_size=16)
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, std=1.0)
    with torch.no_grad():
        model.embedding.weight[model.eos] *= 0.3
    return model.double().eval()


def of_lists(lists: list[list[int]]) -> Sequences:
    users = np.repeat(np.arange(1, len(lists) + 1), [len(items) for items in lists])
    return Sequences.from_sorted(users, np.array([item for items in lists for item in items]))


def decode_one(model: Regenerator, source: torch.Tensor, memory: int, generative: torch.Tensor) -> list[int]:
    """Decode one sequence with one memory. The whole row is read again for every token, and all logits are masked."""
    memories = model.encode(Packed(source))[:, memory]
    row: list[int] = []
    for step in range(LONGEST):
        read = torch.tensor([[model.sos, *row]])
        hidden = model.decode(Packed(read), memories, source > 0)[0, -1]
        logits = model.embedding.weight @ hidden
        banned = [0, model.sos, *row]
        if not generative[step]:
            banned += sorted(set(range(ITEMS + 2)) - set(source[0].tolist()))
        logits[banned] = -torch.inf
        token = int(logits.argmax())
        if token == model.eos:
            break
        row.append(token)
    return row


def decode(model: Regenerator, sequences: Sequences, gamma: float) -> list[list[int]]:
    decoder = local_decoder(model, sequences, gamma, seed=4, max_tokens=LONGEST, device=torch.device("cpu"))
    decoded = decode_all(sequences, decoder)
    assert decoded.sequence.tolist() == np.repeat(np.arange(len(sequences)), 3).tolist()
    return [decoded.items[a:b].tolist() for a, b in zip(decoded.offsets, decoded.offsets[1:])]


@pytest.mark.slow
@given(
    st.lists(st.lists(st.integers(1, ITEMS - 1), min_size=1, max_size=8), min_size=1, max_size=6),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.integers(0, 9),
)
@torch.no_grad()
def test_many_at_once_with_kept_keys_is_one_at_a_time(lists, gamma, seed):
    model, sequences = random_model(seed), of_lists(lists)
    expected = []
    for number in range(len(lists)):
        steps = generative_steps(np.array([number]), 3, LONGEST, gamma, seed=4)[0]
        source = source_tokens(sequences, np.array([number]), model)
        expected += [decode_one(model, source, memory, steps[memory]) for memory in range(3)]
    assert decode(model, sequences, gamma) == expected


@given(st.lists(st.integers(1, ITEMS - 1), min_size=1, max_size=8), st.sampled_from([0.0, 0.7, 1.0]), st.integers(0, 9))
def test_no_item_twice_and_restrictive_tokens_are_the_sources(items, gamma, seed):
    for row in decode(random_model(seed), of_lists([items]), gamma):
        assert len(set(row)) == len(row) <= LONGEST
        assert set(row[: len(row) if gamma == 0 else 2]) <= set(items[-5:])


def test_gamma_is_the_probability_of_a_generative_step():
    steps = generative_steps(np.arange(300), 5, 20, 0.3, seed=1).numpy()
    assert not steps[:, :, :2].any()
    assert steps[:, :, 2:].mean() == pytest.approx(0.3, abs=0.01)
    again = generative_steps(np.array([7]), 5, 20, 0.3, seed=1).numpy()
    assert (again[0] == steps[7]).all()
