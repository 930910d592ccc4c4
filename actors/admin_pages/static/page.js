// Buttons act by a call of the programming interface; times are shown as how long ago they were.
"use strict";

const said = document.getElementById("said");
let quiet;

function say(text, bad) {
  said.textContent = text;
  said.className = bad ? "bad" : "good";
  said.hidden = false;
  clearTimeout(quiet);
  quiet = setTimeout(() => { said.hidden = true; }, 8000);
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-post]");
  if (!button) return;
  if (button.dataset.confirm && !window.confirm(button.dataset.confirm)) return;
  button.disabled = true;
  try {
    const answer = await fetch(button.dataset.post, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Prodagent-Who": "page" },
      body: button.dataset.body || "{}",
    });
    const found = await answer.json();
    if (!answer.ok) say(found.error.text, true);
    else if (found.changed) say(found.changed.length ? `done: ${found.changed.length} changed` : "nothing to change", !found.changed.length);
    else say(`${found.actor} ${found.done}`, false);
  } catch (error) {
    say(`the agent does not answer: ${error.message}`, true);
  }
  button.disabled = false;
  window.htmx.trigger(document.getElementById("live"), "refresh");
});

document.body.addEventListener("htmx:sendError", () => document.body.classList.add("stale"));
document.body.addEventListener("htmx:responseError", () => document.body.classList.add("stale"));
document.body.addEventListener("htmx:afterSwap", () => document.body.classList.remove("stale"));
