"""The prompt builder."""

import pytest

from anatomy_vlm.processing.prompts import PromptOptionError, finding_prompts, region_prompts
from anatomy_vlm.processing.statements import Statement, statement_texts
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, VocabularyError, mirror_text


def test_prompts_of_all_findings_are_distinct():
    prompts = finding_prompts(attributes=True)
    assert tuple(prompts) == FINDING_NAMES
    texts = [text.lower().rstrip(".") for pair in prompts.values() for side in pair.values() for text in side]
    assert len(texts) == len(set(texts))
    assert all(pair["positive"] and pair["negative"] for pair in prompts.values())


def test_prompts_are_statements():
    for name, pair in finding_prompts().items():
        assert set(pair["positive"]) <= set(statement_texts(Statement(name, "present")))
        assert set(pair["negative"]) <= set(statement_texts(Statement(name, "absent")))


def test_options():
    single = finding_prompts(["pleural effusion"], ensemble=False)["pleural effusion"]
    assert single == {"positive": ["pleural effusion"], "negative": ["no pleural effusion"]}
    plain, described = (
        finding_prompts(["pleural effusion"], attributes=on)["pleural effusion"] for on in (False, True)
    )
    assert described["negative"] == plain["negative"] and described["positive"][:-1] == plain["positive"]
    assert "meniscus" in described["positive"][-1]


def test_region_prompts_name_the_region_and_mirror():
    right, left = (
        region_prompts("pneumothorax", f"{side} apical zone", attributes=True) for side in ("right", "left")
    )
    for key in ("positive", "negative"):
        assert [mirror_text(text) for text in right[key]] == left[key]
        assert all("right apical" in text.lower() for text in right[key])
    assert not set(right["positive"]) & set(finding_prompts(["pneumothorax"])["pneumothorax"]["positive"])


@pytest.mark.parametrize("option", ["ensemble", "attributes"])
@pytest.mark.parametrize("value", ["mean", "false", 1, None])
def test_options_are_true_or_false(option, value):
    message = f"^{option} must be true or false, not {value!r}$"
    with pytest.raises(PromptOptionError, match=message):
        finding_prompts(["pneumothorax"], **{option: value})
    with pytest.raises(PromptOptionError, match=message):
        region_prompts("pneumothorax", "left lung", **{option: value})


def test_unknown_names():
    with pytest.raises(VocabularyError, match="unknown finding 'efusion'"):
        finding_prompts(["efusion"])
    with pytest.raises(VocabularyError, match="unknown region 'left'"):
        region_prompts("pneumothorax", "left")
