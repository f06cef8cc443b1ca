"""A headless Chromium for tests of web pages. Tests are skipped if Chromium or Playwright is not installed."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

EXECUTABLES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ("--no-sandbox", "--disable-gpu")


@contextmanager
def tab(
    width: int, height: int, arguments: Sequence[str] = (), without: Sequence[str] = (), **context_options: Any
) -> Iterator[Any]:
    """Open an empty page with this viewport.

    Args:
        width, height: size of the viewport in pixels.
        arguments: additional arguments of Chromium's command line.
        without: arguments in `ARGUMENTS` that are not used.
        context_options: options of Playwright's `new_page`. Without `service_workers="allow"`, the browser has no
            service workers: that of the static site would reload each page once.
    """
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
    path = next(filter(None, map(shutil.which, EXECUTABLES)), None)
    if path is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*(set(ARGUMENTS) - set(without)), *arguments])
        try:
            page = browser.new_page(viewport={"width": width, "height": height}, **context_options)
            if context_options.get("service_workers") != "allow":
                page.add_init_script("delete Navigator.prototype.serviceWorker")
            yield page
        finally:
            browser.close()
