"""Use the web page like a visitor: open it, choose photos and options, download avatars."""

import functools
import io

import app_helpers
import numpy as np
from PIL import Image

PHONE = (360, 740)
wait_until = functools.partial(app_helpers.wait_until, seconds=60)


def messages(page):
    return page.inner_text("#status"), page.inner_text("#error")


READY = "Your avatar is ready."


def upload(page, *paths):
    """Choose files on the page and return its status and error messages."""
    page.set_input_files("#selfie", paths)
    wait_until(lambda: "ready" in page.inner_text("#status") or page.inner_text("#error"))
    return messages(page)


def choose(page, selector):
    """Select a radio button, even if it is in a panel that is hidden on a phone."""
    page.eval_on_selector(selector, "control => control.click()")


def downloaded(page):
    with page.expect_download() as waiting:
        page.click("#download")
    return waiting.value.path().read_bytes()


def pixels(data):
    return np.array(Image.open(io.BytesIO(data)))


def opened(page, address):
    """Open an address and return the lists to which its requests and errors are added."""
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(address)
    wait_until(lambda: page.inner_text("#status") == "" or page.inner_text("#error"))
    return requests, errors


def go_offline(page):
    """Cut off the network after the page's last request; Chromium may load the icon late."""
    page.wait_for_load_state("networkidle")
    page.context.set_offline(True)
