/** Elements by code: text is always text, so nothing that a model writes becomes markup. */

const SVG = "http://www.w3.org/2000/svg";

export const find = (id) => document.getElementById(id);

/** An element with properties (class, text, attributes) and children; what is null or false is left out. */
export function element(tag, { text, ...attributes } = {}, ...children) {
  return filled(document.createElement(tag), text, attributes, children);
}

export function svg(tag, { text, ...attributes } = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), text, attributes, children);
}

function filled(node, text, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  if (text !== undefined) node.textContent = text;
  node.append(...children.filter((child) => child !== null && child !== false));
  return node;
}

/** Show a text in a place that is hidden while there is none. */
export function tell(node, text) {
  node.textContent = text ?? "";
  node.hidden = !text;
}
