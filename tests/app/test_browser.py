"""The page in a headless Chromium: every feature by a click or a key, on a desk and on a phone."""

import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image


pytest.importorskip("gradio", reason="the app needs the extra `app`")
playwright = pytest.importorskip("playwright.sync_api", reason="clicking needs playwright")

from anatomy_vlm.app.masks import find_mask_reader  # noqa: E402
from anatomy_vlm.app.server import AppSettings, running_app  # noqa: E402
from anatomy_vlm.app.service import FilmService  # noqa: E402
from anatomy_vlm.processing.mask_pictures import spoken_name  # noqa: E402


PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WAIT = 300_000  # milliseconds; a busy machine is no reason to fail


@pytest.fixture(scope="module")
def chromium():
    program = os.environ.get("ANATOMY_VLM_CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("no Chromium or Chrome on the path; ANATOMY_VLM_CHROMIUM may name one")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def app(service):
    reads = FilmService(service.predictor, find_mask_reader(None, "cpu"))
    with running_app(AppSettings(max_megabytes=8), reads) as running:
        yield running


@pytest.fixture
def visit(chromium, app):
    """Opens the page as somebody of their own; nothing may go wrong in it, and nothing be asked of elsewhere."""
    contexts, wrong = [], []

    def note(request):
        if not request.url.startswith((app.url, "data:", "blob:", "about:")):
            wrong.append(f"asked for {request.url}")

    def open_page(width=1280, height=900):
        context = chromium.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(WAIT)
        contexts.append(context)
        page = context.new_page()
        page.on("request", note)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(app.url)
        page.get_by_role("heading", name="Anatomy-VLM", exact=True).wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def drop(page, file, label="Film"):
    page.locator("input[type='file']").nth(0 if label == "Film" else -1).set_input_files(file)


def said(page, text, role="status"):
    page.get_by_role(role).filter(has_text=re.compile(text)).wait_for()


def no_sideways_scrolling(page):
    return page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_a_film_is_read_and_its_regions_chosen_by_key(visit, app, film, tmp_path):
    """The quick one: a file, the boxes, the keyboard, a download, a mistake, and leaving."""
    page = visit(390, 844)
    path = tmp_path / "Jane DOE.png"
    film.save(path)
    drop(page, path)
    said(page, "Film read: [0-9]+ of 29 regions")
    boxes = page.locator(".av-frame .av-box")
    assert boxes.count() > 20 and no_sideways_scrolling(page)
    right, left = (
        page.locator(f".av-box[data-region='{side} lung']").bounding_box()["x"] for side in ("right", "left")
    )
    assert right < left
    listbox = page.get_by_role("listbox", name=re.compile("Regions"))
    assert listbox.get_by_role("option").count() == 29
    listbox.focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowUp")
    chosen = listbox.locator("[aria-selected='true']")
    assert chosen.count() == 1
    assert page.locator(".av-detail h3").inner_text() == chosen.get_attribute("data-region")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Reading (JSON)").click()
    record = json.loads(saved.value.path().read_text())[0]
    assert saved.value.suggested_filename == "reading.json" and record["file"] == "film.png"
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a film")
    drop(page, broken)
    said(page, "cannot be read as a film", "alert")
    assert page.locator(".av-frame svg").is_visible()
    assert [path for path in app.folder.rglob("*") if path.is_file()] == []


@pytest.mark.slow
def test_every_feature(visit, app, film, tmp_path):
    page = visit()
    # The gallery, and hovering.
    examples = page.locator(".av-example")
    examples.first.wait_for()
    assert examples.count() == 6
    examples.nth(2).focus()
    page.keyboard.press("Enter")
    said(page, "Film read")
    page.locator(".av-frame").scroll_into_view_if_needed()
    heart = page.locator(".av-box[data-region='cardiac silhouette']").bounding_box()
    page.mouse.move(heart["x"] + heart["width"] / 2, heart["y"] + heart["height"] * 0.8)
    assert page.locator(".av-active").count() == 1
    page.get_by_role("option", name="right costophrenic angle").click()
    detail = page.locator(".av-detail")
    assert detail.locator("h3").inner_text() == "right costophrenic angle"
    assert "asked:" in detail.inner_text() and "pleural effusion" in detail.inner_text()
    page.get_by_label("Boxes:").select_option("none")
    assert page.locator(".av-frame g:visible > .av-box").count() == 1

    # Texts of one's own.
    page.get_by_label("Texts to score").fill("a large heart\n<b>fluid</b> & more")
    page.get_by_role("button", name="Score these texts").click()
    said(page, "Scored: .a large heart. 0")
    assert page.locator(".av-texts li").count() == 2 and page.locator(".av-texts b").count() == 0

    # The evidence card, and a look at it.
    page.get_by_role("tab", name="Evidence").click()
    page.get_by_role("button", name="Gather the evidence").click()
    said(page, "Evidence for")
    card = page.frame_locator("#evidence iframe")
    card.get_by_text("What masking a region does").first.wait_for()
    downloads = {}
    for button, name in (("Overlay (PNG)", "overlay.png"), ("Evidence card", "evidence.html")):
        with page.expect_download() as saved:
            page.get_by_role("button", name=button).click()
        assert saved.value.suggested_filename == name
        downloads[name] = saved.value.path()
    assert Image.open(downloads["overlay.png"]).height == 960
    assert "What masking a region does" in downloads["evidence.html"].read_text()

    # The prior study, from a file.
    page.get_by_role("tab", name="Prior study").click()
    path = tmp_path / "before.png"
    film.save(path)
    drop(page, path, "Prior")
    said(page, "Compared with the prior study")
    page.frame_locator("#comparison iframe").get_by_text("Two studies of one patient").wait_for()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Comparison (HTML)").click()
    assert saved.value.suggested_filename == "comparison.html"

    # Two films of an example are compared at once.
    examples.nth(5).click()
    page.frame_locator("#comparison iframe").get_by_text("example-6-prior.png").first.wait_for()

    # A film that is no upright chest: warned of, withheld, stated when asked for.
    turned = tmp_path / "turned.png"
    film.rotate(180).save(turned)
    drop(page, turned)
    said(page, "Findings are withheld", "alert")
    page.get_by_role("tab", name="Your texts").click()
    page.get_by_label("State findings even of a film").check()
    said(page, "above their thresholds")
    assert page.locator(".av-findings tbody tr").count() > 0

    # Masks, where the package has a model that writes them.
    names = app.handlers.service.structures
    assert page.get_by_role("tab", name="Masks").count() == bool(names)
    if names:
        page.get_by_role("tab", name="Masks").click()
        page.get_by_label("Structures").fill(spoken_name(names[0]))
        page.keyboard.press("Enter")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Draw the masks").click()
        said(page, "Masks drawn")
        page.locator(".av-masks li").wait_for()

    # Too large: refused in one line, nothing kept.
    large = tmp_path / "large.dcm"
    large.write_bytes(b"\0" * (9 * 2**20))
    drop(page, large)
    page.get_by_text(re.compile("maximum|exceeds|too large", re.IGNORECASE)).first.wait_for()
    assert [path for path in app.folder.rglob("*") if path.is_file()] == []

    # Every control has a name, every picture a text.
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, textarea, img, iframe, [role=img]')]
        .filter((node) => node.checkVisibility() && !(node.ariaLabel || node.hasAttribute('alt') || node.title
          || node.labels?.length || node.innerText?.trim() || node.getAttribute('aria-labelledby')))
        .map((node) => node.outerHTML.slice(0, 200))"""
    )
    assert unnamed == []


@pytest.mark.slow
def test_two_people_at_once_and_one_who_reloads_in_mid_run(visit, app, film, tmp_path):
    first, second = visit(), visit(390, 844)
    path = tmp_path / "one.png"
    Image.fromarray(np.ascontiguousarray(np.asarray(film)[:, 8:-8])).save(path)
    drop(first, path)
    drop(second, path)
    said(first, "Film read")
    said(second, "Film read")
    second.locator(".av-example").nth(1).click()
    second.locator(".av-frame svg[aria-label*='512 by 512']").wait_for()
    assert "240 by" in first.locator(".av-frame svg").get_attribute("aria-label")
    assert len(app.handlers.sessions) >= 2
    # Evidence takes its time; the page is loaded anew while it is gathered.
    first.get_by_role("tab", name="Evidence").click()
    first.get_by_role("button", name="Gather the evidence").click()
    first.wait_for_timeout(500)
    first.reload()
    first.get_by_role("heading", name="Anatomy-VLM", exact=True).wait_for()
    assert first.locator(".av-frame svg").count() == 0
    drop(first, path)
    said(first, "Film read")
    assert "512 by 512" in second.locator(".av-frame svg").get_attribute("aria-label")
    with second.expect_download() as saved:
        second.get_by_role("button", name="Reading (JSON)").click()
    assert json.loads(saved.value.path().read_text())[0]["file"] == "example-2.png"
    assert no_sideways_scrolling(second)
