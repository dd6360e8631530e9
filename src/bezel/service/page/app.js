/** What the page starts with: the key, the theme, and which view is shown. */

import { key, Refused } from "./api.js";
import { Chat } from "./chat.js";
import { Dashboard } from "./dashboard.js";
import { find, tell } from "./dom.js";

const THEME = "bezel-theme";
const chat = new Chat(askKey);
const dashboard = new Dashboard(askKey);

/** Open the dialog; `why` is what was wrong with the key before. */
function askKey(why) {
  tell(find("key-problem"), key.get() ? why : null);
  if (!find("ask-key").open) find("ask-key").showModal();
}

async function start() {
  try {
    await chat.loadModels();
  } catch (error) {
    if (!(error instanceof Refused && error.status === 401)) return chat.problem(error.message);
    return askKey(error.message);
  }
  find("ask-key").close();
  find("forget").hidden = !key.get();
  show();
}

find("ask-key").querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  key.keep(find("key").value.trim());
  find("key").value = "";
  start();
});
find("ask-key").addEventListener("cancel", (event) => event.preventDefault()); // there is nothing to see without one

find("forget").addEventListener("click", () => {
  key.forget();
  location.reload();
});

function show() {
  const onDashboard = location.hash === "#dashboard";
  find("chat-view").hidden = onDashboard;
  find("dashboard-view").hidden = !onDashboard;
  for (const id of ["new-chat", "toggle-settings"]) find(id).hidden = onDashboard;
  for (const [id, current] of [["to-chat", !onDashboard], ["to-dashboard", onDashboard]]) {
    if (current) find(id).setAttribute("aria-current", "page");
    else find(id).removeAttribute("aria-current");
  }
  document.title = onDashboard ? "bezel: dashboard" : "bezel";
  dashboard.run(onDashboard);
  if (!onDashboard) find("question").focus();
}
window.addEventListener("hashchange", show);

const isDark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};

function theme(chosen) {
  if (chosen) document.documentElement.dataset.theme = chosen;
  find("theme").setAttribute("aria-pressed", String(isDark()));
}
theme(localStorage.getItem(THEME));
find("theme").addEventListener("click", () => {
  const chosen = isDark() ? "light" : "dark";
  localStorage.setItem(THEME, chosen);
  theme(chosen);
});

function settings(open) {
  find("settings").hidden = !open;
  find("toggle-settings").setAttribute("aria-expanded", String(open));
}
settings(matchMedia("(min-width: 50rem)").matches);
find("toggle-settings").addEventListener("click", () => settings(find("settings").hidden));

start();
