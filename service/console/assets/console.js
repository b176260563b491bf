// What the pages do by themselves. Whatever a caller or a model wrote is put in as text, never as markup.
"use strict";

const notice = document.getElementById("notice");

function say(text) {
  notice.textContent = text;
  notice.hidden = false;
}

function inWords(problem) {
  const errors = (problem.errors || []).map((error) => `${error.loc.join(".")}: ${error.message}`);
  return [problem.detail, ...errors, problem.hint].filter(Boolean).join("\n");
}

async function failure(response) {
  if (response.status === 401) return "Your session has ended. Sign in again; what you wrote stays here until then.";
  try {
    return inWords(await response.json());
  } catch {
    return `The service answered ${response.status}.`;
  }
}

document.addEventListener("htmx:responseError", (event) => {
  try {
    say(inWords(JSON.parse(event.detail.xhr.responseText)));
  } catch {
    say(`The service answered ${event.detail.xhr.status}.`);
  }
});
document.addEventListener("htmx:sendError", () => say("The service can't be reached."));
document.addEventListener("htmx:afterOnLoad", () => { notice.hidden = true; });

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.parentElement.querySelector("pre").textContent);
  button.textContent = "Copied";
});
