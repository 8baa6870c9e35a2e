"""The panel narrow and wide, light and dark, and used by the keyboard alone."""

from __future__ import annotations

from functools import partial

import pytest
from playwright.sync_api import FloatRect, Locator, Page, expect

from tests.browser.conftest import Open
from tests.browser.contrast import faint
from tests.browser.panel import TRAIN, Panel, wait_until
from tests.fixtures.browser import run_cell

pytestmark = [pytest.mark.browser, pytest.mark.kernel]

OVERFLOWING = """panel => [panel, ...panel.querySelectorAll('*')]
    .filter(part => part.scrollWidth > part.clientWidth + 4 && part.clientWidth > 1)
    .filter(part => !part.matches('input, .nbt-notes > p, .nbt-label, .nbt-hidden'))
    .map(part => part.className || part.tagName)"""

OUTSIDE = """panel => {
    const edge = panel.getBoundingClientRect();
    return [...panel.querySelectorAll('*')]
        .filter(part => !part.matches('.nbt-hidden, option'))
        .filter(part => {
            const box = part.getBoundingClientRect();
            return box.width > 0 && (box.left < edge.left - 1 || box.right > edge.right + 1);
        })
        .map(part => part.className || part.tagName);
}"""

COVERED = """button => {
    const over = button.getBoundingClientRect();
    const code = document.createRange();
    code.selectNodeContents(button.parentElement.querySelector('pre'));
    return [...code.getClientRects()].some(box =>
        box.right > over.left && box.left < over.right &&
        box.bottom > over.top && box.top < over.bottom);
}"""

CUT = """line => [...line.children].filter(sentence => {
    const [own, room] = [sentence.getBoundingClientRect(), line.getBoundingClientRect()];
    return own.top < room.bottom && sentence.scrollWidth > sentence.clientWidth;
}).map(sentence => sentence.textContent)"""

PAINTED = """(canvas, wanted) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let found = 0;
    for (let at = 0; at < data.length; at += 4) {
        const near = wanted.every((part, index) => Math.abs(data[at + index] - part) < 4);
        found += near && data[at + 3] > 128;
    }
    return found > 20;
}"""

# What style.css gives to the curves of training and validation.
LIGHT = ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00))
DARK = ((0x56, 0xB4, 0xE9), (0xE6, 0x9F, 0x00))

FOCUSED = "document.activeElement.dataset.nbt ?? document.activeElement.className"


def test_panel_fits_every_width_and_theme(desk: Open, page: Page) -> None:
    desk(["%load_ext nbtrain", TRAIN])
    page.keyboard.press("Control+b")  # leaves the whole width to the notebook
    run_cell(page, 0)
    run_cell(page, 1)
    panel = Panel(page)
    panel.expect_state("running")
    panel.expect_points("val_loss", 2)
    stands = {1600: "beside", 1000: "beside", 800: "beside", 700: "below", 600: "below"}
    for width, place in stands.items():
        resize(panel, width)
        wait_until(partial(controls_stand, panel, place), page)
        wait_until(lambda: canvas_fits(panel), page)
        assert panel.root.evaluate(OVERFLOWING) == [], width
        assert panel.root.evaluate(OUTSIDE) == [], width
        assert panel.part("notes").locator("p").evaluate(CUT) == [], width
    # What has no room is there on demand, and no code lies under the button.
    panel.part("notes-more").click()
    expect(panel.root.locator(".nbt-inferred li")).to_have_count(4)
    panel.part("notes-more").click()
    panel.part("tab-code").click()
    assert not panel.part("copy").evaluate(COVERED)
    panel.part("tab-curves").click()
    # A drag moves nothing but the curves and the knobs below it.
    slider = panel.part("slider-lr")
    slider.scroll_into_view_if_needed()
    before = slider.bounding_box()
    panel.drag("lr", 0.7)
    panel.answered("lr")
    panel.expect_step(panel.step + 5)
    assert slider.bounding_box() == before
    panel.part("switch-dropout").click()
    panel.answered("dropout")
    panel.click("undo")
    expect(panel.part("mark").filter(has_text="undo")).to_have_count(1)
    panel.click("pause")
    panel.expect_state("paused")
    surface = panel.root.locator(".nbt-frame")
    expect(surface).to_have_css("background-color", "rgb(255, 255, 255)")
    wait_until(partial(painted, panel, LIGHT), page)
    choose_theme(page, "JupyterLab Dark")
    expect(surface).not_to_have_css("background-color", "rgb(255, 255, 255)")
    wait_until(partial(painted, panel, DARK), page)
    assert not painted(panel, LIGHT)
    assert_readable(panel)
    choose_theme(page, "JupyterLab Light")
    expect(surface).to_have_css("background-color", "rgb(255, 255, 255)")
    wait_until(partial(painted, panel, LIGHT), page)
    assert not painted(panel, DARK)
    assert_readable(panel)


