// What the checkpoint knows, and recordings that show what can be said to it.

import { fetchFile } from "./link.js";

const SHOWN = 3;

/** Show both in their places; `onPlay` gets the AudioBuffer of an example. Returns what is known. */
export async function showExamples({ knows, examples }, onPlay) {
  const about = await (await fetchFile("about.json")).json();
  knows.textContent = aboutVoices(about.voices);
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

function aboutVoices(voices) {
  if (!voices.length) return "Whose voices this model knows is not recorded.";
  const shown = voices.slice(0, SHOWN).map(({ name, share }) => `${name} (${percent(share)})`);
  const rest = voices.length - shown.length;
  const others = rest ? ` and ${rest} others` : "";
  return (
    `This model learnt from the voices of ${shown.join(", ")}${others}. ` +
    "Anybody else it may understand badly: the examples are said as it has learnt it."
  );
}

const percent = (share) => (share < 0.01 ? "under 1 %" : `${Math.round(100 * share)} %`);

async function play(file) {
  const response = await fetchFile(`examples/${encodeURIComponent(file)}`);
  const context = new OfflineAudioContext(1, 1, 48_000);
  return context.decodeAudioData(await response.arrayBuffer());
}
