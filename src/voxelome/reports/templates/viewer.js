"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const scenes = JSON.parse(byId("viewer-scenes").textContent);
  const canvas = byId("viewer-canvas");
  const VIEWS = ["3", "0", "1", "2"];
  const HIDDEN_FIRST = new Set(["brain", "tissue", "qsm"]);
  const MOST_NAMES = 12;
  let niivue, nv, scene, wanted, base, opacity = 0.5;

  const bytes = (id) => Uint8Array.from(atob(byId(id).textContent), (letter) => letter.charCodeAt(0));
  const unpacked = (id) => {
    const stream = new Blob([bytes(id)]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  };

  const loadLibrary = async () => {
    const address = URL.createObjectURL(new Blob([await unpacked("viewer-library")], { type: "text/javascript" }));
    await new Promise((resolve, reject) => {
      const element = document.createElement("script");
      element.src = address;
      element.onload = resolve;
      element.onerror = () => reject(new Error("the viewer's library did not start"));
      document.head.append(element);
    });
    URL.revokeObjectURL(address);
    byId("viewer-library").remove();
    return globalThis.niivue;
  };

  const loadLayer = async (layer) => {
    if (layer.image) return;
    const image = await niivue.NVImage.new(await unpacked(layer.volume), `${layer.name}.nii`, layer.kind === "overlay" ? "warm" : "gray", 1);
    if (layer.kind === "labels") {
      const colours = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
      for (const { value, name, colour } of layer.labels) {
        const [red, green, blue] = colour;
        colours.R.push(red); colours.G.push(green); colours.B.push(blue);
        colours.A.push(255); colours.I.push(value); colours.labels.push(name);
      }
      image.setColormapLabel(colours);
      layer.byValue = new Map(layer.labels.map((label) => [label.value, label]));
    } else {
      [image.cal_min, image.cal_max] = layer.window;
    }
    layer.image = image;
  };

  const above = (layer) => layer.kind === "labels" || layer.kind === "overlay";
  const overlays = () => scene.layers.filter(above);
  const images = () => scene.layers.filter((layer) => !above(layer));

  const draw = () => {
    base.image.opacity = 1;
    const shown = overlays().filter((layer) => layer.shown);
    for (const layer of shown) layer.image.opacity = opacity;
    nv.volumes = [base.image, ...shown.map((layer) => layer.image)];
    nv.back = base.image;
    nv.overlays = nv.volumes.slice(1);
    nv.updateGLVolume();
    tell();
  };

  const number = (value) => Number(value.toPrecision(3)).toString();

  const tell = () => {
    // True mm: without the last argument an oblique grid counts as upright.
    const place = nv.frac2mm(nv.scene.crosshairPos, 0, true);
    const ends = [["L", "R"], ["P", "A"], ["I", "S"]];
    byId("viewer-place").textContent = ends
      .map(([low, high], axis) => {
        const where = Math.round(place[axis] * 10) / 10 || 0;
        return `${Math.abs(where).toFixed(1)} ${where < 0 ? low : high}`;
      })
      .join("  ");
    for (const layer of scene.layers) {
      const value = layer.image.getValue(...layer.image.mm2vox(place));
      const label = layer.byValue?.get(Math.round(value));
      layer.cell.textContent = layer.byValue ? label?.name ?? "" : `${number(value)} ${layer.unit}`.trim();
    }
  };

  const legend = (layer) => {
    const names = document.createElement("span");
    names.className = "legend";
    for (const { name, colour } of layer.labels.slice(0, MOST_NAMES)) {
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = `rgb(${colour})`;
      names.append(swatch, ` ${name} `);
    }
    if (layer.labels.length > MOST_NAMES) names.append(`and ${layer.labels.length - MOST_NAMES} more`);
    return names;
  };

  const row = (layer, place) => {
    const overlay = above(layer);
    const line = byId(overlay ? "viewer-labels" : "viewer-images").insertRow();
    const head = document.createElement("th");
    head.scope = "row";
    const input = document.createElement("input");
    input.type = overlay ? "checkbox" : "radio";
    input.name = overlay ? `overlay-${place}` : "viewer-base";
    input.id = `layer-${place}`;
    input.checked = overlay ? layer.shown : layer === base;
    input.addEventListener("change", () => {
      if (overlay) layer.shown = input.checked;
      else base = layer;
      draw();
    });
    const label = document.createElement("label");
    label.htmlFor = input.id;
    label.textContent = layer.name;
    head.append(input, label);
    if (layer.byValue) head.append(legend(layer));
    line.append(head);
    layer.input = input;
    layer.cell = line.insertCell();
    layer.cell.className = "number";
  };

  // Voxel to begin with: in the slice that holds most of what is shown, else in the middle.
  const middle = () => {
    const [, wide, deep, high] = base.image.dimsRAS;
    const counts = new Int32Array(high);
    const found = overlays().find((layer) => layer.byValue && layer.shown && layer.image.img.some((value) => value > 0));
    if (!found) return [wide, deep, high].map((size) => Math.floor(size / 2));
    const values = found.image.img, area = wide * deep;
    values.forEach((value, index) => { if (value > 0) counts[Math.floor(index / area)] += 1; });
    const slice = counts.indexOf(Math.max(...counts));
    const voxels = [];
    for (let index = 0; index < area; index += 1) if (values[slice * area + index] > 0) voxels.push(index);
    const chosen = voxels[Math.floor(voxels.length / 2)];
    return [chosen % wide, Math.floor(chosen / wide), slice];
  };

  const show = async (index) => {
    const next = scenes[index];
    wanted = next;
    await Promise.all(next.layers.map(loadLayer));
    // Another space may have been chosen meanwhile, and be here already.
    if (wanted !== next) return;
    scene = next;
    base = images().find((layer) => layer === base) ?? images()[0];
    // What covers all of the brain hides what lies below it: it waits to be asked for.
    for (const layer of overlays()) layer.shown ??= layer.kind === "labels" && !HIDDEN_FIRST.has(layer.name);
    byId("viewer-images").replaceChildren();
    byId("viewer-labels").replaceChildren();
    byId("viewer-overlays").hidden = !overlays().length;
    scene.layers.forEach(row);
    byId("viewer-note").textContent = scene.note;
    draw();
    nv.scene.crosshairPos = nv.vox2frac(middle());
    nv.drawScene();
    tell();
  };

  const press = (input) => { input.checked = input.type === "radio" || !input.checked; input.dispatchEvent(new Event("change")); };

  const keys = (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const moves = {
      ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0],
      PageUp: [0, 0, 1], PageDown: [0, 0, -1],
    };
    const key = event.key;
    if (moves[key]) { nv.moveCrosshairInVox(...moves[key]); tell(); }
    else if (/^[1-9]$/.test(key)) { const layer = overlays()[Number(key) - 1]; if (layer) press(layer.input); }
    else if (key === "+" || key === "-") {
      const pan = nv.scene.pan2Dxyzmm;
      pan[3] = Math.min(8, Math.max(1, pan[3] * (key === "+" ? 1.25 : 0.8)));
      if (pan[3] === 1) pan[0] = pan[1] = pan[2] = 0;
      nv.drawScene();
    }
    else if (key === "b" || key === "B") { const all = images(); press(all[(all.indexOf(base) + 1) % all.length].input); }
    else if (key === "v" || key === "V") {
      const view = byId("viewer-view");
      view.value = VIEWS[(VIEWS.indexOf(view.value) + 1) % VIEWS.length];
      view.dispatchEvent(new Event("change"));
    }
    else return;
    event.preventDefault();
    event.stopImmediatePropagation();
  };

  const start = async () => {
    if (!document.createElement("canvas").getContext("webgl2")) return;
    niivue = await loadLibrary();
    canvas.addEventListener("keydown", keys, true);
    byId("viewer-on").hidden = false;
    nv = new niivue.Niivue({
      isRadiologicalConvention: true, sagittalNoseLeft: true, crosshairColor: [0.35, 0.75, 1, 1], crosshairWidth: 0.7, backColor: [0, 0, 0, 1],
      viewModeHotKey: "", clipPlaneHotKey: "", dragAndDropEnabled: false, isColorbar: false, isOrientCube: false,
      multiplanarShowRender: niivue.SHOW_RENDER.NEVER, isCornerOrientationText: true, logLevel: "silent", loadingText: "",
    });
    await nv.attachToCanvas(canvas);
    nv.onLocationChange = tell;
    nv.setMultiplanarLayout(niivue.MULTIPLANAR_TYPE.ROW);
    nv.setSliceType(3);
    await show(0);
    byId("viewer-off").hidden = true;
    byId("viewer-scene").addEventListener("change", (event) => show(Number(event.target.value)).catch(stop));
    byId("viewer-view").addEventListener("change", (event) => {
      canvas.parentElement.classList.toggle("large", event.target.value !== "3");
      nv.setSliceType(Number(event.target.value));
    });
    byId("viewer-opacity").addEventListener("input", (event) => { opacity = event.target.value / 100; draw(); });
    byId("viewer").dataset.ready = "yes";
  };

  const stop = (error) => {
    byId("viewer-on").hidden = true;
    byId("viewer-off").hidden = false;
    byId("viewer-off").textContent = `The interactive viewer does not work here (${error.message}); the pictures below show the same volumes.`;
  };

  // The summary and the pictures come first.
  addEventListener("load", () => requestAnimationFrame(() => setTimeout(() => start().catch(stop))));
})();