def assert_readable(panel: Panel) -> None:
    """Every text stands out from what is behind it, in each tab and with the menu open."""
    field = panel.part("field-momentum")
    field.fill("7")
    field.press("Enter")
    expect(panel.part("answer-momentum")).to_have_attribute("data-kind", "refused")
    panel.part("menu").click()
    assert faint(panel.root) == []
    panel.part("menu").click()
    for tab in ("log", "code", "curves"):
        panel.part(f"tab-{tab}").click()
        assert faint(panel.root) == [], tab


def painted(panel: Panel, colours: tuple[tuple[int, int, int], ...]) -> bool:
    """Whether the figure of the loss has lines of all these colours."""
    canvas = panel.part("chart-loss").locator("canvas").first
    return all(canvas.evaluate(PAINTED, colour) for colour in colours)


def choose_theme(page: Page, name: str) -> None:
    """Choose a theme from JupyterLab's menu."""
    page.get_by_role("menuitem", name="Settings", exact=True).click()
    entry = page.locator(".lm-Menu-itemLabel")
    entry.get_by_text("Theme", exact=True).click()
    entry.get_by_text(name, exact=True).click()


def box(part: Locator) -> FloatRect:
    found = part.bounding_box()
    assert found is not None
    return found


def resize(panel: Panel, width: int) -> None:
    """Make the window as wide as lets the panel be ``width`` pixels wide."""
    page = panel.root.page
    assert page.viewport_size is not None
    more = width - box(panel.root)["width"]
    page.set_viewport_size({"width": round(page.viewport_size["width"] + more), "height": 900})
    wait_until(lambda: abs(box(panel.root)["width"] - width) < 2, page)


def controls_stand(panel: Panel, place: str) -> bool:
    charts, controls = box(panel.part("charts")), box(panel.part("controls"))
    if place == "below":
        return controls["y"] >= charts["y"] + charts["height"] - 1
    return controls["x"] >= charts["x"] + charts["width"] - 1


def canvas_fits(panel: Panel) -> bool:
    chart = panel.part("chart-loss")
    canvas, plot = chart.locator("canvas").first, chart.locator(".nbt-plot")
    return abs(box(canvas)["width"] - box(plot)["width"]) < 2


def test_keyboard_alone_steers(desk: Open, page: Page) -> None:
    book = desk(["%load_ext nbtrain", TRAIN])
    run_cell(page, 0)
    run_cell(page, 1)
    panel = Panel(page)
    panel.expect_state("running")
    panel.expect_points("loss", 1)
    panel.part("pause").focus()
    order = [page.evaluate(FOCUSED)]
    while order[-1] != "slider-lr":
        page.keyboard.press("Tab")
        order.append(page.evaluate(FOCUSED))
        assert len(order) < 30, order
    assert order == [
        "pause", "one-step", "undo", "early-stop", "menu", "tab-curves", "notes-more",
        "smooth-loss", "log-loss", "smooth-accuracy", "log-accuracy", "slider-lr",
    ]  # fmt: skip
    before = panel.value("lr")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    wait_until(lambda: panel.value("lr") != before, page)
    panel.answered("lr")
    page.keyboard.press("Tab")
    field = panel.part("field-lr")
    taken = field.input_value()
    page.keyboard.type("5000")
    page.keyboard.press("Enter")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_value("5000")
    expect(panel.part("answer-lr")).to_contain_text("takes a number from 0 up to")
    page.keyboard.press("Escape")
    expect(field).to_have_value(taken)
    expect(field).to_have_attribute("aria-invalid", "false")
    page.keyboard.press("Control+a")
    page.keyboard.type("0.002")
    page.keyboard.press("Enter")
    wait_until(lambda: panel.value("lr") == "2.0e-3", page)
    panel.answered("lr")
    panel.part("pause").focus()
    page.keyboard.press("Enter")
    panel.expect_state("paused")
    panel.part("menu").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    expect(panel.part("menu")).to_be_focused()
    actions = book.history("digits").actions
    assert [(a.action, a.knob) for a in actions] == [("Set", "lr"), ("Set", "lr"), ("Pause", None)]
    assert actions[1].new == 0.002

    panel.part("layers-dropout").click()
    names = panel.root.evaluate(
        """panel => [...panel.querySelectorAll('button, input, select')].map(control => {
            const label = control.labels?.[0]?.textContent ?? '';
            return (control.getAttribute('aria-label') || label || control.textContent).trim();
        })"""
    )
    assert all(names)
    double = {name for name in names if names.count(name) > 1}
    assert double == {"smooth all curves"}  # one button above each chart does the same
    field.focus()
    page.keyboard.press("Shift+Tab")
    expect(panel.part("slider-lr")).to_be_focused()
    expect(panel.part("slider-lr")).to_have_css("outline-style", "solid")
    expect(panel.root.get_by_role("slider", name="Learning rate")).to_have_count(1)
    expect(panel.root.get_by_role("switch", name="Dropout on")).to_have_count(1)
    expect(panel.root.get_by_role("button", name="Resume")).to_have_count(1)
    expect(panel.root.get_by_role("progressbar", name="Training progress")).to_have_count(1)
