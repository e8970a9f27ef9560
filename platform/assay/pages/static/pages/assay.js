// The little that the pages need beyond HTML and htmx: times in the reader's zone, copy buttons, charts, uploads, the viewer.
// Every page works without it, except resuming uploads, charts (a table stands under each) and the volume viewer.

const each = (selector, action, root = document) => root.querySelectorAll(selector).forEach(action);

const WORDS = JSON.parse(document.getElementById("words")?.textContent ?? "{}");

/** A sentence in the language of the page. `context.py` lists all of them. */
function say(sentence, facts = {}) {
  return (WORDS[sentence] ?? sentence).replace(/%\((\w+)\)s/g, (_, name) => facts[name]);
}

function showLocalTimes(root = document) {
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
  each("time[datetime]", (time) => { time.title = say("%(moment)s (your time)", { moment: format.format(new Date(time.dateTime)) }); }, root);
}

/** Copy a text. Where the page came without TLS the browser has no clipboard for scripts, and the older way is taken. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { /* no clipboard, or it was refused */ }
  const area = Object.assign(document.createElement("textarea"), { value: text, className: "skip" });
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  return isCopied;
}

function offerCopying(root = document) {
  each("[data-copy]", (button) => { button.hidden = false; }, root);
}

// One listener for all of them, also for those that a live update brings.
document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (!button) return;
  button.dataset.words ??= button.textContent;
  const isCopied = await copyText(button.dataset.copy);
  button.focus();
  button.textContent = isCopied ? say("Copied") : say("Select it and copy it by hand.");
  clearTimeout(Number(button.dataset.timer));
  button.dataset.timer = setTimeout(() => { button.textContent = button.dataset.words; }, 1500);
});

/** The tab says what has become of the submission, also while the reader is elsewhere. */
function showState() {
  const live = document.querySelector("[data-title]");
  if (live) document.title = live.dataset.title;
}

function drawCharts(root = document) {
  each("[data-chart]", (box) => {
    if (box.childElementCount || !window.uPlot) return;
    const chart = JSON.parse(document.getElementById(box.dataset.chart).textContent);
    const colours = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"]; // Okabe–Ito
    const faint = { stroke: "rgba(128,128,128,.25)" };
    const axis = { stroke: getComputedStyle(box).color, grid: faint, ticks: faint }; // a canvas needs a colour, not a variable
    const series = [{ label: chart.x_label }].concat(
      chart.series.map((name, i) => ({ label: name, stroke: colours[i % colours.length], width: 2, spanGaps: true, ...(chart.limits?.includes(i) ? { dash: [6, 4], points: { show: false } } : {}) })));
    const height = box.clientHeight - 40;
    const plot = new window.uPlot({ width: box.clientWidth, height, scales: { x: { time: false } },
      axes: [{ ...axis, label: chart.x_label }, { ...axis, label: chart.y_label, size: 64 }], series }, chart.data, box);
    new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height })).observe(box);
  }, root);
}

function bytes(count) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (count < 1024 || unit === "GiB") return `${count.toFixed(unit === "B" ? 0 : 1)} ${unit}`;
    count /= 1024;
  }
}

