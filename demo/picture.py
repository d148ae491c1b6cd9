"""Takes the picture of README.md, of the demo that runs: `make picture` beside `make run`, with Chromium and its driver."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from demo.demo_ports import Ports
from demo.demo_setup import PASSWORD, STAFF

FILE: Final = Path(__file__).parents[1] / "docs" / "demo.png"
WIDTH, HEIGHT = 1180, 624


@click.command()
@click.option("--shift", type=int, default=0, show_default=True, help="Of the ports, as in `make run`.")
def main(shift: int) -> None:
    """Take a picture of the first page that staff see."""
    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(word)
    driver: Any = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        screen = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        driver.get(f"http://127.0.0.1:{Ports().shifted(shift).web}/staff/")
        driver.find_element(By.NAME, "login").send_keys(STAFF[1]["login"])
        driver.find_element(By.NAME, "password").send_keys(PASSWORD)
        driver.find_element(By.CSS_SELECTOR, "main button").click()
        WebDriverWait(driver, 20).until(lambda found: "/login" not in found.current_url)
        driver.save_screenshot(str(FILE))
    finally:
        driver.quit()


if __name__ == "__main__":
    main()
