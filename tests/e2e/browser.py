"""A real browser, as people have one: Debian's chromium, without a window."""

import os
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from e2e.process import PATIENCE_S
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

MISSING = "{} is missing: `make test` installs it where apt-get may be used (apt-get install chromium chromium-driver)"


class Browser:
    def __init__(self, driver: webdriver.Chrome) -> None:
        self._driver = driver
        # What a page replaces meanwhile is looked for again.
        self._wait = WebDriverWait(driver, PATIENCE_S, ignored_exceptions=[StaleElementReferenceException])

    def open(self, address: str) -> None:
        self._driver.get(address)

    @property
    def address(self) -> str:
        return self._driver.current_url

    def find(self, css: str) -> WebElement:
        """The first one that is there and shown."""
        found: list[WebElement] = []

        def look(driver: webdriver.Chrome) -> bool:
            found[:] = [one for one in driver.find_elements(By.CSS_SELECTOR, css) if one.is_displayed()]
            return bool(found)

        self._wait.until(look)
        return found[0]

    def all(self, css: str) -> list[WebElement]:
        return self._driver.find_elements(By.CSS_SELECTOR, css)

    def press(self, title: str) -> None:
        """The button that is called so, else the link."""
        found: list[WebElement] = []

        def look(driver: webdriver.Chrome) -> bool:
            named = (f"//{kind}[normalize-space()='{title}']" for kind in ("button", "a"))
            found[:] = [one for path in named for one in driver.find_elements(By.XPATH, path)]
            return bool(found)

        self._wait.until(look)
        found[0].click()

    def fill(self, css: str, text: str) -> None:
        field = self.find(css)
        field.clear()
        field.send_keys(text)

    def drop(self, css: str, files: Sequence[Path]) -> None:
        """As dragged there; the field for files lends them to the page, and is empty then."""
        field = self._driver.find_element(By.CSS_SELECTOR, "input[type=file]")
        field.send_keys("\n".join(map(str, files)))
        self._driver.execute_script(
            "const held = new DataTransfer(); for (const file of arguments[0].files) held.items.add(file);"
            "arguments[0].value = '';"
            "arguments[1].dispatchEvent(new DragEvent('drop', {dataTransfer: held, bubbles: true, cancelable: true}));",
            field,
            self.find(css),
        )

    def until_shown(self, text: str, css: str = "main") -> None:
        self._wait.until(
            lambda driver: any(text in one.text for one in driver.find_elements(By.CSS_SELECTOR, css)), text
        )

    def run(self, script: str) -> object:
        return self._driver.execute_script(script)

    def forget(self) -> None:
        """All cookies."""
        self._driver.delete_all_cookies()

    @property
    def complaints(self) -> list[str]:
        """What the browser said since it was asked last: scripts that failed, what the policy forbade."""
        return [str(entry["message"]) for entry in self._driver.get_log("browser") if entry["level"] == "SEVERE"]

    def photograph(self, name: str) -> None:
        """Where `SCREENSHOTS` names a folder."""
        if folder := os.environ.get("SCREENSHOTS"):
            self._driver.save_screenshot(str(Path(folder) / f"{name}.png"))


@contextmanager
def open_browser() -> Generator[Browser]:
    found = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    for name, path in found.items():
        assert path is not None, MISSING.format(name)
    options = webdriver.ChromeOptions()
    options.binary_location = str(found["chromium"])
    # Root's browser has no sandbox of its own, and a container's shared memory is small.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument("--window-size=1280,1400")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(found["chromedriver"])))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