/** Whether the team has submitted this very file before and has not said that it means to. Very large files are not asked about. */
async function isAskedAbout(form, file, words) {
  const box = form.querySelector("[data-twin]"), tick = form.elements.allow_duplicate;
  if (!box || tick.checked || !window.crypto?.subtle || file.size > 2 ** 30) return false;
  words.textContent = say("Looking whether your team has submitted this file before…");
  const hash = await file.arrayBuffer().then((content) => crypto.subtle.digest("SHA-256", content)).catch(() => null);
  if (!hash) return false; // too large for this browser: the server asks after the upload
  const sha256 = [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const answer = await fetch(`${form.dataset.twins}?sha256=${sha256}`).then((found) => found.json()).catch(() => ({}));
  if (!answer.number) return false;
  box.hidden = false;
  box.querySelector("[data-twin-words]").textContent = words.textContent =
    say("Your team has submitted this very file already, as #%(number)s %(name)s. Nothing was sent.", answer);
  tick.focus();
  return true;
}

// A form with data-upload sends its file in resumable chunks first, then submits itself with the upload's id instead of the file.
function takeUploads() {
  each("form[data-upload]", (form) => {
    if (!window.tus) return;
    const files = [...form.querySelectorAll("input[type=file]")], panel = form.querySelector("[data-upload-panel]");
    const bar = panel.querySelector("progress"), words = panel.querySelector("[data-words]"), pause = panel.querySelector("[data-pause]");
    const token = form.querySelector("[name=csrfmiddlewaretoken]").value;
    let upload = null, started = 0, startedAt = 0, waiting = 0;
    const goOn = () => { clearTimeout(waiting); waiting = 0; startedAt = 0; upload.start(); };
    window.addEventListener("beforeunload", (event) => { if (upload && !pause.hidden) event.preventDefault(); });
    pause.addEventListener("click", () => {
      if (pause.dataset.paused) { upload.start(); delete pause.dataset.paused; pause.textContent = say("Pause"); startedAt = 0; }
      else { upload.abort(); pause.dataset.paused = "yes"; pause.textContent = say("Resume"); words.textContent += `: ${say("paused")}`; }
    });
    window.addEventListener("online", () => { if (upload && waiting) goOn(); });
    const idOf = (file) => form.elements[file.dataset.uploadInto ?? "upload_id"];
    for (const file of files) file.addEventListener("change", () => { idOf(file).value = ""; }); // another file than the one that is there
    form.addEventListener("submit", async (event) => {
      const file = files.find((one) => one.files[0] && !idOf(one).value); // one after the other
      if (!file) return;
      const isOnly = files.filter((one) => one.files[0]).length === 1 && !form.elements.kept_model?.value, pack = window.packers?.get(file);
      event.preventDefault();
      panel.hidden = false;
      const chosen = pack ? await pack(words) : file.files[0]; // `many_files.js` makes one of several
      if (!chosen) return;
      if (isOnly && !file.dataset.purpose && await isAskedAbout(form, chosen, words)) return;
      pause.hidden = false;
      form.querySelector("[type=submit]").disabled = true;
      upload = new window.tus.Upload(chosen, {
        endpoint: form.dataset.upload, chunkSize: 16 * 2 ** 20, retryDelays: [0, 1000, 3000, 5000, 10000, 20000],
        metadata: { filename: chosen.name, purpose: file.dataset.purpose ?? form.dataset.purpose }, headers: { "X-CSRFToken": token }, removeFingerprintOnSuccess: true,
        onProgress(sent, total) {
          if (!startedAt) { startedAt = Date.now(); started = sent; }
          const speed = (sent - started) / Math.max(1, (Date.now() - startedAt) / 1000), left = speed ? (total - sent) / speed : 0;
          bar.max = total; bar.value = sent;
          words.textContent = say("%(done)s of %(total)s", { done: bytes(sent), total: bytes(total) })
            + (speed ? `, ${bytes(speed)}/s. ${say("About %(time)s left.", { time: `${Math.ceil(left)} s` })}` : "");
        },
        onError(error) {
          if (!error.originalResponse) { // no answer at all: the network, not the server
            words.textContent = say("The connection is gone. The upload goes on by itself when it is back; you need do nothing.");
            waiting = setTimeout(goOn, 15000);
            return;
          }
          const answer = error.originalResponse?.getBody();
          let message = error.message;
          try { const { error: told } = JSON.parse(answer); message = `${told.message} ${told.what_to_do ?? ""}`; } catch { /* not ours: the network's own words */ }
          words.textContent = say("Upload stopped: %(message)s Nothing is lost: choose the same file and submit again to continue.", { message });
          pause.hidden = true;
          form.querySelector("[type=submit]").disabled = false;
        },
        onSuccess() {
          idOf(file).value = upload.url.split("/").filter(Boolean).pop();
          startedAt = 0; file.disabled = true; pause.hidden = true; words.textContent = say("Received. Checking…");
          form.requestSubmit();
        },
      });
      const earlier = await upload.findPreviousUploads();
      if (earlier.length) { upload.resumeFromPreviousUpload(earlier[0]); words.textContent = say("Continuing an earlier upload of this file…"); }
      upload.start();
    });
  });
}

// NiiVue is 2 MB: it is fetched only when somebody asks to look.
function offerViewer() {
  each("[data-viewer]", (button) => {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const { volumes } = JSON.parse(document.getElementById(button.dataset.viewer).textContent);
      if (!document.createElement("canvas").getContext("webgl2")) {
        button.replaceWith(say("This browser has no WebGL 2, which the viewer needs. The files below open in any NIfTI viewer."));
        return;
      }
      button.disabled = true; button.textContent = say("Loading…");
      await new Promise((onload, onerror) => {
        document.head.append(Object.assign(document.createElement("script"), { src: button.dataset.library, onload, onerror }));
      });
      const canvas = document.getElementById(button.dataset.canvas);
      canvas.parentElement.hidden = false;
      const view = new window.niivue.Niivue({ backColor: [0, 0, 0, 1] });
      await view.attachToCanvas(canvas);
      await view.loadVolumes(volumes.map(({ labels, layer, ...volume }) => volume));
      volumes.forEach(({ labels }, i) => { if (labels) view.volumes[i].setColormapLabel(labels); });
      view.updateGLVolume();
      view.setSliceType(view.sliceTypeMultiplanar);
      button.remove();
      offerLayers(view, volumes);
      canvas.dataset.ready = "yes";
    });
  });
}

/** Which volumes are laid over the input, how strongly, and whether only their outlines are. */
function offerLayers(view, volumes) {
  const box = document.getElementById("viewer-layers");
  if (!box || !box.querySelector("[data-layer]")) return;
  box.hidden = false;
  const draw = () => {
    const opacity = Number(box.querySelector("[data-opacity]").value);
    view.overlayOutlineWidth = box.querySelector("[data-outline]").checked ? 1 : 0;
    volumes.forEach(({ layer }, i) => { if (layer) view.setOpacity(i, box.querySelector(`[data-layer="${layer}"]`).checked ? opacity : 0); });
    view.updateGLVolume();
  };
  box.addEventListener("input", draw);
  draw();
}

/** Asks for this page's address until the answer is another than 202 (not ready), then shows it. */
function lookAgain() {
  each("[data-look-again]", (note) => {
    const timer = setInterval(async () => {
      const answer = await fetch(location.href, { method: "HEAD" }).catch(() => null);
      if (!answer || answer.status === 202) return;
      clearInterval(timer);
      location.reload();
    }, 1000 * note.dataset.lookAgain);
  });
}

// A live part that changes leaves open what the reader has unfolded.
if (window.Idiomorph) Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => !(name === "open" && node.tagName === "DETAILS");

lookAgain(); showLocalTimes(); offerCopying(); drawCharts(); window.takeManyFiles?.({ each, say, bytes }); takeUploads(); offerViewer();
document.body.addEventListener("htmx:afterSettle", () => { showLocalTimes(); offerCopying(); drawCharts(); showState(); });
const mark = () => document.querySelector("[data-live-mark]");
document.body.addEventListener("htmx:sendError", () => { if (mark()) mark().textContent = say("Live updates paused, retrying"); });
document.body.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful && mark()) mark().textContent = say("live"); });
