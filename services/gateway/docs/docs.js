"use strict";
const METHODS = ["get", "post", "put", "patch", "delete"];
const byId = (id) => document.getElementById(id);

/** Make an element. Text is only ever set as text: nothing in the document can become markup. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Follow a `$ref` within the document. */
function resolve(spec, part) {
  for (let depth = 0; part && part.$ref && depth < 20; depth += 1) {
    part = part.$ref.replace(/^#\//, "").split("/").reduce(
      (at, key) => (at || {})[key.replace(/~1/g, "/").replace(/~0/g, "~")], spec);
  }
  return part || {};
}

/** A value that fits a schema, to start from. */
function example(spec, schema, depth = 0) {
  schema = resolve(spec, schema);
  if (schema.default !== undefined) return schema.default;
  if (schema.const !== undefined) return schema.const;
  if (schema.examples && schema.examples.length) return schema.examples[0];
  if (schema.enum) return schema.enum[0];
  const choice = (schema.oneOf || schema.anyOf || []).find((one) => resolve(spec, one).type !== "null");
  if (choice) return example(spec, choice, depth + 1);
  const type = Array.isArray(schema.type) ? schema.type.find((one) => one !== "null") : schema.type;
  if (type === "object" || schema.properties) {
    if (depth > 6) return {};
    const wanted = new Set(schema.required || []);
    const entries = Object.entries(schema.properties || {}).filter(([name]) => wanted.has(name));
    return Object.fromEntries(entries.map(([name, part]) => [name, example(spec, part, depth + 1)]));
  }
  if (type === "array") return depth > 6 ? [] : [example(spec, schema.items, depth + 1)];
  if (type === "integer" || type === "number") return schema.minimum || 0;
  if (type === "boolean") return false;
  return type === "string" ? "" : null;
}

/** A schema in a few words. */
function typeName(spec, schema) {
  const name = schema && schema.$ref ? schema.$ref.split("/").pop() : "";
  const found = resolve(spec, schema);
  const choices = found.oneOf || found.anyOf;
  if (name) return name;
  if (choices) return choices.map((one) => typeName(spec, one)).join(" or ");
  if (found.enum) return found.enum.map((one) => JSON.stringify(one)).join(" | ");
  if (found.type === "array") return `list of ${typeName(spec, found.items)}`;
  return [].concat(found.type || "any").join(" or ") + (found.format ? ` (${found.format})` : "");
}

function table(caption, heads, rows) {
  return make("table", {}, make("caption", { class: "muted" }, caption),
    make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell))))));
}

/** The properties of a body, one line each. */
function properties(spec, schema) {
  const found = resolve(spec, schema);
  const required = new Set(found.required || []);
  const rows = Object.entries(found.properties || {}).map(([name, part]) => [
    make("code", {}, name + (required.has(name) ? " *" : "")), typeName(spec, part),
    resolve(spec, part).description || ""]);
  return rows.length ? table("Fields (* is required)", ["Field", "Type", "Meaning"], rows) : null;
}

function keyNote(security) {
  if (!security || !security.length) return "No API key.";
  return security.some((one) => !Object.keys(one).length) ? "API key optional." : "API key required.";
}

async function send(method, url, body, output) {
  const headers = {};
  const key = byId("key").value.trim();
  if (key) headers["X-API-Key"] = key;
  if (body !== null) headers["Content-Type"] = "application/json";
  output.textContent = "Sending…";
  const began = performance.now();
  try {
    const answer = await fetch(url, { method: method.toUpperCase(), headers, body, credentials: "same-origin" });
    let text = await answer.text();
    const took = Math.round(performance.now() - began);
    const type = answer.headers.get("content-type") || "";
    // A number may have more digits than a script's own: it is shown as it came, not read and written again.
    if (!/json|text|xml|pem/.test(type)) text = `(${text.length} characters of ${type || "no type"})`;
    const head = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    output.textContent = `${answer.status} ${answer.statusText} · ${took} ms\n${head}\n\n${text}`;
  } catch (error) {
    output.textContent = `No answer: ${error.message}`;
  }
}

