"""The page and its server: where it listens, what it refuses, and that nothing is left."""

import asyncio
import json
import os
import tempfile
import urllib.error
import urllib.request

import pytest


gradio = pytest.importorskip("gradio", reason="the app needs the extra `app`")

from anatomy_vlm.app.page import build_page, film_file  # noqa: E402
from anatomy_vlm.app.server import AppSettings, running_app  # noqa: E402
from anatomy_vlm.cli import main  # noqa: E402


def posted(url, name, content):
    """Upload as a browser does; the answer's status and text."""
    border = "border"
    head = f'--{border}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
    body = head + content + f"\r\n--{border}--\r\n".encode()
    request = urllib.request.Request(url, body, {"Content-Type": f"multipart/form-data; boundary={border}"})
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except urllib.error.URLError as error:
        # Refused while it was being sent.
        assert isinstance(error.reason, ConnectionError)
        return 413, ""


def test_a_server_refuses_what_is_too_large_and_leaves_nothing(service):
    before = tempfile.gettempdir()
    with running_app(AppSettings(examples=False, max_megabytes=1), service) as app:
        assert app.url.startswith("http://127.0.0.1:")
        assert app.folder.is_dir() and app.folder.stat().st_mode & 0o077 == 0
        assert tempfile.gettempdir() == str(app.folder)
        status, _ = posted(f"{app.url}gradio_api/upload", "large.dcm", b"\0" * (100 * 2**20))
        assert status == 413
        status, text = posted(f"{app.url}gradio_api/upload", "large.dcm", b"\0" * (2**20 + 2**16))
        assert status == 413 and "maximum allowed size" in text and "\n" not in text.strip()
        assert [path for path in app.folder.rglob("*") if path.is_file()] == []
        status, _ = posted(f"{app.url}gradio_api/upload", "never-read.png", b"x" * 1000)
        assert status == 200
        assert [path.name for path in app.folder.rglob("*") if path.is_file()] == ["never-read.png"]
        # The same file of somebody else is another one: neither is deleted with the other.
        assert posted(f"{app.url}gradio_api/upload", "never-read.png", b"x" * 1000)[0] == 200
        assert len([path for path in app.folder.rglob("*") if path.is_file()]) == 2
        with urllib.request.urlopen(app.url, timeout=60) as answer:
            page = answer.read().decode()
        # Nothing is reported, and nothing is fetched from elsewhere.
        assert '"analytics_enabled":false' in page.replace(" ", "") and "fonts.googleapis.com" not in page
        for path in ("file=/etc/hostname", f"file={os.path.abspath(__file__)}"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{app.url}gradio_api/{path}", timeout=60)
            assert refused.value.code in (403, 404)
    assert not app.folder.exists() and tempfile.gettempdir() == before
    assert "GRADIO_TEMP_DIR" not in os.environ


def asked(url, path):
    """What the server says to a page that names a file of its own making in place of an upload."""
    with urllib.request.urlopen(f"{url}config", timeout=60) as answer:
        dependencies = json.loads(answer.read())["dependencies"]
    (number,) = [item["id"] for item in dependencies if item["targets"][0][1] == "upload"][:1]
    body = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}], "fn_index": number, "session_hash": "me"}
    request = urllib.request.Request(
        f"{url}gradio_api/queue/join", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60):
        pass
    with urllib.request.urlopen(f"{url}gradio_api/queue/data?session_hash=me", timeout=300) as answer:
        for line in answer:
            message = json.loads(line.decode().removeprefix("data: ").strip() or "{}")
            if message.get("msg") == "process_completed":
                return message


def test_only_what_was_uploaded_is_read(service, tmp_path, film):
    mine, outside = tmp_path / "film.png", "http://127.0.0.1:9/film.png"
    film.save(mine)
    with running_app(AppSettings(examples=False), service) as app:
        for path in (str(mine), outside, "/etc/hostname"):
            assert asked(app.url, path)["success"] is False
        assert mine.exists()
        _, text = posted(f"{app.url}gradio_api/upload", "film.png", mine.read_bytes())
        answer = asked(app.url, json.loads(text)[0])
        assert answer["success"] is True and "29 regions found" in json.dumps(answer["output"])
        assert [path for path in app.folder.rglob("*") if path.is_file()] == []
        # By another name than those of this computer it does not answer.
        request = urllib.request.Request(app.url, headers={"Host": "elsewhere.example"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=60)
        assert refused.value.code == 400


def test_an_address_in_place_of_a_file_is_not_fetched():
    with gradio.Blocks():
        component = film_file("Film")
    with pytest.raises(gradio.Error, match="not fetched"):
        asyncio.run(component.async_move_resource_to_block_cache("http://127.0.0.1:9/film.png"))


def test_masks_and_comparison_are_offered_only_where_they_can_be_had(handlers, monkeypatch):
    page = build_page(handlers, max_megabytes=64, place="Here.")
    tabs = {block.label: block.visible for block in page.blocks.values() if isinstance(block, gradio.Tab)}
    assert tabs == {"Your texts": True, "Evidence": True, "Prior study": True, "Masks": False}
    assert all(fn.api_visibility == "private" for fn in page.fns.values() if fn.name not in ("left",))
    monkeypatch.setattr(type(handlers.service), "can_compare", False)
    monkeypatch.setattr(type(handlers.service), "structures", ("heart",))
    page = build_page(handlers, max_megabytes=64, place="Here.")
    tabs = {block.label: block.visible for block in page.blocks.values() if isinstance(block, gradio.Tab)}
    assert (tabs["Prior study"], tabs["Masks"]) == (False, True)


def test_a_model_that_is_not_there_is_one_line(tmp_path, capsys):
    assert main(["app", "--model", str(tmp_path / "none"), "--no-examples"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "none" in error


def test_without_gradio_the_extra_is_named(monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "anatomy_vlm.app.page", raising=False)
    assert main(["app", "--no-examples"]) == 2
    assert 'pip install "anatomy-vlm[app]"' in capsys.readouterr().err
