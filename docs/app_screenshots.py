"""Take the screenshots of docs/app.md: `docs/images/app-*.png`, by a headless Chromium.

python docs/app_screenshots.py [CHROMIUM]

Needs the extras `app` and `synthesis`, playwright, and a Chromium or Chrome (looked for on the path by default).
"""

import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from anatomy_vlm.app.server import AppSettings, running_app


IMAGES = Path(__file__).parent / "images"
DESKTOP, PHONE = (1280, 1000), (390, 844)
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_WAIT = 300_000  # milliseconds; a busy machine is no reason to fail


def main() -> None:
    """Serve the app, look at it on a desk and on a phone."""
    program = sys.argv[1] if len(sys.argv) > 1 else next(filter(None, map(shutil.which, _BROWSERS)), None)
    if program is None:
        raise SystemExit("no Chromium found: name its program as the argument")
    with running_app(AppSettings()) as app, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name, (width, height) in {"desktop": DESKTOP, "phone": PHONE}.items():
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
            page.set_default_timeout(_WAIT)
            page.goto(app.url)
            page.locator(".av-example").nth(2).click()
            page.locator(".av-frame svg").wait_for()
            page.get_by_role("option", name="left costophrenic angle").click()
            _settle(page)
            top = ".av-frame" if name == "phone" else "#status"
            page.locator(top).evaluate("node => node.scrollIntoView()")
            _save(page, f"app-{name}")
            if name == "desktop":
                page.locator(".av-example").nth(5).click()
                page.get_by_role("tab", name="Prior study").click()
                page.locator("#comparison iframe").wait_for()
                _settle(page)
                page.get_by_role("tab", name="Prior study").evaluate("node => node.scrollIntoView()")
                _save(page, "app-prior")
            page.close()
        browser.close()


def _settle(page: Page) -> None:
    page.wait_for_timeout(1500)


def _save(page: Page, name: str) -> None:
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path)
    _small(Image.open(path).convert("RGB")).save(path, optimize=True)


def _small(picture: Image.Image) -> Image.Image:
    """The picture in 128 greys, for the film, and 128 colours that cover those of thin lines."""
    colours = picture.quantize(128, Image.Quantize.MAXCOVERAGE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([2 * (level // 3) for level in range(384)] + colours[:384])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


if __name__ == "__main__":
    main()
