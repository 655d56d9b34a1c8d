// A stage for the documentation page's script: just enough of a document to watch it work.
"use strict";
const fs = require("fs");
const path = require("path");
const folder = process.argv[2];

class Element {
  constructor(tag) {
    Object.assign(this, { tag, children: [], attributes: {}, dataset: {}, listeners: {}, value: "", hidden: false });
    this.open = false;
  }
  setAttribute(name, value) {
    this.attributes[name] = value;
    if (name.startsWith("data-")) this.dataset[name.slice(5)] = value;
  }
  append(...children) {
    for (const child of children) {
      if (!(child instanceof Element) && typeof child !== "string") throw new Error(`appended ${child}`);
      this.children.push(child);
    }
  }
  addEventListener(type, listener) { (this.listeners[type] ||= []).push(listener); }
  fire(type) { for (const listener of this.listeners[type] || []) listener({ preventDefault() {} }); }
  get textContent() { return this.children.map((c) => (typeof c === "string" ? c : c.textContent)).join(""); }
  set textContent(text) { this.children = [String(text)]; }
  querySelectorAll(tag) {
    return this.children.filter((c) => c instanceof Element)
      .flatMap((c) => [...(c.tag === tag ? [c] : []), ...c.querySelectorAll(tag)]);
  }
}

const byId = {};
global.document = {
  createElement: (tag) => new Element(tag),
  getElementById: (id) => (byId[id] ||= new Element(id)),
  querySelectorAll: (tag) => byId.operations.querySelectorAll(tag),
};
const spec = JSON.parse(fs.readFileSync(path.join(folder, "openapi.json"), "utf8"));
const requests = [];
global.fetch = async (url, options) => {
  if (url === "/openapi.json") return { ok: true, json: async () => spec };
  requests.push({ url, method: options.method, headers: options.headers });
  return {
    status: 200, statusText: "OK", headers: new Map([["content-type", "application/json"]]),
    text: async () => '{"cost":0.00000003750000000001}',
  };
};
eval(fs.readFileSync(path.join(folder, "docs.js"), "utf8"));

setTimeout(() => {
  const all = document.querySelectorAll("details");
  const summaries = all.map((d) => d.children[0].textContent.replace(/^([A-Z]+)/, "$1 ").trim());
  for (const details of all) { details.open = true; details.fire("toggle"); }
  const log = all.find((d) => d.children[0].textContent.includes("/api/v1/log "));
  document.getElementById("key").value = "llmr_pk_x";
  log.querySelectorAll("form")[0].fire("submit");
  setTimeout(() => {
    byId.filter.value = "/api/v1/register";
    const state = byId.state.textContent;
    byId.filter.fire("input");
    console.log(JSON.stringify({
      title: byId.title.textContent,
      state,
      operations: all.length,
      summaries: summaries.map((s) => s.split(" ").slice(0, 2).join(" ")),
      opened: {
        fields: log.querySelectorAll("table")[0].querySelectorAll("code").map((c) => c.textContent),
        body: log.querySelectorAll("textarea")[0].value,
      },
      sent: requests[0],
      answer: log.querySelectorAll("pre")[0].textContent,
      filtered: byId.state.textContent,
    }));
  }, 20);
}, 20);
