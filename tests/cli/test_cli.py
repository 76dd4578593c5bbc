"""The command line: exit statuses, one line per mistake, files written whole."""

import json
import subprocess
import sys

import pytest

from anatomy_vlm.cli import build_parser, main


def run(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_predict_reports_the_bad_files_and_reads_the_rest(capsys, checkpoint, films, tmp_path):
    out, overlays = tmp_path / "new" / "out.json", tmp_path / "overlays"
    status, printed, errors = run(
        capsys, "predict", films, "--model", checkpoint, "--json", out, "--overlay", overlays, "--device", "cpu"
    )
    assert status == 1
    assert f"{films / 'truncated.png'}: " in errors and f"{films / 'text.dcm'}: " in errors
    assert "2 of 4 images read" in errors
    assert len(json.loads(out.read_text())) == 4
    assert sorted(path.name for path in overlays.iterdir()) == ["a.png", "b.png"]
    assert printed.count("\n") == 2 and "a.png: " in printed


def test_predict_succeeds_on_good_files_and_prints_json_on_request(capsys, checkpoint, films):
    status, printed, _ = run(
        capsys,
        "predict",
        films / "a.png",
        "--model",
        checkpoint,
        "--json",
        "-",
        "--prompts",
        "a film",
        "--device",
        "cpu",
        "--force",
    )
    assert status == 0
    assert json.loads(printed)[0]["prompts"][0]["text"] == "a film"


def test_overlays_of_one_name_do_not_replace_each_other(capsys, checkpoint, films, tmp_path):
    (films / "ward" / "a.png").write_bytes((films / "a.png").read_bytes())
    both = [films / "a.png", films / "ward" / "a.png"]
    run(capsys, "predict", *both, "--model", checkpoint, "--overlay", tmp_path / "o", "--device", "cpu")
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["a-2.png", "a.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "gone.png"], "gone.png: no such file or folder"),
        (["predict", "{films}", "--model", "{films}"], "no config.json in this folder"),
        (["predict", "{films}", "--model", "no/such/folder"], "no/such/folder: no such folder"),
        (["predict", "{films}", "--model", "{checkpoint}", "--device", "abacus"], "device 'abacus' cannot be used"),
        (["evaluate", "{checkpoint}", "gone"], "gone: no such folder"),
        (["evaluate", "{checkpoint}", "{films}"], "{films}: "),
        (["export", "{films}", "{films}/out"], "{films}: "),
    ],
)
def test_a_mistake_is_one_line_and_status_2(capsys, checkpoint, films, arguments, message):
    places = {"films": films, "checkpoint": checkpoint}
    status, printed, errors = run(capsys, *[argument.format(**places) for argument in arguments])
    assert status == 2 and printed == ""
    lines = [line for line in errors.splitlines() if line.startswith("anatomy-vlm: error:")]
    assert len(lines) == 1 and message.format(**places) in lines[0]
    assert "Traceback" not in errors


def test_debug_shows_the_traceback(capsys):
    status, _, errors = run(capsys, "predict", "gone.png", "--debug")
    assert status == 2 and "Traceback" in errors and "anatomy-vlm: error: gone.png" in errors


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict"],
        ["predict", "x.png", "--batch-size", "0"],
        ["synthesize"],
        ["synthesize", "phantom"],
        ["synthesize", "phantom", "--out", "x", "--splits", "train=0.5,test=0.1"],
        ["synthesize", "phantom", "--out", "x", "--splits", "train"],
        ["synthesize", "phantom", "--out", "x", "--seed", "-1"],
        ["paint"],
    ],
)
def test_wrong_arguments_have_status_2(capsys, arguments):
    assert run(capsys, *arguments)[0] == 2


def test_help_and_version_have_status_0_and_no_command_2(capsys):
    assert run(capsys, "--help")[0] == 0
    status, printed, _ = run(capsys, "--version")
    assert status == 0 and "anatomy_vlm" in printed and "transformers" in printed
    status, printed, _ = run(capsys)
    assert status == 2 and "predict" in printed


def test_every_command_explains_itself(capsys):
    for name in ("demo", "predict", "synthesize", "train", "evaluate", "calibrate", "export"):
        status, printed, _ = run(capsys, name, "--help")
        assert status == 0 and f"anatomy-vlm {name}" in printed


def test_the_parser_imports_nothing_heavy():
    code = (
        "import sys; before = set(sys.modules); import anatomy_vlm; after = set(sys.modules);"
        "from anatomy_vlm.cli import build_parser; build_parser();"
        "new = {name.partition('.')[0] for name in set(sys.modules) - after};"
        "print(new & {'torch', 'transformers', 'datasets', 'evaluate', 'scipy', 'jinja2', 'numba', 'pydicom'})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_interruption_has_its_own_status(capsys, monkeypatch):
    parser = build_parser()
    args = parser.parse_args(["export", "a", "b"])

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(args, "run", interrupted)
    monkeypatch.setattr("anatomy_vlm.cli.build_parser", lambda: parser)
    monkeypatch.setattr(parser, "parse_args", lambda _: args)
    status, _, errors = run(capsys, "export", "a", "b")
    assert status == 130 and errors == "anatomy-vlm: interrupted\n"


def test_a_bug_is_not_hidden(monkeypatch):
    parser = build_parser()
    args = parser.parse_args(["export", "a", "b"])

    def broken(_):
        raise ZeroDivisionError

    monkeypatch.setattr(args, "run", broken)
    monkeypatch.setattr("anatomy_vlm.cli.build_parser", lambda: parser)
    monkeypatch.setattr(parser, "parse_args", lambda _: args)
    with pytest.raises(ZeroDivisionError):
        main(["export", "a", "b"])
