/** A conversation: what was said, and the answer that is being written. */

import { Attachments } from "./attachments.js";
import { events, json, Refused } from "./api.js";
import { find, tell } from "./dom.js";
import { MessageView } from "./messages.js";
import { checkTools, options } from "./options.js";

export class Chat {
  /** `refused` is called where the key is not taken. */
  constructor(refused) {
    this.refused = refused;
    this.messages = [];
    this.running = null;
    this.waiting = null; // calls whose results are asked for
    this.files = new Attachments((text) => this.problem(text));
    const question = find("question");
    find("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    question.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.send();
    });
    question.addEventListener("input", () => fit(question));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.stop();
    });
    find("stop").addEventListener("click", () => this.stop());
    find("new-chat").addEventListener("click", () => this.clear());
    find("model").addEventListener("change", () => this.choose());
    find("tools").addEventListener("change", () => checkTools());
  }

  async loadModels() {
    const { data } = await json("/v1/models");
    find("model").replaceChildren(...data.map(({ id }) => new Option(id, id)));
    await this.choose();
  }

  async choose() {
    try {
      const about = await json(`/v1/models/${find("model").value.split("/").map(encodeURIComponent).join("/")}`);
      const inputs = about.modalities ?? ["text"];
      const context = about.max_model_len.toLocaleString("en");
      find("model-facts").textContent = `${context} tokens of context; takes ${inputs.join(", ")}`;
      this.files.offer(inputs);
    } catch (error) {
      this.failed(error);
    }
  }

  async send() {
    const question = find("question");
    const text = question.value.trim();
    if (this.running || (!text && !this.files.parts.length)) return;
    let fields;
    try {
      fields = options();
    } catch (error) {
      this.problem(error.message);
      return;
    }
    this.pass();
    const parts = this.files.take();
    question.value = "";
    fit(question);
    const content = parts.length
      ? [...parts.map((part) => part.content), ...(text ? [{ type: "text", text }] : [])]
      : text;
    this.messages.push({ role: "user", content });
    const view = new MessageView("user", "You");
    view.say(text, true);
    view.attach(parts);
    if (!(await this.answer(fields))) {
      this.messages.pop();
      view.node.remove();
      this.files.give(parts);
      question.value ||= text;
      fit(question);
    }
  }

  /** Whether an answer, or a part of one, has come; else all is as before. */
  async answer(fields) {
    this.problem(null);
    const system = find("system").value.trim();
    const messages = [...(system ? [{ role: "system", content: system }] : []), ...this.messages];
    const body = { model: find("model").value, messages, stream: true, stream_options: { include_usage: true }, ...fields };
    const view = new MessageView("assistant", body.model);
    const written = new Written(view);
    this.running = new AbortController();
    this.busy(true);
    let failure = null;
    try {
      for await (const event of events("/v1/chat/completions", { body, signal: this.running.signal })) written.take(event);
    } catch (error) {
      failure = error;
    }
    this.running = null;
    this.busy(false);
    const stopped = failure?.name === "AbortError";
    written.end(stopped);
    if (failure && !stopped) this.failed(failure);
    if (!written.some) {
      view.node.remove();
      return false;
    }
    const message = written.message(Boolean(failure));
    this.messages.push(message);
    find("said").textContent = written.text || `calls ${written.calls.map((call) => call.function.name).join(", ")}`;
    if (message.tool_calls) this.wait(view, message.tool_calls);
    return true;
  }

  wait(view, calls) {
    this.waiting = { calls, end: view.askResults(calls, (results) => this.go(results)) };
  }

  /** Say what the calls gave. */
  tell(results) {
    const { calls } = this.waiting;
    calls.forEach((call, place) => this.messages.push({ role: "tool", tool_call_id: call.id, content: results[place] }));
    this.waiting = null;
  }

  /** Whoever asks something else instead has not executed the calls. */
  pass() {
    if (!this.waiting) return;
    this.waiting.end();
    this.tell(this.waiting.calls.map(() => "not executed"));
  }

  /** Go on from what the calls gave. */
  async go(results) {
    this.tell(results);
    let fields = {};
    try {
      fields = options();
    } catch (error) {
      this.problem(error.message);
    }
    if (fields.tool_choice === "required") fields.tool_choice = "auto"; // or it would call for ever
    await this.answer(fields);
  }

  stop() {
    this.running?.abort();
  }

  clear() {
    this.stop();
    this.messages = [];
    this.waiting = null;
    for (const each of find("messages").querySelectorAll("article")) each.remove();
    find("welcome").hidden = false;
    this.problem(null);
    find("question").focus();
  }

  busy(now) {
    find("send").hidden = now;
    find("stop").hidden = !now;
    find("messages").setAttribute("aria-busy", String(now));
    if (now) find("said").textContent = "The answer is being written.";
    if (!now) find("question").focus();
  }

  failed(error) {
    if (error instanceof Refused && error.status === 401) this.refused(error.message);
    else this.problem(error.message);
  }

  problem(text) {
    tell(find("problem"), text);
  }
}

/** An answer while it comes: text and calls; drawn once a frame. */
class Written {
  constructor(view) {
    Object.assign(this, { view, text: "", calls: [], reason: null, usage: null, asked: performance.now(), first: 0, drawing: 0 });
  }

  get some() {
    return Boolean(this.text || this.calls.length || this.reason);
  }

  take(event) {
    this.usage = event.usage ?? this.usage;
    const choice = event.choices[0];
    if (!choice) return;
    this.reason = choice.finish_reason ?? this.reason;
    const { content, tool_calls: calls } = choice.delta;
    if (content || calls) this.first ||= performance.now();
    this.text += content ?? "";
    for (const { index, id, function: part } of calls ?? []) {
      const call = (this.calls[index] ??= { id, type: "function", function: { name: part.name, arguments: "" } });
      call.function.arguments += part.arguments ?? "";
    }
    this.drawing ||= requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.drawing = 0;
    this.view.say(this.text);
    if (this.calls.length) this.view.call(this.calls);
  }

  end(stopped) {
    cancelAnimationFrame(this.drawing);
    this.draw();
    const seconds = (performance.now() - this.first) / 1000;
    const tokens = this.usage?.completion_tokens;
    const facts = [
      tokens && `${tokens} tokens`,
      this.first && `first after ${((this.first - this.asked) / 1000).toFixed(2)} s`,
      tokens > 1 && seconds > 0 && `${((tokens - 1) / seconds).toFixed(0)} tokens/s`,
      stopped && "stopped",
      this.reason === "length" && "cut off at the most tokens",
    ];
    this.view.remark(facts.filter(Boolean).join(" · "));
  }

  /** As it goes back to the model. A call that was broken off is none. */
  message(broken) {
    const calls = broken || this.reason === "length" ? [] : this.calls;
    return { role: "assistant", content: this.text || (calls.length ? null : ""), ...(calls.length ? { tool_calls: calls } : {}) };
  }
}

/** As high as its text, within what the style allows. */
function fit(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
}
