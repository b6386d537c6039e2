// Makes the pages better where scripts run; without this file they work all the same.
"use strict";

// A page that names a source asks for it again and again, and takes over what stands in its live
// parts. The parts are the server's own HTML: nothing is rendered here.
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
    // Signed out elsewhere, or back from an outage: another page, but nobody's input is thrown away.
    if (names(fresh) !== names(document) && !inUse()) return location.reload();
    for (const part of partsOf(document)) {
      const now = fresh.getElementById(part.id);
      // Who is inside with the keyboard is not thrown out either.
      if (!now || part.contains(document.activeElement)) continue;
      if (part.innerHTML !== now.innerHTML) {
        part.replaceChildren(...document.importNode(now, true).childNodes);
      }
    }
  };

  const ask = () => {
    if (document.hidden) return again();
    const request = new XMLHttpRequest(); // fetch() can't parse HTML, and strings must not become it
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
    stale.textContent = `No answer since ${heard.toLocaleTimeString()}. Still asking.`;
    again();
  };
  const again = () => setTimeout(ask, every);

  again();
})();

// What is marked for it can be copied.
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

// A file that is too large is refused before it is sent, and a form is sent once.
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
  // Back from the next page, the browser shows this one as it was left.
  window.addEventListener("pageshow", () => {
    for (const button of document.querySelectorAll("button[type=submit]")) button.disabled = false;
  });
})();
