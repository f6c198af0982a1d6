// What the checkpoint knows, and recordings that show what can be said to it.

import { fetchFile, fetchJson } from "./link.js";

/** Show both in their places; `onPlay` gets the AudioBuffer of an example. Returns what is known. */
export async function showExamples({ knows, examples }, onPlay) {
  const about = await fetchJson("about.json");
  knows.textContent = about.knows;
  examples.querySelector("ul").replaceChildren(
    ...about.examples.map(({ file, title, seconds }) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "example";
      button.textContent = `▶ ${title}`;
      button.title = `${Math.round(seconds)} s`;
      button.onclick = () => play(file).then(onPlay);
      const item = document.createElement("li");
      item.append(button);
      return item;
    }),
  );
  examples.hidden = !about.examples.length;
  return about;
}

async function play(file) {
  const response = await fetchFile(`examples/${encodeURIComponent(file)}`);
  const context = new OfflineAudioContext(1, 1, 48_000);
  return context.decodeAudioData(await response.arrayBuffer());
}
