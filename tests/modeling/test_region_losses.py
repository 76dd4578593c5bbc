"""The losses between regions and texts against their definitions: loops over float64 scalars."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomy_vlm.modeling import region_losses_anatomy_vlm
from anatomy_vlm.modeling.region_losses_anatomy_vlm import contrast_totals, region_phrase_loss


KINDS = ("contrastive", "sigmoid")
NAN = float("nan")


def problem(seed: int, batch_size: int, num_regions: int, num_texts: int, dtype=torch.float64) -> dict:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    labels = torch.tensor([1.0, 0.0, NAN], dtype=dtype)
    return {
        "region_embeds": normal(batch_size, num_regions, 4).requires_grad_(),
        "text_embeds": normal(num_texts, 4).requires_grad_(),
        "scale": (normal(1).abs() + 0.5).requires_grad_(),
        "bias": normal(1).requires_grad_(),
        "labels": labels[torch.randint(0, 3, (batch_size, num_regions, num_texts), generator=generator)],
        "region_weights": normal(num_regions).abs() + 0.1,
        "text_weights": normal(num_texts).abs() + 0.1,
    }


LEARNT = ("region_embeds", "text_embeds", "scale", "bias")


def slow_direction(scores, truth, weights, none: bool):
    """
    Rows of scores, of their truth and of the weights of pairs: the weighted mean over the positive pairs of
    -log(e^s / (e^s + rivals)), a row's pairs sharing their weight; `none` is one more rival, and chosen where nothing
    is positive.
    """
    total, weight = 0.0, 0.0
    for row_scores, row_truth, row_weights in zip(scores, truth, weights, strict=True):
        rivals = [score.exp() for score, label in zip(row_scores, row_truth, strict=True) if label == 0]
        chosen = [i for i, label in enumerate(row_truth) if label == 1]
        if none:
            rivals.append(torch.ones((), dtype=torch.float64))
        for i in chosen:
            if rivals:
                share = row_weights[i] / len(chosen)
                total = total - share * (row_scores[i].exp() / (row_scores[i].exp() + sum(rivals))).log()
                weight += share
    return total, weight


def slow_loss(region_embeds, text_embeds, scale, bias, labels, region_weights, text_weights, kind):
    regions = [region for image in region_embeds for region in image]
    of_region = [w for _ in region_embeds for w in region_weights.tolist()]
    truth = [row for image in labels.tolist() for row in image]
    scores = [[scale[0] * (region * text).sum() + bias[0] for text in text_embeds] for region in regions]
    weights = [[w * v for v in text_weights.tolist()] for w in of_region]
    if kind == "sigmoid":
        total, weight = 0.0, 0.0
        for row_scores, row_truth, row_weights, w in zip(scores, truth, weights, of_region, strict=True):
            weight += w if any(label in (0, 1) for label in row_truth) else 0
            for score, label, pair in zip(row_scores, row_truth, row_weights, strict=True):
                probability = 1 / (1 + (-score).exp())
                if label in (0, 1):
                    total = total - pair * (probability if label == 1 else 1 - probability).log()
        return total / weight if weight else 0 * bias.sum()
    row_total, row_weight = slow_direction(scores, truth, weights, none=True)
    for row_scores, row_truth, w in zip(scores, truth, of_region, strict=True):
        if 0 in row_truth and 1 not in row_truth:
            rest = sum(score.exp() for score, label in zip(row_scores, row_truth, strict=True) if label == 0)
            row_total, row_weight = row_total - w * (1 / (1 + rest)).log(), row_weight + w
    columns = [list(map(list, zip(*table, strict=True))) for table in (scores, truth, weights)]
    column_total, column_weight = slow_direction(*columns, none=False)
    result = row_total / row_weight if row_weight else 0 * bias.sum()
    return (result + (column_total / column_weight if column_weight else 0)) / 2


def value_and_gradients(loss: torch.Tensor, of: dict) -> list[torch.Tensor]:
    tensors = [of[name] for name in LEARNT]
    gradients = torch.autograd.grad(loss, tensors, allow_unused=True)
    return [loss.detach(), *(torch.zeros_like(t) if g is None else g for t, g in zip(tensors, gradients, strict=True))]


def assert_equals_the_definition(given: dict, kind: str) -> None:
    ours = value_and_gradients(region_phrase_loss(**given, kind=kind), given)
    slow = value_and_gradients(slow_loss(**given, kind=kind), given)
    for name, a, b in zip(("value", *LEARNT), ours, slow, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9), name


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 4), st.sampled_from([1, 7, 2**20]))
def test_value_and_gradients_equal_the_definition(kind, seed, batch_size, num_texts, entries):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(region_losses_anatomy_vlm, "CHUNK_ENTRIES", entries)
        assert_equals_the_definition(problem(seed, batch_size, 3, num_texts), kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "labels",
    [
        [[NAN, NAN], [NAN, NAN], [NAN, NAN]],  # nothing known
        [[0, 0], [NAN, 0], [0, NAN]],  # no positive
        [[1, 1], [1, NAN], [NAN, 1]],  # no negative
        [[NAN, NAN], [1, 0], [NAN, NAN]],  # one region known
        [[1, NAN], [0, NAN], [NAN, NAN]],  # one text known
        [[1, 1], [0, 0], [1, 0]],  # several positives in a row and in a column
    ],
)
def test_degenerate_labels_equal_the_definition(labels, kind):
    given = problem(3, 1, 3, 2)
    given["labels"] = torch.tensor([labels], dtype=torch.float64)
    assert_equals_the_definition(given, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("batch_size", "num_texts"), [(0, 3), (2, 0)])
def test_without_images_or_texts_the_loss_is_zero(kind, batch_size, num_texts):
    given = problem(0, batch_size, 3, num_texts)
    value, *gradients = value_and_gradients(region_phrase_loss(**given, kind=kind), given)
    assert value == 0
    assert all((gradient == 0).all() for gradient in gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_is_close_and_any_type_of_label_does(kind, monkeypatch):
    monkeypatch.setattr(region_losses_anatomy_vlm, "CHUNK_ENTRIES", 100)
    exact, given = problem(5, 8, 6, 20), problem(5, 8, 6, 20, torch.float32)
    expected = value_and_gradients(region_phrase_loss(**exact, kind=kind), exact)
    given["labels"] = given["labels"].nan_to_num(-1).to(torch.int8)
    for a, b in zip(value_and_gradients(region_phrase_loss(**given, kind=kind), given), expected, strict=True):
        assert torch.allclose(a.double(), b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_does_not_round_the_similarities(kind):
    given = problem(6, 4, 3, 10, torch.float32)
    expected = value_and_gradients(region_phrase_loss(**given, kind=kind), given)
    with torch.autocast("cpu", torch.bfloat16):
        ours = value_and_gradients(region_phrase_loss(**given, kind=kind), given)
    assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_large_logits_stay_finite(kind):
    given = problem(7, 4, 3, 10, torch.float32)
    given["scale"] = torch.tensor([1e4], requires_grad=True)
    assert all(torch.isfinite(t).all() for t in value_and_gradients(region_phrase_loss(**given, kind=kind), given))


def test_duplicate_columns_that_are_masked_change_nothing():
    given = problem(8, 3, 3, 4)
    twice = {**given, "text_embeds": torch.cat((given["text_embeds"], given["text_embeds"])).detach()}
    twice["labels"] = torch.cat((given["labels"], torch.full_like(given["labels"], NAN)), -1)
    twice["text_weights"] = given["text_weights"].repeat(2)
    assert region_phrase_loss(**twice).item() == pytest.approx(region_phrase_loss(**given).item())


def test_weights_move_the_loss_towards_what_they_favour():
    given = problem(9, 2, 2, 3)
    given["labels"] = torch.tensor([[[1, 0, 0], [0, 1, 0]]] * 2)
    plain = {**given, "region_weights": None, "text_weights": None}
    alone = {**plain, "labels": given["labels"].masked_fill(torch.tensor([[[False], [True]]]), -1)}
    heavy = {**plain, "region_weights": torch.tensor([1.0, 0.0])}
    row_of_the_first = {**alone, "kind": "sigmoid"}
    assert region_phrase_loss(**heavy, kind="sigmoid").item() == pytest.approx(
        region_phrase_loss(**row_of_the_first).item()
    )
    assert region_phrase_loss(**heavy).item() != pytest.approx(region_phrase_loss(**plain).item())


def test_region_without_findings_is_pushed_to_none_of_the_phrases():
    given = {**problem(10, 1, 1, 2), "labels": torch.zeros(1, 1, 2)}
    region_phrase_loss(**given).backward()
    assert given["bias"].grad > 0


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="kind must be one of"):
        region_phrase_loss(**problem(0, 1, 1, 1), kind="triplet")


@pytest.mark.parametrize("sizes", [(3, 2), (5, 0)])
def test_uneven_shards_of_two_processes_have_the_losses_of_the_whole_batch(sizes, tmp_path):
    script = Path(__file__).with_name("sharded_losses.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    done = subprocess.run([*command, str(tmp_path), *map(str, sizes)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    whole, *shards = (torch.load(tmp_path / f"{name}.pt") for name in ("whole", "0", "1"))
    assert whole.keys() == {"l1", "giou", "global", "contrastive", "sigmoid"}
    for name, (value, own, shared) in whole.items():
        values, owns, shareds = zip(*(shard[name] for shard in shards), strict=True)
        assert all(torch.allclose(v, value, rtol=1e-12) for v in values), name
        # DDP divides by the number of processes.
        assert torch.allclose(torch.cat(owns) / 2, own, rtol=1e-9, atol=1e-12), name
        if shared is not None:
            assert torch.allclose(sum(shareds) / 2, shared, rtol=1e-9, atol=1e-12), name


@pytest.mark.parametrize("sizes", [(2, 2), (3, 1, 0, 2)])
def test_parts_that_know_the_totals_add_up_to_the_whole(sizes):
    whole = problem(5, sum(sizes), 6, 9)
    loss = region_phrase_loss(**whole)
    expected = torch.autograd.grad(loss, [whole[name] for name in LEARNT])
    parts = list(zip(whole["region_embeds"].split(sizes), whole["labels"].split(sizes), strict=True))
    shared = {name: whole[name] for name in whole if name not in ("region_embeds", "labels")}
    totals = contrast_totals([regions for regions, _ in parts], labels=[labels for _, labels in parts], **shared)
    shares = [region_phrase_loss(regions, labels=labels, totals=totals, **shared) for regions, labels in parts]
    torch.testing.assert_close(torch.stack(shares).sum(), loss)
    for share in shares:
        share.backward(retain_graph=True)
    for name, gradient in zip(LEARNT, expected, strict=True):
        torch.testing.assert_close(whole[name].grad, gradient, msg=name)
