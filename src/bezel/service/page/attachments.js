/** Files that go with the next message: offered as far as the model sees and hears. */

import { element, find } from "./dom.js";

const MOST_BYTES = 20 * 2 ** 20; // base64 adds a third, and the server takes 32 MiB unless told otherwise
const SOUNDS = ["wav", "mp3", "flac", "ogg"];

export class Attachments {
  /** `problem` is told what cannot be attached. */
  constructor(problem) {
    this.problem = problem;
    this.parts = [];
    for (const [kind, id] of [["image", "attach-image"], ["audio", "attach-audio"]]) {
      const input = find(id).querySelector("input");
      input.addEventListener("change", async () => {
        for (const file of input.files) await this.add(kind, file);
        input.value = "";
      });
    }
  }

  /** Offer what a model takes; let go of what it does not. */
  offer(modalities) {
    find("attach-image").hidden = !modalities.includes("image");
    find("attach-audio").hidden = !modalities.includes("audio");
    this.parts = this.parts.filter((part) => modalities.includes(part.kind));
    this.show();
  }

  async add(kind, file) {
    const format = file.name.split(".").pop().toLowerCase();
    if (kind === "audio" && !SOUNDS.includes(format)) return this.problem(`${file.name} is none of ${SOUNDS.join(", ")}.`);
    const bytes = [...this.parts, file].reduce((sum, each) => sum + each.size, 0);
    if (bytes > MOST_BYTES) return this.problem(`${file.name} is too much: attach at most 20 MiB.`);
    const url = await dataUrl(file);
    const content =
      kind === "image"
        ? { type: "image_url", image_url: { url } }
        : { type: "input_audio", input_audio: { data: url.slice(url.indexOf(",") + 1), format } };
    this.parts.push({ kind, name: file.name, size: file.size, url, content });
    this.show();
  }

  take() {
    const parts = this.parts;
    this.parts = [];
    this.show();
    return parts;
  }

  give(parts) {
    this.parts = parts;
    this.show();
  }

  show() {
    const items = this.parts.map((part) => {
      const remove = element("button", { type: "button", class: "quiet", "aria-label": `Remove ${part.name}`, text: "×" });
      remove.addEventListener("click", () => this.give(this.parts.filter((each) => each !== part)));
      return element("li", {}, preview(part), remove);
    });
    find("attached").replaceChildren(...items);
    find("attached").hidden = !items.length;
  }
}

/** How an attached file looks. */
export function preview(part) {
  if (part.kind === "image") return element("img", { src: part.url, alt: part.name });
  return element("audio", { src: part.url, controls: true, "aria-label": part.name });
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(reader.error));
    reader.readAsDataURL(file);
  });
}
