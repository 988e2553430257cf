"""Promise: a page is light, counting what a phone loads before it scrolls, compressed."""

import random
import shutil
import threading

import pytest

import serve
from notebooks import LANGUAGES
from test_book import pages, soup

LIMIT = {False: 250_000, True: 400_000}  # bytes: a page without mathematics, and with
PHONE = {"width": 412, "height": 823}


def weigh(page, address):
    """The bytes of everything that a page loads before anybody scrolls, with the page itself."""
    got = []
    page.on("requestfinished", lambda request: got.append(request))
    page.goto(address, wait_until="networkidle")
    return sum(request.sizes()["responseBodySize"] for request in got)


def too_heavy(browser, site, names):
    """List the pages that weigh too much."""
    said = []
    with serve.server(site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in names:
            with browser.new_context(viewport=PHONE) as context:  # nothing is kept from before
                weight = weigh(
                    context.new_page(), "http://{}:{}/".format(*server.server_address) + name
                )
            if weight > LIMIT[bool(soup(site / name).select(".math"))]:
                said.append(f"{name}: {weight / 1000:.0f} kB")
        server.shutdown()
    return said


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_is_light(language, browser, site):
    names = [name for name in pages(site, language) if not name.endswith("/search.html")]
    assert too_heavy(browser, site, names) == []


def test_a_heavy_page_is_found(browser, site, tmp_path):
    copy = shutil.copytree(site, tmp_path / "site")
    setup = copy / "en" / "setup.html"
    noise = random.Random(0).randbytes(200_000).hex()
    text = setup.read_text(encoding="utf8").replace("</body>", f"<!-- {noise} --></body>")
    setup.write_text(text, encoding="utf8")
    assert [said.partition(":")[0] for said in too_heavy(browser, copy, ["en/setup.html"])]


def test_pictures_wait_and_keep_their_place(browser, site):
    """A picture below is not loaded, has its size, and is there when one scrolls to it."""
    name = next(n for n, p in pages(site, "en").items() if len(soup(p).select("article img")) > 4)
    images = soup(site / name).select("article img")
    assert all(image["loading"] == "lazy" for image in images)
    page = browser.new_page(viewport=PHONE)
    page.goto((site / name).as_uri())
    last = page.locator("article img").last
    before = last.bounding_box()
    last.scroll_into_view_if_needed()
    page.wait_for_function("(i) => i.complete && i.naturalWidth", arg=last.element_handle())
    after = last.bounding_box()
    assert abs(before["height"] - after["height"]) < 0.01
    ratio = float(images[-1]["width"]) / float(images[-1]["height"])
    natural = last.evaluate("(i) => i.naturalWidth / i.naturalHeight")
    assert abs(ratio / natural - 1) < 0.01
    page.close()
