"""The explorer's page, in a real browser, against ``helpers`` at random settings."""

import json
import sys
from functools import cache

import numpy as np
import pytest
from browsing import launched
from conftest import ROOT
from PIL import Image

from helpers import activations, equivalents, spectra
from helpers.networks import ExplicitNetwork, ImplicitNetwork

sys.path.insert(0, str(ROOT / "tools"))
import explorer_tables

PAGE = ROOT / "_build" / "html" / "book" / "explorer.html"
SCRIPTS = ROOT / "web" / "explorer"
SETTINGS = 200
P = 5 * 10**5  # dimension at which finite sizes stay below the tolerance of the law
AT = [0.03, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97]  # places in the bulk
COMPUTE = """all => all.map(([settings, at]) => {
  const found = explorer.compute(settings);
  const [low, high] = found.law.support ?? [0, 1];
  const places = at.map(share => low + share * (high - low));
  return {...found, places, densities: places.map(x => explorer.density(found.law, x))};
})"""


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser


@pytest.fixture
def page(browser):
    """The built page, opened as a file and with the network cut."""
    context = browser.new_context(offline=True, viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.goto(PAGE.as_uri())
    page.wait_for_function("explorer.redraws > 0")
    yield page
    context.close()


def random_settings():
    rng, found = np.random.default_rng(7), []
    for k in range(SETTINGS):
        name = list(explorer_tables.LABELS)[k % len(explorer_tables.LABELS)]
        inputs = str(rng.choice(list(explorer_tables.INPUTS)))
        top = tables()[name][inputs]["top"]
        found.append(
            {
                "activation": name,
                "inputs": inputs,
                "kernel": str(rng.choice(["ck", "ntk"])),
                "sigma_a2": float(rng.uniform(explorer_tables.LEAST, top)),
                "distance": float(rng.uniform(0, 6)),
                "norms": float(rng.uniform(0, 12)),
                "ratio": float(2 ** rng.uniform(-2, 3)),
            }
        )
    return found


@cache
def tables():
    text = (SCRIPTS / "tables.js").read_text(encoding="utf-8")
    return json.loads(text.partition("explorer.tables = ")[2].rstrip().rstrip(";"))


@pytest.fixture(scope="module")
def answers(browser):
    """What the script computes at the random settings; asked once, on a page of nothing but the script."""
    page = browser.new_page()
    for name in ("model.js", "tables.js"):
        page.add_script_tag(path=SCRIPTS / name)
    settings = random_settings()
    answers = page.evaluate(COMPUTE, [[one, AT] for one in settings])
    page.close()
    return list(zip(settings, answers, strict=True))


@cache
def network(name, inputs, sigma_a2):
    return explorer_tables.network(name, inputs, sigma_a2)


def of(settings) -> ImplicitNetwork:
    return network(settings["activation"], settings["inputs"], settings["sigma_a2"])


def law_of(settings):
    """The page's law at a finite dimension, by the package."""
    mix = explorer_tables.mixture(settings["distance"], P, settings["norms"])
    n = 2 * round(P / settings["ratio"] / 2)
    return spectra.limiting_law(of(settings), mix, n, settings["kernel"], law="plain")


def off(found, wanted):
    """Relative or absolute difference, whichever is smaller."""
    return abs(found - wanted) / max(1.0, abs(wanted))


def test_coefficients_are_those_of_helpers(answers):
    for settings, answer in answers:
        wanted = equivalents.coefficients(of(settings), 1.0)
        for name, value in answer["coefficients"].items():
            assert off(value, getattr(wanted, name)) < 1e-6, (settings, name)


def test_law_is_that_of_helpers(answers):
    for settings, answer in answers:
        law = law_of(settings)
        if answer["law"]["support"] is None:
            assert law.support == [], settings
        else:
            ((low, high),) = law.support
            found = np.array(answer["law"]["support"])
            assert np.abs(found - (low, high)).max() < 1e-2 * (high - low), settings
            assert_densities(answer, law, settings)
        atom = answer["law"]["atom"] or {"place": 0.0, "mass": 0.0}
        assert off(atom["mass"], law.atom.mass if law.atom else 0.0) < 1e-5, settings
        assert_spikes(answer["law"], law, settings)


def assert_densities(answer, law, settings):
    found, wanted = np.array(answer["densities"]), law.density(np.array(answer["places"]))
    assert np.abs(found - wanted).max() < 1e-2 * wanted.max(), settings


def assert_spikes(answer, law, settings):
    """Places and alignments; a spike on the edge of the bulk is one that rounding may take away."""
    found = [(spike["place"], spike["alignment"]) for spike in answer["spikes"]]
    wanted = list(zip(law.spikes, law.alignments, strict=True))
    if len(found) != len(wanted):
        low, high = law.support[0]
        found, wanted = (
            [s for s in side if high < s[0] - 1e-4 * (high - low)] for side in (found, wanted)
        )
    assert np.allclose(found, wanted, rtol=2e-3, atol=2e-3), (settings, found, wanted)


def test_twin_shown_has_the_coefficients_shown(answers):
    for settings, answer in answers:
        twin = answer["twin"]
        name = {"polynomial": "hermite"}.get(twin["family"], twin["family"])
        layers = tuple(activations.get(name, **parameters) for parameters in twin["layers"])
        shown = ExplicitNetwork(layers).centered(1.0)
        found = equivalents.coefficients(shown, 1.0, "first_frozen")
        wanted = equivalents.coefficients(of(settings), 1.0)
        for key in ("gamma2", "alpha1", "alpha2", "alpha3"):
            assert off(getattr(found, key), getattr(wanted, key)) < 1e-6, (settings, key)
        for key in ("gamma2", "alpha1", "alpha2", "alpha3", "beta1", "beta2", "beta3", "kappa2"):
            assert off(twin["coefficients"][key], getattr(found, key)) < 1e-6, (settings, key)
        assert twin["residual"] < 1e-9, settings


def test_every_activation_with_a_deq_is_there():
    known = set(activations.names()) - set(explorer_tables.LEFT_OUT)
    assert known == set(explorer_tables.LABELS) == set(tables())


@pytest.mark.parametrize("seed", range(3))
def test_tables_are_what_helpers_make_today(seed):
    rng = np.random.default_rng(seed)
    name = str(rng.choice(list(tables())))
    inputs = str(rng.choice(list(explorer_tables.INPUTS)))
    stored = tables()[name][inputs]
    found = explorer_tables.series(name, inputs, stored["top"])
    for key, values in stored["moments"].items():
        assert np.allclose(values, found[key], atol=1e-10), (name, inputs, key)
    run = stored["twins"][int(rng.integers(len(stored["twins"])))]
    k = int(rng.integers(len(run["sigma_a2"])))
    family, layers = explorer_tables.twin(name, inputs, run["sigma_a2"][k])
    assert family == run["family"]
    found, values = np.concatenate(layers), np.concatenate(run["layers"][k])
    if family != "leaky_hard_tanh" or values[0] > explorer_tables.STEEPEST:  # else hardly defined
        assert np.allclose(found, values, atol=1e-3), (name, inputs, run["sigma_a2"][k])


def test_a_slider_moved_by_keyboard_moves_numbers_and_words(page):
    before = page.locator('[data-row="alpha1"] td').first.text_content()
    page.wait_for_function("document.querySelector('[data-part=summary]').textContent !== ''")
    words, drawn = (
        page.locator("[data-part=summary]").text_content(),
        page.evaluate("explorer.redraws"),
    )
    page.locator("#explorer-sigma_a2").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("explorer.redraws") == drawn + 1  # one change, one redraw
    after = page.locator('[data-row="alpha1"] td').first.text_content()
    wanted = equivalents.coefficients(explorer_tables.network("relu", "paper", 0.21), 1.0)
    assert after != before and float(after) == pytest.approx(wanted.alpha1, rel=1e-3)
    page.wait_for_function(
        "w => document.querySelector('[data-part=summary]').textContent !== w", arg=words
    )
    assert page.locator("[data-part=summary]").get_attribute("aria-live") == "polite"


def test_every_control_is_reached_by_tab_and_has_a_name(page):
    page.locator("#explorer-activation").focus()
    seen = []
    for _ in range(12):
        seen.append(
            page.evaluate("document.activeElement.id || document.activeElement.textContent")
        )
        page.keyboard.press("Tab")
    assert seen[:7] == [
        f"explorer-{name}"
        for name in ("activation", "inputs", "kernel", "sigma_a2", "distance", "norms", "ratio")
    ]
    assert seen[7:] == [*page.locator(".explorer-starts button").all_text_contents()]
    assert all(page.locator(f"label[for={name}]").count() == 1 for name in seen[:7])


def test_experiments_do_what_the_page_says(page):
    def start(name):
        page.get_by_role("button", name=name).click()
        return page.evaluate("explorer.compute(explorer.state)")

    def classes(found):
        return [
            spike
            for spike in found["law"]["spikes"]
            if not spike["common"] and spike["alignment"] > 1e-9
        ]

    def to_the_end(name):
        page.locator(f"#explorer-{name}").focus()
        page.keyboard.press("End")
        return page.evaluate("explorer.compute(explorer.state)")

    assert not classes(start("Phase transition")) and classes(to_the_end("distance"))
    odd = start("Odd activation")
    assert odd["coefficients"]["alpha2"] == 0 and len(odd["twin"]["layers"]) == 1
    page.locator("#explorer-activation").select_option("relu")
    relu = page.evaluate("explorer.compute(explorer.state)")
    assert len(classes(relu)) > len(classes(odd)) and len(relu["twin"]["layers"]) == 2
    before, after = start("Sharp threshold"), to_the_end("sigma_a2")
    assert 0.97 < after["load"] < 1
    assert after["coefficients"]["kappa2"] > 5 * before["coefficients"]["kappa2"]
    assert start("More samples than dimensions")["law"]["atom"]["mass"] == 0.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_overflows_and_axe_is_content(page, theme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    right = page.evaluate(
        "Math.max(...[...document.querySelectorAll('#explorer *')].map(e => e.getBoundingClientRect().right))"
    )
    assert right <= width
    found = axe.Axe().run(page, context="#explorer").response["violations"]
    assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []


def test_without_scripts_a_figure_and_a_sentence_stay(browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(PAGE.as_uri())
    static = page.locator(".explorer-static")
    assert static.is_visible() and "first picture" in static.text_content()
    assert static.locator("img").get_attribute("alt")
    context.close()


def test_script_is_loaded_on_its_page_alone():
    pages = (ROOT / "_build" / "html").rglob("*.html")
    assert [path for path in pages if b"explorer/model.js" in path.read_bytes()] == [PAGE]


def test_first_picture_shows_the_first_setting():
    text = Image.open(SCRIPTS / "first.png").text["Description"]
    support, spikes, alignments = json.loads(text)
    net = explorer_tables.network("relu", "paper", explorer_tables.FIRST["sigma_a2"])
    mix = explorer_tables.mixture(explorer_tables.FIRST["distance"], explorer_tables.FIRST["p"])
    law = spectra.limiting_law(net, mix, explorer_tables.FIRST["n"], law="plain")
    assert np.allclose(support, law.support) and np.allclose(spikes, law.spikes)
    assert np.allclose(alignments, law.alignments)


def test_first_setting_of_the_page_is_that_of_the_picture(page):
    state = page.evaluate("explorer.state")
    first = explorer_tables.FIRST
    assert (state["sigma_a2"], state["distance"]) == (first["sigma_a2"], first["distance"])
    assert (state["activation"], state["ratio"]) == ("relu", first["p"] / first["n"])