/** The form that tries an operation. */
function tryIt(spec, method, path, parameters, bodySchema, label) {
  const inputs = parameters.filter((one) => one.in === "path" || one.in === "query" || one.in === "header");
  const fields = inputs.map((one) => make("input", {
    "aria-label": `${one.name} (${one.in})`, ...(one.required ? { required: "" } : {}) }));
  const body = bodySchema ? make("textarea", { "aria-label": "Body", spellcheck: "false" }) : null;
  if (body) body.value = JSON.stringify(example(spec, bodySchema), null, 2);
  const output = make("pre", { "aria-live": "polite", tabindex: "0", "aria-label": "Answer" });
  const form = make("form", { "aria-label": label },
    inputs.length ? table("Parameters", ["Name", "Type", "Meaning", "Value"], inputs.map((one, at) => [
      make("code", {}, one.name + (one.required ? " *" : "")), `${typeName(spec, one.schema)}, ${one.in}`,
      one.description || "", fields[at]])) : null,
    body ? make("h3", {}, "Body") : null, body,
    make("button", { type: "submit" }, "Send request"), output);
  output.hidden = true;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const query = new URLSearchParams();
    let target = path;
    inputs.forEach((one, at) => {
      const value = fields[at].value;
      if (one.in === "path") target = target.replace(`{${one.name}}`, encodeURIComponent(value));
      else if (one.in === "query" && value !== "") query.append(one.name, value);
    });
    output.hidden = false;
    const search = query.toString();
    send(method, search ? `${target}?${search}` : target, body ? body.value : null, output);
  });
  return form;
}

function operation(spec, path, method, item) {
  const found = item[method];
  const parameters = [...(item.parameters || []), ...(found.parameters || [])].map((one) => resolve(spec, one));
  const request = resolve(spec, found.requestBody);
  const bodySchema = request.content && (request.content["application/json"] || {}).schema;
  const answers = Object.entries(found.responses || {}).map(([status, one]) => {
    const response = resolve(spec, one);
    const [type, content] = Object.entries(response.content || {})[0] || ["", {}];
    return [status, response.description || "", type ? `${typeName(spec, content.schema || {})}, ${type}` : ""];
  });
  const words = `${method} ${path} ${found.summary || ""} ${found.description || ""}`.toLowerCase();
  const details = make("details", { "data-words": words },
    make("summary", {}, make("span", { class: "method" }, method.toUpperCase()), make("code", {}, path), " ",
      make("span", { class: "muted" }, found.summary || "")));
  // Built when it is opened: a page of a hundred forms would be slow to read and slower to walk through.
  details.addEventListener("toggle", () => {
    if (!details.open || details.children.length > 1) return;
    details.append(make("div", {},
      found.description ? make("p", {}, found.description) : null,
      make("p", { class: "muted" }, keyNote(found.security)),
      bodySchema ? properties(spec, bodySchema) : null,
      table("Answers", ["Status", "Meaning", "Body"], answers),
      tryIt(spec, method, path, parameters, bodySchema, `Try ${method.toUpperCase()} ${path}`)));
  });
  return details;
}

function show(spec) {
  byId("title").textContent = `${spec.info.title} ${spec.info.version}`;
  byId("about").textContent = spec.info.description || "";
  const groups = new Map((spec.tags || []).map((tag) => [tag.name, []]));
  for (const [path, item] of Object.entries(spec.paths)) {
    for (const method of METHODS.filter((one) => item[one])) {
      const tag = (item[method].tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operation(spec, path, method, item));
    }
  }
  for (const [tag, operations] of groups) {
    if (operations.length) byId("operations").append(make("section", {}, make("h2", {}, tag), ...operations));
  }
  filter();
}

function filter() {
  const wanted = byId("filter").value.trim().toLowerCase();
  let shown = 0;
  for (const section of document.querySelectorAll("section")) {
    let any = false;
    for (const details of section.querySelectorAll("details")) {
      details.hidden = !details.dataset.words.includes(wanted);
      if (!details.hidden) { any = true; shown += 1; }
    }
    section.hidden = !any;
  }
  byId("state").textContent = `${shown} operations`;
}

byId("tools").addEventListener("submit", (event) => event.preventDefault());
byId("filter").addEventListener("input", filter);
fetch("/openapi.json")
  .then((answer) => answer.ok ? answer.json() : answer.json().then((problem) => Promise.reject(new Error(problem.detail))))
  .then(show)
  .catch((error) => { byId("state").textContent = `The document could not be loaded: ${error.message}`; });
