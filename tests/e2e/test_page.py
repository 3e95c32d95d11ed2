"""The page in a real browser over a real release: search, upload, filters, pages, explanations; both languages."""

from __future__ import annotations

import re
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from intarsia.events.journal import read_events
from serve_apps.app import open_api
from serve_apps.settings import ServingConfig
from tests.serve.conftest import PATIENT
from tests.shop import HOSTILE_ID, HOSTILE_TITLE, make_image, small_shop

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_MS = 30_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium of the machine; without one these tests are skipped, and say so."""
    path = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser on this machine (looked for {', '.join(BROWSERS)})")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Journal folder of the page's events."""
    return tmp_path_factory.mktemp("journal")


@pytest.fixture(scope="module")
def url(journal: Path) -> Iterator[str]:
    """The small shop, served by the fused application in a thread of this process."""
    api = open_api(ServingConfig(lake=small_shop().root, journal=journal, budgets=PATIENT, refresh_s=0.0))
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(api, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    listening.close()


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """The page, open in English on a wide screen; an error in its script or a request elsewhere fails the test."""
    yield from _open(browser, url, language="en-US", width=1280)


@pytest.fixture
def phone(browser: Browser, url: str) -> Iterator[Page]:
    """The page, open in Chinese on a phone."""
    yield from _open(browser, url, language="zh-CN", width=390)


def _open(browser: Browser, url: str, *, language: str, width: int) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": width, "height": 844}, locale=language, has_touch=width < 500)
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on(
        "request",
        lambda request: errors.append(request.url) if not request.url.startswith((url, "blob:", "data:")) else None,
    )
    opened.goto(url)
    yield opened
    context.close()
    assert errors == []


def search(page: Page, words: str) -> None:
    page.fill("#words", words)
    page.press("#words", "Enter")


def titles(page: Page) -> list[str]:
    return page.locator(".card h3").all_inner_texts()


def test_typing_finds_products(page: Page) -> None:
    search(page, "green mug")
    expect(page.locator(".card h3").first).to_contain_text("green mug")
    expect(page.locator("#count")).to_contain_text("matches")
    expect(page.locator(".card img").first).to_be_visible()


def test_words_typed_before_the_release_is_loaded_stay(page: Page) -> None:
    blocked: list[Route] = []
    page.route("**/v1/release", lambda route: blocked.append(route))
    page.reload()
    page.fill("#words", "red")
    assert len(blocked) == 1
    blocked[0].continue_()
    expect(page.locator("#footer")).to_contain_text("r-")
    expect(page.locator("#words")).to_have_value("red")
    page.press("#words", "Enter")
    expect(page.locator("label", has=page.locator("[data-facet='brand=Luma']"))).to_be_visible()


def test_a_search_waits_for_the_release_and_the_last_one_counts(page: Page) -> None:
    blocked: list[Route] = []
    page.route("**/v1/release", lambda route: blocked.append(route))
    page.reload()
    bodies: list[str] = []
    page.on("request", lambda request: bodies.append(request.post_data or "") if "/v1/search" in request.url else None)
    search(page, "blue")
    search(page, "red")
    blocked[0].continue_()
    expect(page.locator("label", has=page.locator("[data-facet='brand=Luma']"))).to_be_visible()
    assert bodies and all("red" in body for body in bodies), "the first search was replaced before it was sent"


def test_an_example_is_one_click(page: Page) -> None:
    page.locator("#examples button").first.click()
    expect(page.locator(".card[data-product]").first).to_be_visible()


def test_uploading_an_image_finds_similar_products_and_words_can_be_added(page: Page) -> None:
    file = {"name": "mug.png", "mimeType": "image/png", "buffer": make_image("mug", "blue", 1)}
    page.set_input_files("#file", files=[file])  # type: ignore[list-item]
    expect(page.locator("#image-preview")).to_be_visible()
    expect(page.locator(".card[data-product]").first).to_be_visible()
    page.locator(".card .quiet").first.click()
    expect(page.locator(".pill.image").first).to_contain_text("image")
    search(page, "blue mug")
    expect(page.locator(".card h3").first).to_contain_text("blue mug")
    page.click("#image-remove")
    expect(page.locator("#query-image")).to_be_hidden()


def test_a_filter_narrows_to_its_count_and_can_be_removed(page: Page) -> None:
    search(page, "red")
    luma = page.locator("label", has=page.locator("[data-facet='brand=Luma']"))
    count = luma.locator(".num").inner_text()
    luma.locator("input").check()
    expect(page.locator("#count b")).to_have_text(count)
    expect(page.locator(".card .by", has_text="Acorn")).to_have_count(0)
    expect(page.locator("[data-facet='brand=Acorn']")).to_be_visible()
    page.locator("#chips button", has_text="Luma").click()
    expect(page.locator("#count b")).not_to_have_text(count)


def test_a_price_range_is_typed_in_the_currency_of_the_shop(page: Page) -> None:
    search(page, "red bag")
    expect(page.locator(".card[data-product]").first).to_be_visible()
    page.fill("[data-price=price_max]", "20")
    page.press("[data-price=price_max]", "Enter")
    expect(page.locator("#chips button")).to_contain_text("$20.00")
    for price in page.locator(".card .price").all_inner_texts():
        assert float(re.findall(r"[\d.]+", price)[0]) <= 20


def test_pages_follow_each_other_without_repeating(page: Page) -> None:
    search(page, "red blue green bag dress mug lamp")
    expect(page.locator(".card h3").first).to_be_visible()
    first = titles(page)
    page.click("#next")
    expect(page.locator("#where")).to_contain_text("25–")
    expect(page.locator("#grid")).not_to_have_class("grid waiting")
    assert not set(first) & set(titles(page))
    page.go_back()
    expect(page.locator("#where")).to_contain_text("1–24")


def test_why_shows_the_retrievers_and_shares_that_sum_to_the_score(page: Page) -> None:
    search(page, "black lamp")
    page.locator(".card .quiet", has_text="Why?").first.click()
    why = page.locator(".card .why").first
    expect(why.locator(".pill.bm25")).to_contain_text("words #")
    expect(why.locator(".share").first).to_be_visible()
    start, features, score = (
        float(part.split()[-1].replace("−", "-"))
        for part in why.locator(".sum").inner_text().replace("+", "=").split("=")
    )
    assert start + features == pytest.approx(score, abs=2e-3)


def test_markup_in_a_title_is_text_everywhere(page: Page) -> None:
    search(page, "red cotton bag")
    card = page.locator(f'.card[data-product="{HOSTILE_ID.replace(chr(34), chr(92) + chr(34))}"]')
    assert card.locator("h3").inner_text() == HOSTILE_TITLE
    card.locator(".open").click()
    expect(page.locator("dialog h2")).to_have_text(HOSTILE_TITLE)
    expect(page.locator("dialog .text")).to_have_text("<b onclick=alert(1)>not bold</b>")
    page.locator("dialog .go").click()
    expect(page.locator("#chips button")).to_contain_text(HOSTILE_TITLE)
    assert page.evaluate("window.hacked") is None
    assert page.locator("main script, main b[onclick], dialog b").count() == 0


def test_a_search_without_matches_offers_to_clear_the_filters(page: Page) -> None:
    page.goto(f"{page.url}?q=mug&filters=%7B%22brands%22%3A%5B%22Nobody%22%5D%7D")
    expect(page.locator("#message-title")).to_have_text("No matches")
    page.click("#message-action")
    expect(page.locator(".card[data-product]").first).to_be_visible()


def test_an_error_shows_the_message_of_the_server(page: Page) -> None:
    page.goto(f"{page.url}?q=mug&filters=%7B%22colour%22%3A1%7D")
    expect(page.locator("#message-text")).to_contain_text("filters.colour")
    expect(page.locator("#message-action")).to_be_visible()


def test_chinese_and_english_are_a_click_apart(page: Page) -> None:
    search(page, "red")
    page.click("[data-language=zh]")
    expect(page.locator(".go").first).to_have_text("搜索")
    expect(page.locator("#count")).to_contain_text("个匹配商品")
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    page.reload()
    expect(page.locator("#count")).to_contain_text("个匹配商品")


def test_a_phone_has_a_filter_drawer_and_never_scrolls_sideways(phone: Page) -> None:
    search(phone, "绿色 马克杯")
    expect(phone.locator(".card h3").first).to_have_text("青竹 绿色 马克杯")
    phone.click("#filters-open")
    phone.locator("[data-facet='brand=青竹']").check()
    phone.click("#filters-close")
    expect(phone.locator("#chips button")).to_contain_text("青竹")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390


def test_every_control_has_a_name_and_the_keyboard_reaches_a_product(page: Page) -> None:
    search(page, "mug")
    expect(page.locator(".card[data-product]").first).to_be_visible()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, a[href], [role=button]")]
            .filter((node) => node.offsetParent && !node.textContent.trim())
            .filter((node) => !node.getAttribute("aria-label") && !node.labels?.length)
            .map((node) => node.outerHTML)"""
    )
    assert nameless == []
    page.locator(".card .open").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("dialog[open] h2")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)


def test_impressions_and_clicks_are_in_the_journal(page: Page, journal: Path) -> None:
    search(page, "dress")
    first = page.locator(".card[data-product]").first  # not a placeholder of a card that is loading
    expect(first).to_be_visible()
    product_id = first.get_attribute("data-product")
    with page.expect_response(
        lambda reply: reply.url.endswith("/v1/events") and "click" in (reply.request.post_data or "")
    ):
        first.locator(".open").click()
    events = [(event.kind, event.product_id, event.position) for event in read_events(journal)]
    assert ("impression", product_id, 1) in events
    assert ("click", product_id, 1) in events
