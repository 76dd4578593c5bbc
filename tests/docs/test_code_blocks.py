"""Every code block of README.md, CONTRIBUTING.md and docs/: Python runs, commands are understood, data is data."""

import doctest
import json

import pytest
import yaml

from anatomy_vlm.hub_cards import REFERENCE_WRITER


# Blocks that cannot be run or checked here, by page and a piece of their text, and why.
NOT_RUN = {
    ("docs/backbones.md", "microsoft/rad-dino"): "fetches two towers from the Hub",
    ("docs/vlm.md", "outputs/paligemma2/model"): "asks a model of 3 billion weights; tests/vlm asks tiny ones",
    ("docs/vlm.md", "outputs/paligemma2"): "weights of a training that starts from a gated checkpoint",
    ("docs/evidence.md", "films.safetensors"): "reads an index of a large set; tests/cli/test_evidence.py runs it",
}
NOT_CHECKED = {
    ("docs/recovery.md", "#SBATCH"): "a batch file of Slurm, which is not here",
}
# Their blocks are run one after another by a test of their own.
WALKED = {"docs/own-data.md"}
PROSE = {"", "text", "bibtex"}


def excepted(table: dict[tuple[str, str], str], page: str, text: str) -> bool:
    return any(page == name and piece in text for name, piece in table)


def test_every_block_is_of_a_language_that_is_checked(documents):
    known = PROSE | {"python", "bash", "json", "yaml"}
    assert [block.where for blocks in documents.values() for block in blocks if block.language not in known] == []
    assert sum(len(blocks) for blocks in documents.values()) > 50


def test_exceptions_are_still_needed(documents):
    for page, piece in [*NOT_RUN, *NOT_CHECKED]:
        assert any(piece in block.text for block in documents[page]), (page, piece)


def test_python_runs(documents, home, monkeypatch, capsys):
    """Blocks of a page share their names, as a reader would paste them one after another."""
    monkeypatch.chdir(home)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    reports: list[str] = []
    ran = 0
    for page, blocks in documents.items():
        names: dict = {"__name__": "__main__"}
        for block in blocks:
            if block.language != "python" or page in WALKED or excepted(NOT_RUN, page, block.text):
                continue
            if "REFERENCE_WRITER" in block.text and not REFERENCE_WRITER.is_dir():
                continue  # a checkout before its weights were made
            ran += 1
            if block.text.lstrip().startswith(">>>"):
                examples = doctest.DocTestParser().get_doctest(block.text, names, block.where, page, 0)
                runner.run(examples, out=reports.append, clear_globs=False)
                names |= examples.globs
            else:
                exec(compile(block.text, block.where, "exec"), names)
    assert runner.summarize(verbose=False).failed == 0, "".join(reports)
    assert ran >= 5


def test_commands_are_understood(documents, check_command, monkeypatch, home):
    monkeypatch.chdir(home)
    wrong, count = [], 0
    for page, blocks in documents.items():
        for block in blocks:
            if block.language != "bash" or excepted(NOT_CHECKED, page, block.text):
                continue
            for command in block.commands():
                count += 1
                try:
                    check_command(command)
                except (AssertionError, ValueError, OSError) as error:
                    wrong.append(f"{block.where}: {error}")
    assert wrong == []
    assert count > 60


def test_a_wrong_command_is_found(check_command):
    for command in (
        "anatomy-vlm predict film.png --colour red",
        "anatomy-vlm train phantom-tiny --set data.nothing=1",
        "make coffee",
        'pip install -e ".[everything]"',
        "python benchmarks/scaling.py --no-such-option",
        "python benchmarks/not_there.py",
        "python -m anatomy_vlm.training.masks.vlm_training --no-such-option",
        "curl example.org",
    ):
        with pytest.raises((AssertionError, ValueError, OSError)):
            check_command(command)


def test_data_is_data(documents):
    for blocks in documents.values():
        for block in blocks:
            if block.language == "yaml":
                assert yaml.safe_load(block.text), block.where
            if block.language == "json":
                try:
                    json.loads(block.text)
                except ValueError:  # one object per line
                    assert [json.loads(line) for line in block.text.splitlines()], block.where
