/** A small part of Markdown as DOM nodes: paragraphs, headings, lists, code, bold, italic. All else stays as it is. */

import { element } from "./dom.js";

const FENCE = /^\s*```/;
const HEADING = /^(#{1,6})\s+(.*)$/;
const BULLET = /^\s*[-*+]\s+(.*)$/;
const NUMBER = /^\s*(\d{1,9})[.)]\s+(.*)$/;
const INLINE = /(`[^`\n]+`|\*\*[^*\n]+\*\*|\*[^*\s][^*\n]*\*)/;

/** The nodes of a text, which may end in the middle of anything. */
export function markdown(text) {
  const lines = text.split("\n");
  const nodes = [];
  let at = 0;
  const take = (pattern) => {
    const found = [];
    while (at < lines.length && pattern.test(lines[at])) found.push(pattern.exec(lines[at++]));
    return found;
  };
  while (at < lines.length) {
    const line = lines[at];
    if (FENCE.test(line)) {
      const code = [];
      for (at++; at < lines.length && !FENCE.test(lines[at]); at++) code.push(lines[at]);
      at++;
      nodes.push(element("pre", { tabindex: "0" }, element("code", { text: code.join("\n") })));
    } else if (HEADING.test(line)) {
      const [, marks, words] = HEADING.exec(lines[at++]);
      nodes.push(element(`h${Math.min(6, marks.length + 2)}`, {}, ...inline(words)));
    } else if (BULLET.test(line)) {
      nodes.push(element("ul", {}, ...take(BULLET).map(([, words]) => element("li", {}, ...inline(words)))));
    } else if (NUMBER.test(line)) {
      const items = take(NUMBER);
      const list = items.map(([, , words]) => element("li", {}, ...inline(words)));
      nodes.push(element("ol", { start: items[0][1] }, ...list));
    } else if (line.trim() === "") {
      at++;
    } else {
      const words = [];
      const plain = () => at < lines.length && lines[at].trim() !== "" && !starts(lines[at]);
      while (plain()) words.push(lines[at++]);
      nodes.push(element("p", {}, ...inline(words.join("\n"))));
    }
  }
  return nodes;
}

const starts = (line) => [FENCE, HEADING, BULLET, NUMBER].some((pattern) => pattern.test(line));

function inline(text) {
  return text.split(INLINE).filter(Boolean).map((part) => {
    if (part.length > 2 && part.startsWith("`") && part.endsWith("`")) return element("code", { text: part.slice(1, -1) });
    if (part.length > 4 && part.startsWith("**") && part.endsWith("**")) return element("strong", { text: part.slice(2, -2) });
    if (part.length > 2 && part.startsWith("*") && part.endsWith("*")) return element("em", { text: part.slice(1, -1) });
    return document.createTextNode(part);
  });
}
