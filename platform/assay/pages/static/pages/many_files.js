// Predictions as files: several of them, or a folder, become one zip in the browser, which is sent like any other. The zip is put
// together from the files where they lie, in the order of their names and with one fixed time, so that the same files make the same
// zip and an interrupted upload goes on. Without this script the form takes one zip.

window.takeManyFiles = ({ each, say, bytes }) => {
  const MOST_BYTES = 2 ** 32 - 2 ** 20, MOST_FILES = 65000; // what a zip without extensions holds
  const SHOWN = 200, NAMED = 5;
  const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, start) => {
    let value = start;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
    return value;
  });

  const crc = (piece, before = 0) => {
    let value = ~before;
    for (const byte of piece) value = CRC_TABLE[(value ^ byte) & 255] ^ (value >>> 8);
    return ~value >>> 0;
  };

  async function crcOf(file) {
    const reader = file.stream().getReader();
    let value = 0;
    for (let part = await reader.read(); !part.done; part = await reader.read()) value = crc(part.value, value);
    return value;
  }

  /** The fields of a zip's header: pairs of how many bytes and which number. */
  function fields(...pairs) {
    const view = new DataView(new ArrayBuffer(pairs.reduce((sum, [size]) => sum + size, 0)));
    let at = 0;
    for (const [size, value] of pairs) {
      if (size === 2) view.setUint16(at, value, true);
      else view.setUint32(at, value, true);
      at += size;
    }
    return new Uint8Array(view.buffer);
  }

  const UTF8 = 0x800, DAY = 0x21; // names are UTF-8; the first of January 1980

  /** The files as one zip, without compression: predictions are compressed already. */
  async function zipOf(items, onDone) {
    const parts = [], directory = [];
    let at = 0, size = 0;
    for (const { path, file } of items) {
      const name = new TextEncoder().encode(path), sum = await crcOf(file);
      const facts = [[2, 20], [2, UTF8], [2, 0], [2, 0], [2, DAY], [4, sum], [4, file.size], [4, file.size], [2, name.length], [2, 0]];
      const head = fields([4, 0x04034b50], ...facts), entry = fields([4, 0x02014b50], [2, 20], ...facts, [2, 0], [2, 0], [2, 0], [4, 0], [4, at]);
      parts.push(head, name, file);
      directory.push(entry, name);
      at += head.length + name.length + file.size;
      size += entry.length + name.length;
      onDone();
    }
    const end = fields([4, 0x06054b50], [2, 0], [2, 0], [2, items.length], [2, items.length], [4, size], [4, at], [2, 0]);
    const mark = directory.reduce((sum, piece) => crc(piece, sum), 0).toString(16).padStart(8, "0"); // other files, another upload
    return new File([...parts, ...directory, end], `predictions-${mark}.zip`, { type: "application/zip", lastModified: 0 });
  }

  /** Everything below what was dropped, with its path. */
  async function walk(entry, before = "") {
    if (entry.isFile) return [{ path: before + entry.name, file: await new Promise((done, failed) => entry.file(done, failed)) }];
    const reader = entry.createReader(), found = [];
    for (;;) { // a folder is told in portions
      const portion = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!portion.length) return found;
      for (const one of portion) found.push(...await walk(one, `${before}${entry.name}/`));
    }
  }

  /** The expected name that a path ends with, or nothing. */
  function expectedName(path, wanted) {
    const parts = path.normalize("NFC").split("/");
    return parts.map((_, cut) => parts.slice(cut).join("/")).find((name) => wanted.has(name));
  }

  /** Which files are sent under which names, which are not and why, and which names nobody has. */
  function sorted(items, names) {
    const wanted = new Set(names), taken = new Map(), refused = [];
    for (const item of items) {
      const name = expectedName(item.path, wanted);
      if (item.path.split("/").some((part) => part.startsWith("."))) continue;
      if (/\.zip$/i.test(item.path)) refused.push({ ...item, why: say("a zip is handed in alone") });
      else if (!name) refused.push({ ...item, why: say("no expected name") });
      else if (!item.file.size) refused.push({ ...item, why: say("empty") });
      else if (taken.has(name)) refused.push({ ...item, why: say("a second file for %(name)s", { name }) });
      else taken.set(name, item.file);
    }
    const files = [...taken].map(([path, file]) => ({ path, file })).sort((a, b) => (a.path < b.path ? -1 : 1));
    return { files, refused, missing: names.filter((name) => !taken.has(name)) };
  }

  const some = (names) => names.slice(0, NAMED).join(", ") + (names.length > NAMED ? " …" : "");

  function listed(box, { files, refused, missing }) {
    const total = files.reduce((sum, { file }) => sum + file.size, 0);
    const lines = [say("Files sent as one zip: %(count)s (%(size)s)", { count: files.length, size: bytes(total) })];
    if (missing.length) lines.push(say("Expected files that are missing: %(count)s (%(names)s)", { count: missing.length, names: some(missing) }));
    if (refused.length) lines.push(say("Files that are not sent: %(count)s", { count: refused.length }));
    const rows = [...refused.map((item) => [item.path, item.file, item.why]), ...files.map(({ path, file }) => [path, file, ""])];
    const list = document.createElement("ul");
    for (const [path, file, why] of rows.slice(0, SHOWN)) {
      const row = document.createElement("li");
      row.textContent = `${path}, ${bytes(file.size)}${why ? `: ${why}` : ""}`;
      if (why) row.className = "bad";
      list.append(row);
    }
    const told = lines.map((line) => Object.assign(document.createElement("p"), { textContent: line }));
    box.replaceChildren(...told, list);
    box.hidden = false;
    return total;
  }

  function takeMany(form) {
    const input = form.querySelector("input[name=archive]"), box = form.querySelector("[data-files]");
    const area = form.querySelector(".drop"), button = form.querySelector("[data-folder]");
    const names = JSON.parse(document.getElementById("expected-files").textContent);
    let chosen = null;

    const choose = (items) => {
      const isOne = items.length === 1 && (/\.zip$/i.test(items[0].path) || !expectedName(items[0].path, new Set(names)));
      chosen = isOne || !items.length ? null : sorted(items, names);
      box.hidden = !chosen;
      if (chosen) chosen.total = listed(box, chosen);
    };
    const put = (items) => {
      const carrier = new DataTransfer();
      for (const { file } of items) carrier.items.add(file);
      input.files = carrier.files;
      input.dispatchEvent(new Event("change"));
      choose(items);
    };

    input.multiple = true;
    input.addEventListener("change", () => choose([...input.files].map((file) => ({ path: file.webkitRelativePath || file.name, file }))));
    button.hidden = button.nextElementSibling.hidden = false;
    button.addEventListener("click", () => {
      const picker = Object.assign(document.createElement("input"), { type: "file", webkitdirectory: true });
      picker.addEventListener("change", () => put([...picker.files].map((file) => ({ path: file.webkitRelativePath, file }))));
      picker.click();
    });
    for (const name of ["dragover", "dragleave", "drop"]) {
      area.addEventListener(name, (event) => { event.preventDefault(); area.classList.toggle("over", name === "dragover"); });
    }
    area.addEventListener("drop", async (event) => {
      const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
      put((await Promise.all(entries.map((entry) => walk(entry)))).flat());
    });

    /** What `assay.js` sends for this field: the zip, the one file itself, or nothing and the words that say why. */
    window.packers ??= new WeakMap();
    window.packers.set(input, async (words) => {
      if (!chosen) return input.files[0];
      if (!chosen.files.length) words.textContent = say("None of these files has an expected name. Nothing was sent.");
      else if (chosen.total > MOST_BYTES || chosen.files.length > MOST_FILES) words.textContent = say("These files are too large for a zip made here. Make a zip yourself, or use the command.");
      else {
        let done = 0;
        return zipOf(chosen.files, () => { words.textContent = say("Packing %(done)s of %(total)s files…", { done: ++done, total: chosen.files.length }); });
      }
      return null;
    });
  }

  each("form[data-upload]:has([data-files])", takeMany);
};
