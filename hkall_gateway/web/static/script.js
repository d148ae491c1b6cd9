// The pages work without this script. With it: counts refresh, the scan field keeps the focus, all rows are selected at once,
// slips are printed, and what cannot be undone is confirmed first.
"use strict";

const REFRESH_FAILED_MS = 60000;

function refresh(section) {
  const every = Number(section.dataset.refresh) * 1000;
  const selector = "[data-refresh]";

  async function again() {
    let wait = every;
    try {
      if (!document.hidden && !section.contains(document.activeElement)) {
        const answer = await fetch(location.href, { headers: { "X-Refresh": "1" }, redirect: "manual" });
        if (answer.type === "opaqueredirect") location.reload(); // logged out: records do not stay on the screen
        if (answer.ok) {
          const page = new DOMParser().parseFromString(await answer.text(), "text/html");
          const fresh = page.querySelector(selector);
          if (fresh && fresh.innerHTML !== section.innerHTML) section.replaceChildren(...fresh.childNodes);
        }
      }
    } catch {
      wait = REFRESH_FAILED_MS; // the gateway is away: the page stays as it was
    }
    setTimeout(again, wait);
  }

  setTimeout(again, every);
}

function keepFocus(field) {
  const isOther = (element) => element && element !== document.body && element !== field;
  field.focus();
  document.addEventListener("focusout", () => setTimeout(() => isOther(document.activeElement) || field.focus()));
  document.addEventListener("keydown", (event) => {
    const typed = event.key.length === 1 && !event.ctrlKey && !event.altKey && !event.metaKey;
    if (typed && !isOther(document.activeElement)) field.focus();
  });
}

function selectAll(part) {
  const whole = part.querySelector("input");
  const boxes = [...part.closest("form").querySelectorAll(`input[name="${part.dataset.selectAll}"]`)];
  part.hidden = false;
  whole.addEventListener("change", () => boxes.forEach((box) => (box.checked = whole.checked)));
}

document.querySelectorAll("[data-refresh]").forEach(refresh);
document.querySelectorAll("[data-keep-focus]").forEach(keepFocus);
document.querySelectorAll("[data-select-all]").forEach(selectAll);
if (document.querySelector("[data-print]")) addEventListener("load", () => print());

document.addEventListener("submit", (event) => {
  const question = (event.submitter && event.submitter.dataset.confirm) || event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});
