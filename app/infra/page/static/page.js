// Optional: the pages also work without scripts.
"use strict";

// A page with data-live fetches that address again and again, and replaces its parts that are marked
// with data-part. The server renders the parts.
(() => {
  const source = document.body.dataset.live;
  const every = Number(document.body.dataset.every) * 1000;
  const stale = document.getElementById("stale");
  if (!source) return;
  let heard = new Date();

  const partsOf = (page) => [...page.querySelectorAll("[data-part]")];
  const names = (page) => partsOf(page).map((part) => part.id).join();
  const inUse = () =>
    document.activeElement !== document.body ||
    [...document.querySelectorAll("input")].some((input) => input.value !== input.defaultValue);

  const takeOver = (fresh) => {
    // The page has other parts now, for example after an outage. Reload it, unless a form is in use.
    if (names(fresh) !== names(document) && !inUse()) return location.reload();
    for (const part of partsOf(document)) {
      const now = fresh.getElementById(part.id);
      // A part with the keyboard focus stays, or the focus would be lost.
      if (!now || part.contains(document.activeElement)) continue;
      if (part.innerHTML !== now.innerHTML) {
        part.replaceChildren(...document.importNode(now, true).childNodes);
      }
    }
  };

  const ask = () => {
    if (document.hidden) return again();
    const request = new XMLHttpRequest(); // not fetch(): only this parses HTML without making HTML from a string
    request.open("GET", source);
    request.responseType = "document";
    request.timeout = 10000;
    request.onload = () => {
      if (request.status !== 200 || !request.response) return failed();
      heard = new Date();
      stale.textContent = "";
      takeOver(request.response);
      document.title = request.response.title;
      if (request.response.body.dataset.live) again();
    };
    request.onerror = request.ontimeout = failed;
    request.send();
  };
  const failed = () => {
    stale.textContent = `No answer since ${heard.toLocaleTimeString()}. Trying again.`;
    again();
  };
  const again = () => setTimeout(ask, every);

  again();
})();

// A button that copies, beside each element with data-copy.
(() => {
  if (!navigator.clipboard) return;
  for (const text of document.querySelectorAll("[data-copy]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy ${text.dataset.copy}`);
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(text.textContent.trim());
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    text.after(button);
  }
})();

// Refuse a file that is too large before it is sent, and send each form only once.
(() => {
  for (const input of document.querySelectorAll("input[type=file][data-most]")) {
    input.addEventListener("change", () => {
      const [file] = input.files;
      const most = Number(input.dataset.most);
      const tooLarge = file && file.size > most;
      input.setCustomValidity(tooLarge ? `At most ${most / 1048576} MiB: split the file.` : "");
      input.reportValidity();
    });
  }
  for (const form of document.forms) {
    form.addEventListener("submit", () => {
      const button = form.querySelector("button[type=submit]");
      if (button) button.disabled = true;
    });
  }
  // After "back" the browser shows the page as it was, with the button disabled.
  window.addEventListener("pageshow", () => {
    for (const button of document.querySelectorAll("button[type=submit]")) button.disabled = false;
  });
})();
