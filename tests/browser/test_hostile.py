"""Names, prints, sources and errors that hold HTML and script appear as the text they are."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.panel import Panel, open_as_html
from tests.fixtures.browser import open_notebook, run_cell

pytestmark = [pytest.mark.browser, pytest.mark.kernel]

IMAGE = "<img src=x onerror=window.hacked=1>"
QUOTED = """it's "quoted" & $x$ `y`"""
SCRIPT = "<script>window.hacked=2</script>"
SOURCE = "</script><b>bold</b><script>window.hacked=3</script>"

HOSTILE = f"""%%train hostile --epochs 400 --pace 20
import torch
from torch import nn

# {SOURCE}
class Bold(nn.Sequential):
    pass

model = Bold()
model.add_module("<b onclick=hacked=4>", nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1)))
data = torch.randn(64, 4)

def training_step(model, batch):
    print({SCRIPT!r})
    loss = ((model(batch) - batch) ** 2).mean()
    return {{"loss": loss, {IMAGE!r}: loss * 2, {QUOTED!r}: loss * 3}}
"""

FAILING = f"""%%train failing
import torch
model = torch.nn.Linear(4, 4)
data = torch.randn(64, 4)

def training_step(model, batch):
    return my_loss(model(batch))

def my_loss(output):
    if (output > 0).any() or (output <= 0).any():
        raise ValueError({IMAGE!r})
"""


def test_hostile_text_is_text(desk: Open, page: Page) -> None:
    book = desk(["%load_ext nbtrain", HOSTILE, "%runs", FAILING, "type(failing.error)"])
    run_cell(page, 0)
    run_cell(page, 1)
    panel = Panel(page)
    panel.expect_state("running")
    panel.expect_points(IMAGE, 3)
    panel.expect_points(QUOTED, 3)
    charts = panel.part("charts")
    for name in (IMAGE, QUOTED):
        expect(charts.get_by_text(name, exact=True).first).to_be_visible()
    panel.part("select-early_stop").select_option(f"val_{IMAGE}")
    panel.answered("early_stop")
    expect(panel.part("answer-early_stop")).to_contain_text(f"val_{IMAGE}")
    expect(panel.part("mark").filter(has_text=IMAGE)).to_have_count(1)
    panel.click("pause")
    panel.expect_state("paused")

    for plot in charts.locator(".nbt-plot").all():
        plot.scroll_into_view_if_needed()
        plot.hover(position={"x": 75, "y": 100})
    expect(panel.part("reading")).to_have_count(1)

    panel.part("tab-log").click()
    expect(panel.part("log")).to_contain_text(SCRIPT)
    panel.part("tab-code").click()
    expect(panel.part("code")).to_contain_text(SOURCE)
    panel.part("tab-curves").click()
    expect(panel.part("layers-dropout")).to_be_visible()
    panel.part("layers-dropout").click()
    expect(panel.part("controls")).to_contain_text("<b onclick=hacked=4>")
    assert panel.root.locator(".nbt-frame b b, script, img").count() == 0

    table = run_cell(page, 2)
    expect(table).to_contain_text("hostile@1")
    assert table.locator("img").count() == 0
    panel.click("early-stop")
    panel.expect_state("early-stopped")
    run_cell(page, 3)
    failed = Panel(page, 1)
    failed.expect_state("failed")
    expect(failed.part("error")).to_contain_text(IMAGE)
    traceback = failed.part("traceback")
    expect(traceback).to_contain_text("return my_loss(model(batch))")
    expect(traceback).to_contain_text(f"raise ValueError({IMAGE!r})")
    assert "nbtrain/" not in traceback.inner_text()
    expect(run_cell(page, 4)).to_have_text("ValueError", timeout=10_000)
    assert book.history("failing").outcome == "failed"

    # Saved, and opened where only the HTML is understood.
    file = book.save("image/png")
    assert page.evaluate("window.hacked") is None
    book.jupyter.shutdown_kernels()
    open_notebook(page, book.jupyter.lab_url(book.path))
    expect(page.locator(".jp-OutputArea-output img")).to_have_count(1)
    assert page.evaluate("window.hacked") is None
    open_as_html(page, file)
    expect(page.get_by_text(IMAGE).first).to_be_visible()
    assert page.evaluate("window.hacked") is None
