/** How messages look. */

import { preview } from "./attachments.js";
import { element, find } from "./dom.js";
import { markdown } from "./markdown.js";

const NEAR = 80; // pixels from the end at which one still reads along

/** A message in the log; `role` is user or assistant. */
export class MessageView {
  constructor(role, name) {
    this.text = element("div", { class: "text" });
    this.calls = element("div", { class: "calls" });
    this.note = element("p", { class: "hint" });
    const heading = element("h2", { text: name });
    this.node = element("article", { class: role, "aria-label": name }, heading, this.text, this.calls, this.note);
    find("welcome").hidden = true;
    append(this.node);
  }

  /** Text as it was written, or as the Markdown that models write. */
  say(text, plain = false) {
    keepingEnd(() => {
      if (plain) this.text.textContent = text;
      else this.text.replaceChildren(...markdown(text));
    });
  }

  attach(parts) {
    if (parts.length) this.text.before(element("div", { class: "media" }, ...parts.map(preview)));
  }

  /** The calls so far. */
  call(calls) {
    const cards = calls.map(({ function: { name, arguments: given } }) =>
      element("figure", { class: "call", "aria-label": `Call of ${name}` },
        element("figcaption", {}, "calls ", element("strong", { text: name })),
        element("pre", { tabindex: "0" }, element("code", { text: laidOut(given) }))));
    keepingEnd(() => this.calls.replaceChildren(...cards));
  }

  /** Ask what the calls gave, for the model to go on from; `done` gets the texts. Returns what stops asking. */
  askResults(calls, done) {
    const inputs = calls.map(({ function: { name } }) =>
      element("input", { "aria-label": `Result of ${name}`, required: true, placeholder: "what it returned, e.g. 21 °C" }));
    const form = element("form", { class: "results" }, ...inputs, element("button", { type: "submit", text: "Send results" }));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      form.remove();
      const results = inputs.map((input) => input.value);
      const cards = this.calls.querySelectorAll(".call");
      results.forEach((result, place) => cards[place].append(element("p", { class: "result" }, "gave ", element("code", { text: result }))));
      done(results);
    });
    keepingEnd(() => this.calls.append(form));
    return () => form.remove();
  }

  remark(text) {
    keepingEnd(() => { this.note.textContent = text; });
  }
}

/** JSON in lines where it is whole, else as far as it has come. */
function laidOut(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function append(node) {
  find("messages").append(node);
  find("messages").scrollTop = find("messages").scrollHeight;
}

/** Change something, and stay at the end if the reader is there. */
function keepingEnd(change) {
  const log = find("messages");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR;
  change();
  if (atEnd) log.scrollTop = log.scrollHeight;
}
