"""Constrained decoding: whatever a model would rather write, only well-formed masks come out, and all of them may."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from anatomy_vlm.processing.mask_constraints_anatomy_vlm import MaskCodesLogitsProcessor, MaskGrammarLogitsProcessor
from anatomy_vlm.processing.mask_text_anatomy_vlm import MaskGrammar, read_answer, read_prompt, write_answer


SMALL = MaskGrammar(32, 16, 3)
NAMES = {
    "heart": ["heart", "cardiac silhouette", "heart shadow"],
    "left lung": ["left lung", "left lung field"],
    "right lung": ["right lung"],
}
PROMPTS = [
    "segment heart ; left lung ; right lung",
    "detect left lung",
    "caption <loc0001><loc0002><loc0003><loc0004>",
    "segment right lung ; heart",
]
WORDS = ["segment heart ; left lung ; right lung", "detect cardiac silhouette", "caption heart shadow ; field"] * 3
SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>"]


def make_tokenizer(kind: str, grammar: MaskGrammar) -> PreTrainedTokenizerFast:
    """Words in several pieces, spaces written (as Gemma's) or not (as BERT's), and the tokens of masks."""
    if kind == "gemma":
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
        tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("\u2581[^\u2581]*"), "isolated")
        tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.Fuse()])
        trainer = trainers.BpeTrainer(vocab_size=50, special_tokens=SPECIAL, show_progress=False)
    else:
        tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece(cleanup=False)
        trainer = trainers.WordPieceTrainer(vocab_size=60, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(WORDS, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>"
    )
    fast.padding_side = "left"
    shapes = len(str(grammar.seg_size - 1))
    fast.add_tokens([f"<loc{value:04d}>" for value in range(grammar.loc_size)])
    fast.add_tokens([f"<seg{value:0{shapes}d}>" for value in range(grammar.seg_size)])
    return fast


@pytest.fixture(scope="module", params=["gemma", "bert"])
def tokenizer(request):
    return make_tokenizer(request.param, SMALL)


def random_model(vocab_size: int, seed: int = 0) -> GPT2LMHeadModel:
    """A model that has learned nothing and is sure of it."""
    torch.manual_seed(seed)
    size = {"n_layer": 1, "n_head": 1, "n_embd": 16, "n_positions": 256, "initializer_range": 0.5}
    config = GPT2Config(vocab_size=vocab_size, **size, bos_token_id=None, eos_token_id=None)
    return GPT2LMHeadModel(config).eval()


def written(row: list[int], eos: int, pad: int) -> list[int]:
    """The tokens of an answer; it must end, with nothing but padding behind the end."""
    assert eos in row, "no end"
    end = row.index(eos)
    assert set(row[end:]) <= {eos, pad}
    return row[:end]


def check_answer(text: str, prompt: str, grammar: MaskGrammar, names=NAMES, allow_absent: bool = True) -> int:
    """Fails unless the answer is well-formed, about what was asked; how many structures it has."""
    asked = read_prompt(prompt, grammar)
    if asked.task == "caption":
        assert text.strip() in {name for some in names.values() for name in some}
        return 1
    answers = read_answer(text, grammar)
    size = 4 + grammar.num_shape_codes * (asked.task == "segment")
    places = []
    for answer in answers:
        assert not answer.problems and len(answer.codes) == size, (text, answer)
        (structure,) = (name for name in asked.structures if answer.name in names.get(name, [name]))
        places.append(asked.structures.index(structure))
    assert places == sorted(set(places)), "in the prompt's order, each once"
    assert allow_absent or len(places) == len(asked.structures)
    return len(places)


@pytest.mark.parametrize(
    "how",
    [
        {"do_sample": False},
        {"do_sample": True, "temperature": 1.5, "num_return_sequences": 16},
        {"do_sample": True, "top_k": 3, "num_return_sequences": 5},
        {"num_beams": 3, "num_return_sequences": 3},
        {"num_beams": 3, "do_sample": True},
        {"do_sample": False, "use_cache": False},
    ],
    ids=["greedy", "sampling", "top-k", "beams", "sampled beams", "no cache"],
)
def test_models_that_have_learned_nothing_write_only_well_formed_answers(tokenizer, how):
    inputs = tokenizer(PROMPTS, return_tensors="pt", padding=True, return_token_type_ids=False)
    length = inputs["input_ids"].shape[1]
    each = how.get("num_return_sequences", 1)
    counts = []
    processor = MaskGrammarLogitsProcessor(tokenizer, PROMPTS, length, SMALL, NAMES)
    out = random_model(len(tokenizer)).generate(
        **inputs,
        **how,
        logits_processor=[processor],
        max_new_tokens=processor.longest_answer,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    for row, tokens in enumerate(out[:, length:].tolist()):
        text = tokenizer.decode(written(tokens, tokenizer.eos_token_id, tokenizer.pad_token_id))
        counts.append(check_answer(text, PROMPTS[row // each], SMALL))
    if each > 10:
        assert len(set(counts)) > 1, "absent structures and present ones"


def test_the_full_vocabulary_of_paligemma():
    grammar = MaskGrammar()
    tokenizer = make_tokenizer("gemma", grammar)
    prompts = [PROMPTS[3], PROMPTS[1]]
    processor = MaskGrammarLogitsProcessor(tokenizer, prompts, 1, grammar, NAMES, allow_absent=False)
    # The head of the model is wider than its tokenizer, as PaliGemma's is.
    out = random_model(len(tokenizer) + 64).generate(
        torch.full((2, 1), tokenizer.bos_token_id),
        do_sample=True,
        num_return_sequences=2,
        logits_processor=[processor],
        max_new_tokens=processor.longest_answer,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    for row, tokens in enumerate(out[:, 1:].tolist()):
        text = tokenizer.decode(written(tokens, tokenizer.eos_token_id, tokenizer.pad_token_id))
        assert check_answer(text, prompts[row // 2], grammar, allow_absent=False) == (2, 1)[row // 2]


@st.composite
def objects(draw, prompt: str):
    asked = read_prompt(prompt, SMALL)
    out = []
    for name in asked.structures:
        if not draw(st.booleans()):
            continue
        y0, x0 = draw(st.integers(0, 30)), draw(st.integers(0, 30))
        codes = [y0, x0, draw(st.integers(y0 + 1, 31)), draw(st.integers(x0 + 1, 31))]
        if asked.task == "segment":
            codes += draw(st.lists(st.integers(0, 15), min_size=3, max_size=3))
        out.append((codes, draw(st.sampled_from(NAMES[name]))))
    return write_answer(out, SMALL)


@given(st.data())
@settings(max_examples=10)
@pytest.mark.parametrize("kind", ["gemma", "bert"])
def test_every_well_formed_answer_may_be_written_and_no_other_token(kind, data):
    tokenizer = TOKENIZERS.setdefault(kind, make_tokenizer(kind, SMALL))
    prompts = [PROMPTS[0], PROMPTS[1], PROMPTS[3]]
    answers = [tokenizer(data.draw(objects(prompt)), add_special_tokens=False)["input_ids"] for prompt in prompts]
    eos = tokenizer.eos_token_id
    width = max(map(len, answers)) + 1
    rows = torch.tensor([answer + [eos] * (width - len(answer)) for answer in answers])
    processor = MaskGrammarLogitsProcessor(tokenizer, prompts, 0, SMALL, NAMES)
    scores = torch.zeros(3, len(tokenizer))
    vocabulary = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    for step in range(width):
        allowed = processor(rows[:, :step], scores) > -torch.inf
        for row, prompt in enumerate(prompts):
            assert allowed[row, rows[row, step]], tokenizer.decode(rows[row, : step + 1])
            if step < len(answers[row]):
                # A token of another kind never stands where a place or a shape token stands.
                kinds = {vocabulary[one][:4] for one in allowed[row].nonzero()[:, 0].tolist()} - {"<eos"}
                true = vocabulary[rows[row, step]][:4]
                assert true not in ("<loc", "<seg") or kinds == {true}
            if "segment" not in prompt:
                assert not allowed[row, tokenizer.convert_tokens_to_ids("<seg00>")]


TOKENIZERS: dict[str, PreTrainedTokenizerFast] = {}


def test_rows_that_change_places_are_followed(tokenizer):
    prompts, generator = [PROMPTS[0], PROMPTS[3]], torch.Generator().manual_seed(0)
    processor = MaskGrammarLogitsProcessor(tokenizer, prompts, 0, SMALL, NAMES)
    rows = torch.zeros(6, 0, dtype=torch.int64)
    for _ in range(processor.longest_answer):
        scores = torch.randn(6, len(tokenizer), generator=generator)
        found = processor(rows, scores)
        if rows.shape[1] % 5 == 0:
            afresh = MaskGrammarLogitsProcessor(tokenizer, prompts, 0, SMALL, NAMES)(rows, scores)
            assert torch.equal(found, afresh)
        rows = torch.cat((rows, found.softmax(-1).multinomial(1, generator=generator)), dim=1)
        order = torch.cat([3 * half + torch.randint(3, (3,), generator=generator) for half in (0, 1)])
        rows = rows[order]


def test_there_is_room_for_what_is_begun(tokenizer):
    lengths = set()
    for room in (1, 9, 30):
        processor = MaskGrammarLogitsProcessor(tokenizer, PROMPTS[:2], 1, SMALL, NAMES, max_new_tokens=room)
        out = random_model(len(tokenizer)).generate(
            torch.full((2, 1), tokenizer.bos_token_id),
            do_sample=True,
            num_return_sequences=10,
            logits_processor=[processor],
            max_new_tokens=room,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        for row, tokens in enumerate(out[:, 1:].tolist()):
            answer = written(tokens, tokenizer.eos_token_id, tokenizer.pad_token_id)
            lengths.add(check_answer(tokenizer.decode(answer), PROMPTS[row // 10], SMALL))
    assert {0, 1} <= lengths
    with pytest.raises(ValueError, match="an answer takes at least"):
        MaskGrammarLogitsProcessor(tokenizer, PROMPTS, 1, SMALL, NAMES, allow_absent=False, max_new_tokens=8)


def test_what_comes_first_and_what_others_forbid(tokenizer):
    processor = MaskGrammarLogitsProcessor(tokenizer, ["detect heart"], 1, SMALL, lead=[tokenizer.bos_token_id])
    row = torch.tensor([[tokenizer.eos_token_id]])
    scores = processor(row, torch.full((1, len(tokenizer)), -torch.inf))
    assert (scores > -torch.inf).nonzero().tolist() == [[0, tokenizer.bos_token_id]]
    after = processor(torch.cat((row, torch.tensor([[tokenizer.bos_token_id]])), 1), torch.zeros(1, len(tokenizer)))
    assert after[0, tokenizer.eos_token_id] == 0 and (after > -torch.inf).sum() == 32


def test_names_and_tokenizers_that_cannot_be_used(tokenizer):
    def make(prompt="detect heart ; left lung", names=None, **kwargs):
        return MaskGrammarLogitsProcessor(tokenizer, [prompt], 1, SMALL, names, **kwargs)

    for arguments, message in (
        ({"names": {"heart": ["left lung"]}}, "are both called 'left lung'"),
        ({"names": {"heart": ["a;b"]}}, "cannot be called 'a;b'"),
        ({"names": {"heart": []}}, "no name for 'heart'"),
        ({"prompt": "detect heart ; heart"}, "asked for twice"),
        ({"prompt": "detect \u5fc3"}, "cannot write"),
        ({"prompt": "caption <loc0001><loc0002><loc0003><loc0004>"}, "a caption needs `names`"),
        ({"prompt": "paint heart"}, "unknown task"),
    ):
        with pytest.raises(ValueError, match=message):
            make(**arguments)
    with pytest.raises(ValueError, match="no token '<loc0032>'"):
        MaskGrammarLogitsProcessor(tokenizer, ["detect heart"], 1, MaskGrammar(64, 16, 3))
    with pytest.raises(ValueError, match="3 rows cannot be shared out among 2 prompts"):
        MaskGrammarLogitsProcessor(tokenizer, PROMPTS[:2], 1, SMALL, NAMES)(torch.ones(3, 1).long(), torch.ones(3, 99))


@pytest.mark.parametrize("how", [{}, {"do_sample": True, "num_return_sequences": 8}, {"num_beams": 4}])
def test_a_vocabulary_of_families(how):
    sizes, offsets, eos = (32,) * 4 + (16,) * 3, [3] * 4 + [35] * 3, 1
    for allow_absent in (True, False):
        processor = MaskCodesLogitsProcessor(sizes, offsets, eos, 2, allow_absent=allow_absent)
        out = random_model(60, seed=1).generate(
            torch.tensor([[2, 55], [2, 56], [2, 57]]),
            **how,
            logits_processor=[processor],
            max_new_tokens=8,
            pad_token_id=0,
            eos_token_id=eos,
        )
        for tokens in out[:, 2:].tolist():
            answer = written(tokens, eos, 0)
            assert len(answer) == 7 or (allow_absent and not answer)
            codes = [token - offset for token, offset in zip(answer, offsets)]
            assert all(0 <= code < size for code, size in zip(codes, sizes))
            assert not codes or (codes[0] < codes[2] and codes[1] < codes[3])
    with pytest.raises(ValueError, match="do not make a code"):
        MaskCodesLogitsProcessor(sizes, offsets[:-1], eos, 2)


def test_ten_thousand_strings_are_read():
    draw = random.Random(0)
    pieces = [
        *(f"<loc{v:04d}>" for v in (0, 1, 2, 511, 1023, 1024, 9999)),
        *(f"<seg{v:03d}>" for v in (0, 1, 127, 128, 999)),
        *(
            " heart",
            " left lung",
            " ; ",
            ";",
            ";;",
            " ",
            "\n",
            "\t",
            "\x00",
            "<",
            ">",
            "<loc",
            "<seg",
            "<loc>",
            "<seg-1>",
        ),
        *(
            "<loc00000000001>",
            "<loc\u0661\u0662>",
            "<LOC0001>",
            "\ud800",
            "\u202e",
            "\U0001f600",
            "%s",
            "{}",
            "\\",
            "a" * 300,
        ),
    ]
    whole = write_answer([([1, 2, 3, 4, *range(16)], "heart"), ([5, 6, 7, 8], "left lung")])
    usable = 0
    for number in range(10_000):
        if number % 2:
            text = "".join(draw.choices(pieces, k=draw.randrange(60)))
        else:
            # A good answer with pieces of it exchanged, lost or doubled.
            letters = list(whole)
            for _ in range(draw.randrange(1, 12)):
                at = draw.randrange(len(letters))
                letters[at : at + draw.randrange(4)] = draw.choice(["", draw.choice(pieces), letters[at] * 2])
            text = "".join(letters)
        for answer in read_answer(text):
            assert answer.codes or answer.problems
            assert len(answer.codes) in (0, 4, 20)
            assert all(0 <= code < (1024 if place < 4 else 128) for place, code in enumerate(answer.codes))
            usable += bool(answer.codes)
    assert usable > 1000
