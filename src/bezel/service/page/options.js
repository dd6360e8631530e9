/** What the settings say, as fields of a request. */

import { find, tell } from "./dom.js";

const NUMBERS = ["temperature", "top_p", "top_k", "seed", "max_tokens"];

/** Fields that are set. Throws Error with what is wrong, at its place. */
export function options() {
  const fields = {};
  for (const name of NUMBERS) {
    const input = find(name);
    if (!input.checkValidity()) {
      input.reportValidity();
      throw new Error(`${input.labels[0].textContent.trim()}: ${input.validationMessage}`);
    }
    if (input.value !== "") fields[name] = Number(input.value);
  }
  const { tools, wrong } = checkTools();
  if (wrong) {
    find("tools-part").open = true;
    throw new Error(`Tools: ${wrong}`);
  }
  if (tools.length) Object.assign(fields, { tools, tool_choice: find("tool_choice").value });
  return fields;
}

/** The tools that were pasted, and what is wrong with them, which is shown beside them too. */
export function checkTools() {
  const text = find("tools").value.trim();
  let wrong = null;
  let tools = [];
  if (text) {
    try {
      tools = [JSON.parse(text)].flat();
      if (!tools.every((tool) => tool?.function?.name)) wrong = "Each tool needs a function with a name.";
    } catch (error) {
      wrong = `This is no JSON: ${error.message}`;
    }
  }
  find("tools").setAttribute("aria-invalid", String(Boolean(wrong)));
  tell(find("tools-error"), wrong);
  return { tools, wrong };
}
