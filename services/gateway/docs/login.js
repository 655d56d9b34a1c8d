"use strict";
const part = (id) => document.getElementById(id);
const NAMES = { google: "Google", github: "GitHub" };
const ERRORS = {
  "access-denied": "The login was declined.",
  "email-not-verified": "Your email address is not verified there. Verify it first.",
  forbidden: "With this account you cannot log in here.",
  unavailable: "The provider does not answer. Try again.",
};

async function ask(method, path) {
  const answer = await fetch(path, { method, credentials: "same-origin" });
  return { status: answer.status, body: answer.status === 204 ? {} : await answer.json() };
}

async function show() {
  const me = await ask("GET", "/api/v1/auth/me");
  part("in").hidden = me.status !== 200;
  part("out").hidden = me.status === 200;
  if (me.status === 200) {
    part("who").textContent = me.body.email;
    part("first").hidden = me.body.api_key.retrievable_until === null;
    return;
  }
  const { providers } = (await ask("GET", "/api/v1/auth/login")).body;
  part("providers").replaceChildren(...providers.map((name) => {
    const link = document.createElement("a");
    link.href = `/api/v1/auth/login/${name}?return_to=/login`;
    link.textContent = `Log in with ${NAMES[name] || name}`;
    const item = document.createElement("li");
    item.append(link);
    return item;
  }));
  if (!providers.length) part("state").textContent = "Nobody can log in here by way of another site.";
}

function act(id, work) {
  part(id).addEventListener("click", () => work().catch(lost));
}

function lost() {
  part("state").textContent = "The server could not be reached. Try again.";
}

act("show", async () => {
  const { status, body } = await ask("POST", "/api/v1/auth/retrieve-api-key");
  part("first").hidden = true;
  part("key").hidden = status !== 200;
  part("key").textContent = status === 200 ? body.api_key : "";
  part("state").textContent = status === 200 ? "Keep the key: it cannot be shown again." : body.detail;
});

act("leave", async () => {
  await ask("POST", "/api/v1/auth/logout");
  part("key").textContent = "";
  await show();
});

const reason = new URLSearchParams(location.search).get("login_error");
if (reason !== null) {
  part("state").textContent = ERRORS[reason] || "The login did not work. Try again.";
  history.replaceState(null, "", location.pathname);
}
show().catch(lost);
