"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const table = byId("rating-table");
  const rows = [...table.tBodies[0].rows];
  const RATINGS = ["keep", "doubtful", "exclude"];
  const COLUMNS = ["participant_id", "session_id", "rating", "comment"];
  const place = `voxelome ratings of ${table.dataset.dataset} ${location.pathname}`;
  // By participant; rows about one visit have keys and sessions of their own, and are kept for the table alone.
  const ratings = new Map();

  const say = (words) => { byId("rating-told").textContent = words; };
  // A cell is one line of a table; BIDS writes n/a where there is nothing.
  const plain = (text) => text.replace(/\s+/g, " ").trim();
  const filled = (cell = "") => (plain(cell) === "n/a" ? "" : plain(cell));

  const keep = () => {
    try { localStorage.setItem(place, JSON.stringify([...ratings])); }
    catch { say("This browser does not keep ratings: save them before you close the page."); }
  };
  const recall = () => {
    try { return JSON.parse(localStorage.getItem(place) ?? "[]"); }
    catch { return []; }
  };
  const ofVisits = () => [...ratings.values()].filter((item) => item.session);
  const count = (strange = "") => {
    const shown = [...ratings.values()].filter((item) => !item.session);
    const parts = RATINGS.map((name) => `${shown.filter((item) => item.rating === name).length} ${name}`);
    const hidden = ofVisits().length;
    const rest = hidden ? ` Not shown, and saved as they are: ${hidden} ${hidden === 1 ? "row" : "rows"} about one visit.` : "";
    say(`${parts.join(", ")}, ${rows.length} participants.${rest}${strange}`);
  };

  const fill = (row) => {
    const item = ratings.get(row.dataset.participant);
    row.querySelector("select").value = item?.rating ?? "";
    row.querySelector("input").value = item?.comment ?? "";
  };
  const note = (row) => {
    const rating = row.querySelector("select").value;
    const comment = plain(row.querySelector("input").value);
    if (rating || comment) ratings.set(row.dataset.participant, { rating, comment });
    else ratings.delete(row.dataset.participant);
    count();
    keep();
  };

  const filter = () => {
    const words = byId("rating-search").value.toLowerCase(), kind = byId("rating-filter").value;
    for (const row of rows) {
      const item = ratings.get(row.dataset.participant);
      const named = `${row.dataset.participant} ${item?.comment ?? ""}`.toLowerCase().includes(words);
      const chosen = kind === "" || kind === (item?.rating || "unrated") || (kind === "state" && row.dataset.state !== "done");
      row.hidden = !(named && chosen);
    }
  };

  const saved = () => {
    const lines = [COLUMNS.join("\t")];
    const add = (participant, item) => {
      if (item?.rating) lines.push([participant, item.session || "n/a", item.rating, item.comment || "n/a"].join("\t"));
    };
    for (const row of rows) add(row.dataset.participant, ratings.get(row.dataset.participant));
    for (const item of ofVisits()) add(item.participant, item);
    return `${lines.join("\n")}\n`;
  };
  const save = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([saved()], { type: "text/tab-separated-values" }));
    link.download = "ratings.tsv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  const load = async (file) => {
    const [head, ...lines] = (await file.text()).replace(/^\uFEFF/, "").split(/\r?\n/).filter((line) => line.trim()).map((line) => line.split("\t"));
    const at = COLUMNS.map((name) => head?.findIndex((cell) => cell.trim() === name) ?? -1);
    if (at[0] < 0 || at[2] < 0) return say(`${file.name} has no columns participant_id and rating.`);
    const known = new Set(rows.map((row) => row.dataset.participant));
    // Nobody could take them out of the page by hand: those of the last table count.
    for (const [key, item] of ratings) if (item.session) ratings.delete(key);
    let strange = 0;
    for (const cells of lines) {
      const [id, session, given, comment] = at.map((column) => filled(cells[column]));
      const participant = `sub-${id.replace(/^sub-/, "")}`, rating = given.toLowerCase();
      if (!known.has(participant) || !["", ...RATINGS].includes(rating)) strange += 1;
      else if (rating && session) ratings.set(`${participant} ${session}`, { participant, session, rating, comment });
      else if (rating) ratings.set(participant, { rating, comment });
    }
    rows.forEach(fill);
    filter();
    count(strange ? ` ${strange} rows of ${file.name} name no participant or rating of this page.` : "");
    keep();
  };

  const start = () => {
    for (const name of ["Rating", "Comment"]) {
      const head = document.createElement("th");
      head.scope = "col";
      head.className = "screen";
      head.textContent = name;
      table.tHead.rows[0].append(head);
    }
    const choice = document.createElement("select");
    for (const name of ["", ...RATINGS]) choice.add(new Option(name || "not rated", name));
    for (const row of rows) {
      const select = choice.cloneNode(true), comment = document.createElement("input");
      select.ariaLabel = `Rating of ${row.dataset.participant}`;
      comment.ariaLabel = `Comment on ${row.dataset.participant}`;
      comment.maxLength = 500;
      for (const element of [select, comment]) {
        const cell = row.insertCell();
        cell.className = "screen";
        cell.append(element);
      }
    }
    for (const [participant, item] of recall()) ratings.set(participant, item);
    rows.forEach(fill);
    count();
    byId("rating-bar").hidden = false;
    table.addEventListener("change", (event) => note(event.target.closest("tr")));
    byId("rating-search").addEventListener("input", filter);
    byId("rating-filter").addEventListener("change", filter);
    byId("rating-save").addEventListener("click", save);
    byId("rating-load").addEventListener("change", ({ target }) => { if (target.files[0]) load(target.files[0]); target.value = ""; });
    table.dataset.ready = "yes";
  };

  // The page is seen first: a thousand rows have two thousand fields.
  addEventListener("load", () => requestAnimationFrame(() => setTimeout(start)));
})();
