"use strict";
// Everything works without this: it copies commands, and tells of each file while it is sent.
(() => {
  const words = document.body.dataset;
  const say = document.createElement("p");
  say.className = "hidden";
  say.setAttribute("role", "status");
  document.body.append(say);
  if (navigator.clipboard) {
    for (const box of document.querySelectorAll("[data-copy]")) {
      if (box === document.body) continue;
      const text = box.querySelector("code").textContent;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy";
      button.textContent = words.copy;
      button.setAttribute("aria-label", words.copy + ": " + text.split("\n")[0]);
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(text);
        } catch {
          getSelection().selectAllChildren(box.querySelector("code"));
          return;
        }
        button.textContent = say.textContent = words.copied;
        setTimeout(() => { button.textContent = words.copy; say.textContent = ""; }, 2000);
      });
      box.classList.add("copies");
      box.append(button);
    }
  }
  const form = document.querySelector("[data-upload]");
  if (!form) return;
  const input = form.querySelector("input[type=file]");
  const list = form.querySelector("[data-results]");
  form.querySelector("label").append(", " + form.dataset.hint);
  const line = (name) => {
    const item = document.createElement("li");
    const badge = document.createElement("span");
    const bar = document.createElement("progress");
    badge.className = "badge";
    badge.textContent = form.dataset.wait;
    bar.max = 1;
    bar.setAttribute("aria-label", name);
    const text = document.createElement("span");
    text.textContent = name;
    item.append(badge, " ", text, bar);
    list.append(item);
    return { item, badge, bar, text };
  };
  const send = (file) => new Promise((done) => {
    const { item, badge, bar, text: shown } = line(file.name);
    const end = (good, text, word) => {
      bar.remove();
      badge.className = good ? "badge good" : "badge bad";
      badge.textContent = word || (good ? form.dataset.done : form.dataset.bad);
      if (text) {
        const why = document.createElement("p");
        why.textContent = text;
        item.append(why);
      }
      done();
    };
    const data = new FormData();
    data.append("csrf", form.querySelector("[name=csrf]").value);
    data.append("content", file, file.name);
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.setRequestHeader("Accept", "application/json");
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => { bar.value = event.loaded / event.total; });
    request.addEventListener("error", () => end(false, form.dataset.lost));
    request.addEventListener("load", () => {
      const told = request.response || {};
      const one = (told.files || [])[0];
      if (one && !one.code) {
        const link = document.createElement("a");
        const path = [one.project, one.version].map(encodeURIComponent).join("/");
        link.href = form.action.replace(/-\/upload$/, "project/" + path + "/");
        link.textContent = one.filename;
        shown.replaceChildren(link);
      }
      const there = one && !one.code && one.status !== "stored" ? form.dataset.there : "";
      if (one) end(!one.code, [one.message, ...one.warnings].filter(Boolean).join(" "), there);
      else end(false, told.message || told.detail || String(request.status));
    });
    request.send(data);
  });
  const all = async (files) => { for (const file of files) await send(file); };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const files = [...input.files];
    form.reset();
    all(files);
  });
  for (const name of ["dragover", "dragleave", "drop"]) {
    form.addEventListener(name, (event) => {
      event.preventDefault();
      form.classList.toggle("over", name === "dragover");
      if (name === "drop") all([...event.dataTransfer.files]);
    });
  }
})();
