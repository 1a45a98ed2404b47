"use strict";
// Everything comes by server-sent events; what was missed meanwhile is asked for on each connection.

const STREAMS = 3; // browsers open six connections to a server; the others get a picture a second
const CURVE = 150; // predictions
const SHOWN = 200; // events
const cameras = new Map(); // name -> {root, curve, ...}
const events = new Map(); // id -> {root, event}
const find = (id) => document.getElementById(id);
const percent = (p) => `${(100 * p).toFixed(0)} %`;

function text(root, selector, value) {
  const element = root.querySelector(selector);
  if (element.textContent !== value) element.textContent = value;
  return element;
}

function makeCamera(name) {
  const root = find("camera").content.firstElementChild.cloneNode(true);
  root.querySelector("h3").textContent = name;
  root.querySelector(".picture img").alt = `live picture of ${name}`;
  const button = root.querySelector("button");
  button.setAttribute("aria-label", `watch ${name}`);
  button.addEventListener("click", async () => {
    const on = button.getAttribute("aria-checked") !== "true";
    button.disabled = true;
    try {
      const answer = await fetch(`/api/cameras/${name}/${on ? "on" : "off"}`, { method: "POST" });
      if (answer.status === 401) location.assign("/login");
    } catch { /* the connection's state says it */ } finally {
      button.disabled = false;
      button.focus();
    }
  });
  find("cameras").append(root);
  const camera = { name, root, curve: [], state: "", source: "" };
  cameras.set(name, camera);
  return camera;
}

function showCameras(list) {
  const names = new Set(list.map((one) => one.camera));
  for (const [name, camera] of cameras) {
    if (!names.has(name)) { camera.root.remove(); cameras.delete(name); }
  }
  for (const status of list) {
    const camera = cameras.get(status.camera) ?? makeCamera(status.camera);
    const { root } = camera;
    camera.state = status.state;
    text(root, ".state", status.state).dataset.state = status.state;
    text(root, ".reason", status.state === "lost" ? status.reason ?? "lost"
      : status.state === "off" ? "switched off" : "");
    const button = text(root, "button", status.state === "off" ? "off" : "on");
    button.setAttribute("aria-checked", String(status.state !== "off"));
    text(root, ".fps", status.fps.toFixed(1));
    text(root, ".dropped", String(status.dropped));
    text(root, ".latency", `${status.latency.toFixed(0)} ms`);
    text(root, ".reopened", String(status.reopened));
  }
  showPictures();
}

function showPictures() {
  let streams = 0;
  for (const camera of cameras.values()) {
    const there = !document.hidden && (camera.state === "watching" || camera.state === "still");
    const wanted = !there ? "" : streams < STREAMS ? `/stream/${camera.name}` : `/picture/${camera.name}`;
    streams += there ? 1 : 0;
    const image = camera.root.querySelector(".picture img");
    if (wanted.startsWith("/picture/")) {
      image.src = `${wanted}?${Date.now()}`;
    } else if (wanted !== camera.source) {
      if (wanted) image.src = `${wanted}?${Date.now()}`;
      else if (camera.source.startsWith("/stream/") && document.hidden) image.src = `/picture/${camera.name}`;
    }
    camera.source = wanted;
  }
}

function showPrediction(prediction) {
  const camera = cameras.get(prediction.camera);
  if (!camera || prediction.number <= (camera.curve.at(-1)?.number ?? -1)) return;
  camera.curve.push(prediction);
  if (camera.curve.length > CURVE) camera.curve.shift();
  drawCamera(camera);
}

function drawCamera(camera) {
  const last = camera.curve.at(-1);
  if (!last) return;
  const [label, probability] = last.top[0];
  text(camera.root, ".action .label", label);
  text(camera.root, ".action .probability", percent(probability));
  camera.root.classList.toggle("active", last.active.length > 0);
  const from = CURVE - camera.curve.length;
  const points = camera.curve.map((one, i) => `${from + i},${(39 - 38 * one.top[0][1]).toFixed(1)}`);
  camera.root.querySelector(".line").setAttribute("points", points.join(" "));
  camera.root.querySelector(".curve").setAttribute("aria-label",
    `probability of the likeliest action of ${camera.name}, over the last frames: now ${label}, ${percent(probability)}`);
}

