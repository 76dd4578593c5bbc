"""All phrases that the reader knows, as one trie over words."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..vocabulary import FINDINGS, REGIONS, get_finding


_SLASHED = {
    "w/o": ["without"],
    "w/": ["with"],
    "c/w": ["consistent", "with"],
    "s/p": ["status", "post"],
    "r/o": ["rule", "out"],
    "h/o": ["history", "of"],
    "d/t": ["due", "to"],
    "b/l": ["bilateral"],
    "and/or": ["or"],
}
_TOKEN = re.compile(
    r"\b(?:[wW]/[oO]|[cC]/[wW]|[sS]/[pP]|[rR]/[oO]|[hH]/[oO]|[dD]/[tT]|[bB]/[lL]|and/or)\b|\b[wW]/|[A-Za-z]+|\d+(?:[.,]\d+)*|[,;:/()?>&\[\]]"
)
_EXPANSIONS = {
    f"{side}{lobe}": (long, part, "lobe")
    for side, long in (("l", "left"), ("r", "right"))
    for lobe, part in (("ul", "upper"), ("ml", "middle"), ("ll", "lower"))
} | {"lij": ("left", "ij"), "rij": ("right", "ij")}
_SINGLE_SIDES = {"L": "left", "R": "right"}
# An end mark of the trie that no word can be.
_END = ""


class Entry(NamedTuple):
    """What a phrase means.

    Attributes:
        kind: what the reader does with it, see `cues.yaml`, `places.yaml` and `frames.yaml`.
        value: depends on the kind; for "find" the finding's name.
        plural: whether the phrase is a plural.
        inner: places named within the phrase of a finding.
    """

    kind: str
    value: Any
    plural: bool = False
    inner: tuple["Entry", ...] = ()


class Place(NamedTuple):
    """A place without its side.

    Attributes:
        base: a region, without its side if it comes in pairs, or a structure of `places.yaml`.
        paired: whether it comes in pairs.
        side: "left", "right" or "both" where the phrase itself says so.
    """

    base: str
    paired: bool
    side: str = ""


def tokenize(text: str) -> list[str]:
    """Words in lower case, and the marks that matter; "RLL", "R" and "w/o" are spelled out.

    Examples:
        >>> tokenize("L-sided RLL opacity, 1.5 cm, at L1")
        ['left', 'sided', 'right', 'lower', 'lobe', 'opacity', ',', '1.5', 'cm', ',', 'at', 'l', '1']
    """
    found = _TOKEN.findall(text)
    words: list[str] = []
    for index, word in enumerate(found):
        if word in _SINGLE_SIDES:
            # "L1" and "L-spine" are no side; `mirror_text` leaves these alone, too.
            following = found[index + 1] if index + 1 < len(found) else ""
            words.append(word.lower() if following[:1].isdigit() or following == "spine" else _SINGLE_SIDES[word])
            continue
        lower = word.lower()
        if lower in _SLASHED:
            words.extend(_SLASHED[lower])
        elif lower in _EXPANSIONS:
            words.extend(_EXPANSIONS[lower])
        else:
            words.append(lower)
    return words


def _load(file_name: str) -> Any:
    return yaml.safe_load(Path(__file__).with_name(file_name).read_text(encoding="utf-8"))


@cache
def frames_table() -> Any:
    """`frames.yaml`."""
    return _load("frames.yaml")


def _is_plural(phrase: str) -> bool:
    last = phrase.split()[-1]
    return last in ("bullae", "hila", "granulomata", "metastases") or (
        last.endswith("s") and not last.endswith(("ss", "is", "us", "as", "x ray"))
    )


class Lexicon:
    """A trie over words; the longest phrase at a word wins, of equal ones the one that was added first."""

    def __init__(self) -> None:
        self._root: dict[str, Any] = {}
        self._words: dict[str, set[str]] = {}

    def add(self, phrase: str, entry: Entry) -> None:
        """Enter a phrase, spelled in any way that `tokenize` reads."""
        node = self._root
        for word in tokenize(phrase):
            node = node.setdefault(word, {})
            self._words.setdefault(word, set()).add(entry.kind)
        node.setdefault(_END, entry)

    def __contains__(self, phrase: str) -> bool:
        node = self._root
        for word in tokenize(phrase):
            if word not in node:
                return False
            node = node[word]
        return _END in node

    def words(self, *kinds: str) -> frozenset[str]:
        """Words of all phrases, or of those of some kinds."""
        return frozenset(word for word, found in self._words.items() if not kinds or not found.isdisjoint(kinds))

    def match(self, words: list[str]) -> Iterator[tuple[int, int, Entry]]:
        """First word, one past the last word, and meaning of every phrase, left to right without overlap."""
        root, position, count = self._root, 0, len(words)
        while position < count:
            node = root.get(words[position])
            if node is None:
                position += 1
                continue
            found, end, at = node.get(_END), position + 1, position + 1
            while at < count:
                node = node.get(words[at])
                if node is None:
                    break
                at += 1
                if _END in node:
                    found, end = node[_END], at
            if found is None:
                position += 1
                continue
            yield position, end, found
            position = end


_CUES = {
    "uncertain": "hedge",
    "uncertain_behind": "hedge_behind",
    "versus": "versus",
    "explains": "explains",
    "near": "near",
    "given": "given",
    "hypothetical": "hypothetical",
    "breaks": "break",
    "except": "except",
    "otherwise": "otherwise",
    "there": "there",
    "verbs": "verb",
    "with": "with",
    "and": "and",
    "or": "or",
    "a": "a",
    "the": "the",
    "in": "in",
    "none": "none",
    "not_negations": "ignore",
    "compared_sides": "ignore",
}
_MARKS = {",": "comma", "(": "comma", ")": "comma", ";": "break", ":": "colon", "/": "and", "?": "hedge", "&": "and"}


def _add_cues(lexicon: Lexicon) -> None:
    cues = _load("cues.yaml")
    for mark, kind in _MARKS.items():
        lexicon.add(mark, Entry(kind, None))
    for section, kind in (("absent", "absent"), ("absent_behind", "absent_behind")):
        for value, phrases in cues[section].items():
            for phrase in phrases:
                lexicon.add(phrase, Entry(kind, value))
    flagged = set(cues["changes"]) | set(cues["degrees_of_change"])
    for section, kind in (("severity", "severity"), ("temporal", "temporal"), ("comparison", "comparison")):
        for value, phrases in cues[section].items():
            for phrase in phrases:
                # `plural` of a comparison says that a negation turns it into "no change", of a severity that it may
                # be one of the change.
                lexicon.add(phrase, Entry(kind, value, phrase in flagged))
    for phrase in cues["changes"]:
        lexicon.add(phrase, Entry("comparison", "", True))
    for section, kind in _CUES.items():
        for phrase in cues[section]:
            lexicon.add(phrase, Entry(kind, None))
    for phrase in cues["course_verbs"]:
        lexicon.add(phrase, Entry("verb", "course"))


def _places() -> Iterator[tuple[str, Entry]]:
    table = _load("places.yaml")
    for side, phrases in table["sides"].items():
        yield from ((phrase, Entry("side", side)) for phrase in phrases)
    for structure, phrases in table["structures"].items():
        paired = structure in ("pleura", "rib", "shoulder", "chest")
        yield from ((p, Entry("place", Place(structure, paired), _is_plural(p))) for p in phrases)
    for base, terms in table["pairs"].items():
        for number in ("singular", "plural"):
            for phrase in terms[number]:
                yield phrase, Entry("place", Place(base, True), number == "plural")
    for name, phrases in table["one_sided"].items():
        side, _, base = name.partition(" ")
        yield from ((phrase, Entry("place", Place(base, True, side))) for phrase in phrases)
    for base, phrases in table["unpaired"].items():
        yield from ((phrase, Entry("place", Place(base, False))) for phrase in phrases)
    for base, phrases in table["parts"].items():
        yield from ((phrase, Entry("part", Place(base, True))) for phrase in phrases)
    for region in REGIONS:
        for phrase in (region.name, region.term, *region.synonyms):
            if region.side == "right" and phrase.startswith("right "):
                base = region.name.removeprefix("right ")
                yield phrase.removeprefix("right "), Entry("place", Place(base, True))
            elif region.side is None:
                yield phrase, Entry("place", Place(region.name, False))


def _place_lexicon() -> Lexicon:
    lexicon = Lexicon()
    for phrase, entry in _places():
        lexicon.add(phrase, entry)
    return lexicon


# Places within the name of a finding that say where it is: "hilar prominence", "apical scarring".
_TELLING = {
    "lung",
    "lower lung zone",
    "apical zone",
    "hilar structures",
    "costophrenic angle",
    "hemidiaphragm",
    "mediastinum",
    "upper mediastinum",
    "trachea",
    "aortic arch",
}
# Said of a disease, "prior" means old; elsewhere it is the film before.
_PRIOR: dict[str, tuple[str, ...]] = {"acute": (), "chronic": ("prior",)}
_NOT_TELLING = {"sub-diaphragmatic air", "diaphragmatic hernia", "vascular redistribution", "hernia"}


def _inner_places(phrase: str, finding: str, places: Lexicon) -> tuple[Entry, ...]:
    if get_finding(finding).category in ("tubesandlines", "device") or finding in _NOT_TELLING:
        return ()
    found = [entry for _, _, entry in places.match(tokenize(phrase)) if entry.kind == "place"]
    told = [e for e in found if e.value.base in _TELLING and (e.value.base != "lung" or e.plural)]
    # "Chronic interstitial lung disease" is one name, and chronic.
    age = _ages().get(tokenize(phrase)[0])
    return (*told, *([Entry("temporal", age)] if age else []))


@cache
def _ages() -> dict[str, str]:
    return {word: age for age, words in _load("cues.yaml")["temporal"].items() for word in (*words, *_PRIOR[age])}


def _finding_phrases() -> Iterator[tuple[str, str]]:
    table = frames_table()
    skip = set(table["not_findings"])
    for finding in FINDINGS:
        names = [finding.name] if not re.search(r"[/(]", finding.name) else []
        spellings = [noun.text for noun in finding.nouns] + names + list(finding.synonyms)
        spellings += table["more_synonyms"].get(finding.name, [])
        for phrase in dict.fromkeys(" ".join(tokenize(spelling)) for spelling in spellings):
            if phrase not in skip:
                yield phrase, finding.name


def _add_findings(lexicon: Lexicon, places: Lexicon) -> None:
    phrases = list(_finding_phrases())
    known = set(phrases)
    for phrase, finding in phrases:
        first, _, rest = phrase.partition(" ")
        # "Basilar atelectasis" is read as a place and a finding, so that "left basilar" keeps its side.
        if first in ("basilar", "bibasilar", "apical", "biapical") and (rest, finding) in known:
            continue
        lexicon.add(phrase, Entry("find", finding, _is_plural(phrase), _inner_places(phrase, finding, places)))
    for phrase, finding in phrases:
        plural = f"{phrase[:-1]}ies" if phrase.endswith("y") else f"{phrase}s"
        if not _is_plural(phrase) and plural not in lexicon:
            lexicon.add(plural, Entry("find", finding, True, _inner_places(phrase, finding, places)))


def _add_frames(lexicon: Lexicon) -> None:
    table = frames_table()
    for number, frame in enumerate(table["frames"]):
        for phrase in frame["words"]:
            lexicon.add(phrase, Entry("frame", number))
    for number, frame in enumerate(table["normal"]):
        for phrase in frame["words"]:
            lexicon.add(phrase, Entry("normal", number))
    for summary in table["summaries"]:
        for phrase in summary["words"]:
            lexicon.add(phrase, Entry("summary", tuple(summary["findings"])))
    for phrase in table["no_finding"]:
        lexicon.add(phrase, Entry("ignore", None))


@cache
def default_lexicon() -> Lexicon:
    """The lexicon of our vocabulary and of the tables of this folder."""
    places = _place_lexicon()
    lexicon = Lexicon()
    _add_frames(lexicon)
    _add_findings(lexicon, places)
    _add_cues(lexicon)
    for phrase, entry in _places():
        lexicon.add(phrase, entry)
    return lexicon
