"""The console in a real browser: what only a browser does, with the cookie, the scripts and the policy."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.browser import Browser, open_browser
from e2e.process import Service
from word_models import save, tiny_llama, word_tokenizer

KEY = "an-admins-key-of-my-own"
LORA = {"peft_type": "LORA", "r": 2, "init_lora_weights": False, "target_modules": ["q_proj", "v_proj", "o_proj"]}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """With keys, a tiny model that writes, and an adapter of two versions."""
    directory = tmp_path_factory.mktemp("console")
    save(tiny_llama(), word_tokenizer(), directory / "models" / "writer")
    service = Service(directory, directory / "models")
    service.environment["ADAPTER_SERVICE_ADMIN_KEY"] = KEY
    service.http.headers["x-api-key"] = KEY
    service.start_preloaded()
    service.register("writer", {"kind": "huggingface", "path": "writer"})
    for seed, path in enumerate(("/models/writer/adapters", "/models/writer/adapters")):
        body = {"name": ("parrot", "other")[seed], "config": LORA, "seed": seed}
        assert service.http.post(path, json=body).status_code == 201
    state = service.http.get("/adapters/other/state").content
    media_type = {"content-type": "application/vnd.safetensors"}
    assert service.http.put("/adapters/parrot/state", content=state, headers=media_type).status_code == 201
    assert service.http.put("/adapters/parrot/aliases/prod", json={"version": 1}).status_code == 200
    yield service
    service.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser, guarded: Service) -> Iterator[Browser]:
    """Signed in. Whatever a script or the policy complains about fails the test."""
    chromium.open(f"{guarded.address}/console/login")
    chromium.forget()
    chromium.open(f"{guarded.address}/console")
    chromium.fill("#key", KEY)
    chromium.press("Sign in")
    chromium.find("nav")
    assert chromium.complaints == []
    yield chromium
    assert chromium.complaints == []


def test_a_wrong_key_is_told_and_a_right_one_leads_to_the_page(chromium: Browser, guarded: Service) -> None:
    chromium.open(f"{guarded.address}/console/login")
    chromium.forget()
    chromium.open(f"{guarded.address}/console/adapters?q=parrot")
    chromium.fill("#key", "ask_aaaaaaaa_wrong")
    chromium.press("Sign in")
    chromium.until_shown("There is no such key")
    chromium.photograph("login")
    chromium.fill("#key", KEY)
    chromium.press("Sign in")
    chromium.until_shown("1 found")
    assert chromium.address.endswith("/console/adapters?q=parrot")
    assert chromium.run("return document.cookie") == ""
    chromium.press("Sign out")
    chromium.find("#key")


def test_a_search_finds_while_it_is_typed(browser: Browser, guarded: Service) -> None:
    browser.photograph("models")
    browser.open(f"{guarded.address}/console/adapters")
    browser.until_shown("2 found", "#found")
    browser.fill("#q", "parr")
    browser.until_shown("1 found", "#found")
    browser.photograph("adapters")
    assert "q=parr" in browser.address


def test_long_names_and_words_break_where_they_must_and_short_ones_nowhere(browser: Browser, guarded: Service) -> None:
    name = f"long-{'x' * 120}"
    assert guarded.http.post("/models/writer/adapters", json={"name": name, "config": LORA}).status_code == 201
    assert guarded.http.patch(f"/adapters/{name}", json={"description": "w" * 3_000}).status_code == 200
    too_wide = "return document.documentElement.scrollWidth > window.innerWidth"
    in_one_line = """const cells = [...document.querySelectorAll("td")].filter(cell => cell.textContent === "writer")
    return cells.every(cell => {
        const range = document.createRange(); range.selectNodeContents(cell); return range.getClientRects().length === 1
    })"""
    for page in (f"adapters/{name}", "adapters", "activity", "usage"):
        browser.open(f"{guarded.address}/console/{page}")
        browser.until_shown(name)
        assert not browser.run(too_wide), page
        assert browser.run(in_one_line), page
        browser.photograph(f"long_{page.partition('/')[0]}")
    assert guarded.http.delete(f"/adapters/{name}").status_code == 204


def test_an_alias_is_moved_after_a_look_and_with_a_reason(browser: Browser, guarded: Service) -> None:
    browser.open(f"{guarded.address}/console/adapters/parrot")
    browser.until_shown("self_attn.q_proj", ".map")
    browser.photograph("adapter")
    browser.press("Move …")
    browser.until_shown("now")
    browser.fill("#reason", "answers shorter")
    browser.photograph("move")
    browser.press("Move prod to version 2")
    browser.until_shown("Move an alias")
    assert guarded.http.get("/adapters/parrot").json()["aliases"] == {"prod": 2}
    event = guarded.http.get("/events", params={"adapter": "parrot", "kind": "alias"}).json()["items"][-1]
    assert (event["reason"], event["by"]) == ("answers shorter", "admin-key")


def test_the_playground_streams_what_each_adapter_writes(browser: Browser, guarded: Service) -> None:
    browser.open(f"{guarded.address}/console/playground?model=writer&adapters=parrot@1")
    browser.find("input[value='other']").click()
    browser.fill("#input", "a b c")
    browser.fill("#max_new_tokens", "8")
    # Each part of an answer is put in by itself: an observer sees more than one.
    browser.run(
        "window.parts = 0; new MutationObserver((all) => { window.parts += all.length; })"
        ".observe(document.getElementById('answers'), {subtree: true, childList: true})"
    )
    browser.press("Ask")
    browser.until_shown("8 tokens", ".facts")
    digests = [version["digest"] for version in guarded.http.get("/adapters/parrot").json()["versions"]]
    browser.until_shown(digests[0], ".digest")
    browser.until_shown(digests[1], ".digest")  # the other adapter's weights are the second version's
    browser.photograph("playground")
    question = {"text": ["a b c"] * 3}
    body = {"inputs": question, "adapter": [None, "other", "parrot@1"], "parameters": {"max_new_tokens": 8}}
    expected = guarded.http.post("/models/writer/infer", content=json.dumps(body)).json()["outputs"]["text"]
    shown = [found.text for found in browser.all("#answers .answer")]
    assert [text.split() for text in shown] == [text.split() for text in expected]
    assert int(str(browser.run("return window.parts"))) > len(shown)


def test_a_comparison_leads_to_moving_the_alias_there(browser: Browser, guarded: Service) -> None:
    browser.open(f"{guarded.address}/console/compare?model=writer&before=parrot@1&after=parrot@2")
    browser.fill("#max_new_tokens", "8")
    browser.fill("#inputs", "a b c\nd e f")
    browser.press("Compare")
    browser.until_shown("of 2 inputs")
    browser.photograph("compared")
    browser.press("Move prod here: parrot@2")
    browser.find("#reason")


def test_dragged_files_are_checked_then_stored(browser: Browser, guarded: Service) -> None:
    files = [guarded.directory / name for name in ("adapter_config.json", "adapter_model.safetensors")]
    files[0].write_text(json.dumps({**LORA, "target_modules": ["q_proj", "nowhere"]}))
    files[1].write_bytes(guarded.http.get("/adapters/parrot/state").content)
    browser.open(f"{guarded.address}/console/upload")
    browser.fill("#name", "dragged")
    browser.drop("#drop", files)
    browser.until_shown("adapter_model.safetensors", "#chosen")
    browser.press("Check")
    browser.until_shown("'nowhere' matches none", "#outcome")
    assert ["422" in complaint for complaint in browser.complaints] == [True]
    files[0].write_text(json.dumps(LORA))
    browser.drop("#drop", files)
    browser.press("Check")
    browser.until_shown("dragged@1 would be stored", "#outcome")
    assert guarded.http.get("/adapters/dragged").status_code == 404
    browser.press("Store")
    browser.until_shown("dragged@1 is stored", "#outcome")
    assert guarded.http.get("/adapters/dragged").status_code == 200


def test_a_service_without_keys_takes_the_forms_of_its_own_pages(chromium: Browser, tmp_path: Path) -> None:
    service = Service(tmp_path, tmp_path / "no-models").start_preloaded()
    try:
        chromium.open(f"{service.address}/console/access")
        chromium.fill("#team-name", "fraud")
        chromium.press("Make a team")
        chromium.until_shown("fraud", "tbody th")
        assert chromium.complaints == []
    finally:
        service.close()
