"use strict";
// The token stands behind "#", which no browser sends to a server. Opening the page spends nothing.
const token = location.hash.slice(1);
const form = document.getElementById(token ? "set" : "ask");
const state = document.getElementById("state");
// So that it stays neither in the address bar nor in the history.
history.replaceState(null, "", location.pathname);
form.hidden = false;

async function send(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    credentials: "omit",
  });
  return { done: answer.ok, detail: (await answer.json()).detail };
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  state.textContent = "One moment…";
  try {
    const { done, detail } = token
      ? await send("/api/v1/password-reset/confirm", { token, new_password: document.getElementById("password").value })
      : await send("/api/v1/password-reset", { email: document.getElementById("email").value });
    state.textContent = detail;
    form.hidden = done;
  } catch {
    state.textContent = "The server could not be reached. Try again.";
  }
});
