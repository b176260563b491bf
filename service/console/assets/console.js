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

for (const select of document.querySelectorAll("[data-choose]")) {
  select.addEventListener("change", () => select.form.submit());
}

// ---- playground: one column for each row of the one request

const trial = document.getElementById("try");
if (trial) trial.addEventListener("submit", ask);

async function ask(event) {
  event.preventDefault();
  const answers = document.getElementById("answers"), stop = document.getElementById("stop");
  const form = new FormData(trial);
  const others = document.getElementById("others").value.split(",").map((one) => one.trim()).filter(Boolean);
  const chosen = [...new Set([...form.getAll("adapter"), ...others])];
  form.delete("adapter");
  for (const reference of chosen) form.append("adapter", reference);
  const aborted = new AbortController(), begun = performance.now();
  const button = event.submitter || trial.querySelector("button.main");
  stop.onclick = () => aborted.abort();
  stop.disabled = false;
  button.disabled = true;
  notice.hidden = true;
  answers.replaceChildren();
  answers.setAttribute("aria-busy", "true");
  try {
    const response = await fetch(trial.action, { method: "POST", body: new URLSearchParams(form), signal: aborted.signal });
    if (!response.ok) say(await failure(response));
    else if (response.headers.get("content-type").startsWith("text/event-stream")) await write(response, ["base", ...chosen], answers, begun);
    else answers.innerHTML = await response.text(); // a page of ours, in which everything is escaped
  } catch (error) {
    if (error.name !== "AbortError") say("The service can't be reached, or the answer broke off.");
  } finally {
    stop.disabled = true;
    button.disabled = false;
    answers.removeAttribute("aria-busy");
    for (const text of answers.querySelectorAll(".writing")) text.classList.remove("writing");
  }
}

async function write(response, titles, answers, begun) {
  const columns = titles.map((title) => {
    const column = document.getElementById("column").content.cloneNode(true).firstElementChild;
    column.querySelector("h2").textContent = title;
    column.querySelector(".answer").classList.add("writing");
    return column;
  });
  const grid = document.createElement("div");
  grid.className = "columns";
  grid.append(...columns);
  answers.append(grid);
  for await (const [name, data] of events(response)) {
    if (name === "token") columns[data.row].querySelector(".answer").append(data.text);
    else if (name === "row") end(columns[data.row], data, performance.now() - begun);
    else if (name === "error") say(inWords(data));
  }
}

function end(column, data, took) {
  const { generated_tokens: tokens } = data.usage;
  column.querySelector(".answer").classList.remove("writing");
  column.querySelector(".facts").textContent = `${Math.round(took)} ms · ${tokens} tokens · ${data.finish_reason}`;
  column.querySelector(".digest").textContent = data.digest ? `${data.adapter} ${data.digest}` : "no adapter";
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const blocks = (rest + part.value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => [line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2)]));
      if (fields.data) yield [fields.event, JSON.parse(fields.data)];
    }
  }
}

// ---- upload: first a dry run, with everything that is wrong; then the same files once more, to be stored

const upload = document.getElementById("upload");
if (upload) {
  const files = document.getElementById("files"), drop = document.getElementById("drop");
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    files.files = event.dataTransfer.files;
    files.dispatchEvent(new Event("change", { bubbles: true }));
  });
  files.addEventListener("change", () => {
    document.getElementById("chosen").textContent = [...files.files].map((file) => `${file.name} (${file.size} bytes)`).join(", ");
  });
  upload.addEventListener("change", () => mayStore(false));
  upload.addEventListener("submit", bring);
}

function mayStore(checked) {
  upload.querySelector("[value=store]").disabled = !checked;
}

function bring(event) {
  event.preventDefault();
  const { here, adapter } = upload.dataset, files = [...document.getElementById("files").files];
  const isCheck = event.submitter.value === "check", form = new FormData();
  const part = (ending) => files.find((file) => file.name.endsWith(ending));
  if (part(".zip")) form.append("checkpoint", part(".zip"));
  if (part(".json")) form.append("config", part(".json"));
  if (part(".safetensors")) form.append("weights", part(".safetensors"));
  if (document.getElementById("unmatched").checked) form.append("accept_unmatched", "true");
  if (adapter) form.append("if_changed", "true");
  else form.append("name", document.getElementById("name").value);
  if (isCheck) form.append("dry_run", "true");
  const target = adapter ? `adapters/${encodeURIComponent(adapter)}/versions` : `models/${encodeURIComponent(document.getElementById("model").value)}/adapters`;
  const sent = document.getElementById("sent"), request = new XMLHttpRequest(); // fetch says nothing of what was sent
  request.open("POST", `${here}/${target}`);
  request.setRequestHeader("X-CSRF-Token", document.querySelector("meta[name=csrf]").content);
  request.upload.onprogress = (progress) => { sent.hidden = false; sent.max = progress.total; sent.value = progress.loaded; };
  let isSent = false;
  request.upload.onload = () => { isSent = true; };
  request.onerror = () => say(isSent && !isCheck
    ? "All of it was sent, but the answer is missing: it may be stored. Look at the adapter before you send it again."
    : "The upload broke off. Nothing was stored; send it again.");
  request.onload = () => {
    sent.hidden = true;
    const answer = JSON.parse(request.responseText);
    outcome(request.status < 400, answer, isCheck, `${here}/adapters/${encodeURIComponent(adapter || answer.name)}`);
    mayStore(request.status === 200 && isCheck);
  };
  request.send(form);
}

function outcome(good, answer, isCheck, address) {
  const card = document.createElement("section"), title = document.createElement("h2"), list = document.createElement("ul");
  card.className = "card";
  title.className = good ? "same" : "wrong";
  title.textContent = !good ? answer.detail : answer.unchanged ? `${answer.reference} has these bytes and this config already` : isCheck ? `${answer.reference} would be stored` : `${answer.reference} is stored`;
  const lines = good
    ? [`${answer.method}, ${answer.parameters} numbers, ${answer.target_count} targets`, answer.digest, ...answer.warnings]
    : [...(answer.errors || []).map((error) => `${error.loc.join(".")}: ${error.message}`), ...(answer.hint ? [answer.hint] : [])];
  for (const line of lines) list.append(Object.assign(document.createElement("li"), { textContent: line }));
  card.append(title, list);
  if (good && !isCheck) card.append(Object.assign(document.createElement("a"), { href: address, textContent: "To the adapter", className: "main button" }));
  document.getElementById("outcome").replaceChildren(card);
}
