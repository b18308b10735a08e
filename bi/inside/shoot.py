"""Open each dashboard in headless Chromium, wait until it is drawn, and take its picture.

    python shoot.py URL CHROMIUM DIRECTORY SLUG…

The administrator's password comes from the environment. Every question that a page asks meanwhile
is listed on stdout as JSON: an object a dashboard, with the charts it drew and what went wrong.
"""

import io
import json
import os
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

WIDTH = 1500
#: Milliseconds.
PATIENCE = 180_000
#: What Superset shows in a chart's place while it waits, and where it failed.
WAITING = "[data-test='loading-indicator'], .loading, .ant-spin-spinning"
WRONG = "[data-test='error-container'], .ant-alert-error, .chart-error, .error-boundary"
CHART = "[data-test='dashboard-component-chart-holder'], .dashboard-component-chart-holder"
EMPTY = "text=/No results were returned|No data/"


def open_session(page: Page, url: str) -> None:
    """Log in as the page for it does."""
    page.goto(f"{url}/login/", timeout=PATIENCE)
    answer = page.request.post(
        f"{url}/login/",
        form={"username": "admin", "password": os.environ["SUPERSET_ADMIN_PASSWORD"]},
    )
    if "login" in answer.url:
        raise SystemExit("the log-in was refused")


def draw(page: Page, url: str, slug: str) -> dict:
    """Load a dashboard to its end; what came of it."""
    asked, wrong = [], []

    def note(answer) -> None:
        if "/api/v1/chart/data" in answer.url:
            asked.append(answer.url)
            if answer.status >= 400:
                wrong.append(f"HTTP {answer.status}: {answer.text()[:300]}")

    page.on("response", note)
    page.on("pageerror", lambda error: wrong.append(f"script: {str(error)[:300]}"))
    page.set_viewport_size({"width": WIDTH, "height": 900})
    page.goto(f"{url}/superset/dashboard/{slug}/?standalone=1&show_filters=0", timeout=PATIENCE)
    page.wait_for_selector(CHART, timeout=PATIENCE)
    # All of it, so that charts further down are drawn too.
    for _ in range(3):
        height = page.evaluate(
            "Math.max(...[...document.querySelectorAll('.grid-container, body')]"
            ".map(one => one.scrollHeight + one.getBoundingClientRect().top))"
        )
        page.set_viewport_size({"width": WIDTH, "height": int(height) + 24})
        page.wait_for_timeout(1500)
        page.wait_for_load_state("networkidle", timeout=PATIENCE)
        page.wait_for_function(
            f"document.querySelectorAll({json.dumps(WAITING)}).length === 0", timeout=PATIENCE
        )
    page.wait_for_timeout(2500)  # what is drawn moves into its place
    wrong += [one.inner_text()[:300] for one in page.locator(WRONG).all()]
    return {
        "dashboard": slug,
        "asked": len(asked),
        "charts": page.locator(CHART).count(),
        "empty": page.locator(EMPTY).count(),
        "wrong": wrong,
    }


def down_to_the_last(page: Page) -> dict:
    """The part of the page that has charts."""
    boxes = [one.bounding_box() for one in page.locator(CHART).all()]
    bottom = max(box["y"] + box["height"] for box in boxes)
    return {"x": 0, "y": 0, "width": WIDTH, "height": bottom + 24}


def keep(picture: bytes, path: Path) -> None:
    """Write it with 128 colours, a fifth of the size."""
    with Image.open(io.BytesIO(picture)) as image:
        image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    """Take the pictures."""
    url, chromium, directory, *slugs = sys.argv[1:]
    options = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=chromium, args=options)
        context = browser.new_context(locale="en-US", timezone_id="UTC")
        open_session(context.new_page(), url)
        for slug in slugs:
            tab = context.new_page()
            print(json.dumps(draw(tab, url, slug)), flush=True)
            name = slug.removeprefix("fine-tuning-")
            keep(
                tab.screenshot(clip=down_to_the_last(tab)), Path(directory) / f"superset-{name}.png"
            )
            tab.close()
        browser.close()


if __name__ == "__main__":
    main()