function showEvent(event, live) {
  let known = events.get(event.id);
  if (!known) {
    const root = find("event").content.firstElementChild.cloneNode(true);
    known = { root, event };
    events.set(event.id, known);
    place(known);
    root.querySelector(".play").addEventListener("click", () => play(known.event));
    if (live && event.kind === "start") find("announcement").textContent = `${event.camera}: ${event.label}`;
  }
  known.event = event;
  const { root } = known;
  const began = new Date(event.began);
  text(root, ".label", event.label);
  text(root, ".probability", percent(event.peak));
  text(root, ".where", event.camera);
  const time = text(root, "time", began.toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" }));
  time.dateTime = event.began;
  root.classList.toggle("open", event.kind !== "end");
  text(root, ".duration", event.kind === "end" ? `, ${event.duration.toFixed(1)} s` : ", goes on");
  const button = root.querySelector(".play");
  const there = Boolean(event.clip && event.clip_ready);
  button.disabled = !there;
  button.setAttribute("aria-label", there
    ? `play the clip of ${event.label}, ${event.camera}, ${began.toLocaleTimeString()}`
    : `no clip of ${event.label}, ${event.camera}`);
  const image = button.querySelector("img");
  image.hidden = !there;
  const source = there ? `/clips/${event.clip.replace(/mp4$/, "jpg")}` : "";
  if (source && image.getAttribute("src") !== source) image.src = source;
  find("none").hidden = events.size > 0;
  if (events.size > SHOWN) {
    const oldest = find("events").lastElementChild;
    for (const [id, one] of events) if (one.root === oldest) events.delete(id);
    oldest.remove();
  }
}

function place(known) {
  // Newest first, as the API lists them.
  const began = Date.parse(known.event.began);
  const roots = new Map([...events.values()].map((one) => [one.root, one.event]));
  for (const root of find("events").children) {
    if (Date.parse(roots.get(root)?.began ?? 0) <= began) { root.before(known.root); return; }
  }
  find("events").append(known.root);
}

function play(event) {
  const player = find("player");
  const video = player.querySelector("video");
  text(player, "h2", `${event.label}, ${event.camera}, ${new Date(event.began).toLocaleString()}`);
  text(player, "#player-error", "");
  video.onerror = () => text(player, "#player-error", "This clip is gone, or the browser cannot play it.");
  video.src = `/clips/${event.clip}`;
  find("player-file").href = `/clips/${event.clip}`;
  player.onclose = () => { video.onerror = null; video.removeAttribute("src"); video.load(); };
  player.showModal();
  video.play().catch(() => {});
}

function showMachine(about) {
  text(document, "#machine", about.temperature === null ? "" : `${about.temperature.toFixed(0)} °C`);
  find("logout").hidden = !about.password;
}

async function catchUp() {
  const answers = await Promise.all([fetch("/api/cameras"), fetch("/api/events")]);
  if (answers.some((one) => one.status === 401)) { location.assign("/login"); return; }
  const [about, past] = await Promise.all(answers.map((one) => one.json()));
  for (const camera of cameras.values()) camera.source = ""; // streams broke as well
  showCameras(about.cameras);
  showMachine(about);
  for (const [name, curve] of Object.entries(about.curves)) {
    const camera = cameras.get(name);
    if (camera) { camera.curve = curve; drawCamera(camera); }
  }
  for (const event of past.events) showEvent(event, false);
}

function connect() {
  const source = new EventSource("/events");
  const say = (line) => { text(document, "#connection", line); };
  source.onopen = () => catchUp().then(() => say("connected")).catch(() => say("no answer"));
  source.onerror = () => {
    say("not connected; tries again");
    if (source.readyState === EventSource.CLOSED) { // a status other than 200, such as 401
      source.close();
      setTimeout(async () => {
        const answer = await fetch("/api/events").catch(() => null);
        if (answer?.status === 401) location.assign("/login"); else connect();
      }, 3000);
    }
  };
  source.addEventListener("cameras", (message) => {
    const about = JSON.parse(message.data);
    showCameras(about.cameras);
    showMachine(about);
  });
  source.addEventListener("prediction", (message) => showPrediction(JSON.parse(message.data)));
  source.addEventListener("event", (message) => showEvent(JSON.parse(message.data), true));
}

document.addEventListener("visibilitychange", showPictures);
setInterval(showPictures, 1000);
connect();
