"""A study's page as a reader sees it: a real, headless Chromium draws it."""

import pytest

from hwsearch.jobs.reporting import write_report
from hwsearch.study import Goal
from hwsearch.study.run import run_study
from tests.report.browser import Browser
from tests.study.test_run import make_objective

pytest.importorskip("vl_convert")

#: Contrast of every text with what lies behind it, by the formula of WCAG 2.2; worst first. What lies behind
#: is the first opaque shape or box under the middle of the text's box.
CONTRAST = """
const parse = (text) => {
  const found = text.match(/rgba?\\(([^)]+)\\)/);
  if (!found) return null;
  const [r, g, b, a = 1] = found[1].split(/[ ,/]+/).filter(Boolean).map(Number);
  return { r, g, b, a };
};
const light = ({ r, g, b }) => {
  const linear = (c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
};
const ratio = (a, b) => {
  const [high, low] = [light(a), light(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
};
const ground = (element, x, y) => {
  for (const under of document.elementsFromPoint(x, y)) {
    if (under === element || element.contains(under)) continue;
    const style = getComputedStyle(under);
    const drawn = under instanceof SVGGeometryElement && style.fillOpacity !== "0";
    const colour = parse(drawn ? style.fill : style.backgroundColor);
    if (colour && colour.a === 1) return colour;
  }
  return parse(getComputedStyle(document.body).backgroundColor);
};
for (const details of document.querySelectorAll("details")) details.open = true;
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode, element = node.parentElement;
  if (!node.data.trim() || element.closest("script, style, .alt, [hidden]")) continue;
  element.scrollIntoView({ block: "center", inline: "center" });
  const range = document.createRange();
  range.selectNodeContents(node);
  const box = range.getBoundingClientRect();
  if (!box.width) continue;
  const style = getComputedStyle(element);
  const ink = parse(element instanceof SVGElement ? style.fill : style.color);
  const value = ratio(ink, ground(element, box.left + box.width / 2, box.top + box.height / 2));
  found.push([value, node.data.trim().slice(0, 60)]);
}
return found.sort((a, b) => a[0] - b[0]);
"""

#: Every element that the tab key should come to.
STOPS = """
return [...document.querySelectorAll('a[href], summary, [tabindex="0"]')]
  .filter((e) => e.checkVisibility()).length
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    objective = make_objective(Goal(target_ratio=0.6))
    study = run_study(objective, trials=10, name="tiny", storage=str(folder / "tiny.db"))
    return write_report(study, folder / "report.html").path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


def test_it_renders_without_complaint_and_without_the_network(browser, page):
    browser.console(), browser.requests()
    browser.open(page)
    assert browser.console() == []
    asked = {url.split(":")[0] for url in browser.requests()}
    assert "file" in asked and asked.isdisjoint({"http", "https", "ws", "wss", "ftp"})
    assert browser.run("return document.documentElement.scrollWidth") <= 1280
    heights = browser.run(
        "return [...document.querySelectorAll('figure svg')].map((s) => s.getBoundingClientRect().height)"
    )
    assert len(heights) >= 5 and min(heights) > 50


def test_a_script_that_is_not_its_own_does_not_run(browser, page, tmp_path):
    hostile = tmp_path / "hostile.html"
    text = page.read_text(encoding="utf-8")
    hostile.write_text(text.replace("</main>", "<script>window.ran = 1</script></main>"), "utf-8")
    browser.open(hostile)
    assert browser.run("return window.ran") is None
    assert any("Content Security Policy" in message for message in browser.console())


def test_hover_shows_a_plan(browser, page):
    browser.open(page)
    hint = browser.all("#hint")[0]
    assert not hint.is_displayed()
    browser.hover(browser.all('#figure-front [role="graphics-symbol"][tabindex]')[0])
    assert hint.is_displayed()
    assert "trial " in hint.text and "decoding: " in hint.text and "layer" in hint.text


def test_the_tab_key_comes_to_everything_and_arrows_walk_a_figure(browser, page):
    browser.open(page)
    stops = browser.run(STOPS)
    seen = set()
    for _ in range(stops + 5):
        browser.key("TAB")
        seen.add(browser.run(
            "const all = [...document.querySelectorAll('*')]; return all.indexOf(document.activeElement)"
        ))  # fmt: skip
    assert stops > 20 and len(seen - {-1}) >= stops
    marks = browser.all('#figure-front [role="graphics-symbol"][tabindex]')
    browser.run("arguments[0].focus()", marks[0])
    first = browser.all("#hint")[0].text
    browser.key("ARROW_RIGHT")
    assert browser.run("return document.activeElement === arguments[0]", marks[1])
    assert browser.all("#hint")[0].text not in ("", first)
    browser.key("ESCAPE")
    assert not browser.all("#hint")[0].is_displayed()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark(browser, page, scheme):
    browser.open(page, scheme=scheme)
    found = browser.run(CONTRAST)
    assert len(found) > 200
    assert [text for ratio, text in found if ratio < 4.5] == []


def test_pale_text_would_be_noticed(browser, page):
    browser.open(page)
    browser.run("document.querySelector('h2').style.color = '#bbbbbb'")
    browser.run("document.querySelector('figure svg text').style.fill = '#aaaaaa'")
    assert sum(ratio < 4.5 for ratio, _ in browser.run(CONTRAST)) == 2


def test_it_fits_a_phone(browser, page):
    browser.open(page, width=390)
    assert browser.run("return document.documentElement.scrollWidth") <= 390


def test_it_prints_with_its_figures_and_without_what_is_pressed(browser, page):
    browser.open(page, scheme="dark", media="print")
    shown = "return getComputedStyle(document.querySelector(arguments[0])).display"
    assert browser.run(shown, "nav") == "none" and browser.run(shown, "details") == "none"
    assert (
        browser.run("return getComputedStyle(document.body).backgroundColor")
        == "rgb(255, 255, 255)"
    )
    assert browser.run(shown, "figure svg") != "none"
    assert browser.printed().startswith(b"%PDF")
