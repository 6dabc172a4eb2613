"use strict";
(function () {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const range = (slider) => Number(slider.value);

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function dataOf(element) {
    return JSON.parse(element.textContent);
  }

  // Libraries lie in the page compressed, once, and are unpacked when something needs them.
  async function library(name) {
    const packed = document.querySelector('script[data-library="' + name + '"]').textContent;
    const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  function say(element, text) {
    const box = document.createElement("div"), line = document.createElement("p");
    box.className = "notice";
    line.textContent = text;
    box.append(line);
    element.before(box);
  }

  // ---- Charts -------------------------------------------------------------------------------------------------------

  // Charts follow the page's light or dark colours; triangles stay white, the colour of no filter at all.
  function themed(layout) {
    const ink = colour("--ink"), line = colour("--line");
    const result = Object.assign({}, layout, {
      font: Object.assign({}, layout.font, { color: ink }),
      hoverlabel: { bgcolor: colour("--card"), bordercolor: line, font: { color: ink } },
    });
    for (const key of Object.keys(layout)) {
      if (/^[xy]axis\d*$/.test(key)) {
        result[key] = Object.assign({}, layout[key], { gridcolor: line, linecolor: line, zerolinecolor: line });
      } else if (/^ternary\d*$/.test(key)) {
        result[key] = Object.assign({}, layout[key], { bgcolor: "#ffffff" });
        for (const axis of ["aaxis", "baxis", "caxis"]) {
          result[key][axis] = Object.assign({}, layout[key][axis], { linecolor: colour("--soft") });
        }
      }
    }
    return result;
  }

  function chart(element) {
    const spec = dataOf(element.querySelector("script"));
    const target = element.querySelector(".plot");
    const options = { responsive: true, displaylogo: false, displayModeBar: "hover" };
    const draw = () => window.Plotly.react(target, spec.data, themed(spec.layout), options);
    draw();
    dark.addEventListener("change", draw);
  }

  async function charts(elements) {
    if (!elements.length) return;
    try {
      await library("plotly");
    } catch (error) {
      say(elements[0], "This browser cannot draw the charts (" + error + "); the same figures lie in figures/ beside the page.");
      return;
    }
    elements.forEach(chart);
  }

  // ---- Slices with a slider -----------------------------------------------------------------------------------------

  function viewer(element) {
    const data = dataOf(element.querySelector("script"));
    const slider = element.querySelector("input[type=range]");
    const place = element.querySelector("output");
    const figures = Array.from(element.querySelectorAll(".panels > figure"));
    const space = "http://www.w3.org/2000/svg";

    function outline(group, paths) {
      group.replaceChildren(...paths.map(([stroke, d]) => {
        const path = document.createElementNS(space, "path");
        path.setAttribute("d", d);
        path.setAttribute("stroke", stroke);
        return path;
      }));
    }

    function show() {
      const index = range(slider);
      place.textContent = data.places[index];
      slider.setAttribute("aria-valuetext", data.places[index]);
      figures.forEach((figure, number) => {
        const panel = data.panels[number], picture = figure.querySelector("img");
        const images = Array.isArray(panel.images) ? panel.images : data.panels[panel.images].images;
        picture.src = images[index];
        picture.alt = panel.title + ", " + data.places[index];
        for (const owner of Object.keys(panel.outlines)) {
          outline(figure.querySelector("g." + owner), panel.outlines[owner][index]);
        }
      });
    }

    element.querySelectorAll("input[type=checkbox]").forEach((box) => {
      box.addEventListener("change", () => {
        element.querySelectorAll("g." + box.value).forEach((group) => {
          group.style.display = box.checked ? "" : "none";
        });
      });
    });
    slider.addEventListener("input", show);
    // The wheel with the shift key over a picture turns the slices; without it the page scrolls.
    element.querySelectorAll(".picture").forEach((picture) => picture.addEventListener("wheel", (event) => {
      if (!event.shiftKey) return;
      event.preventDefault();
      slider.value = range(slider) + Math.sign(event.deltaY || event.deltaX);
      show();
    }, { passive: false }));
    show();
  }

  // ---- Three planes -------------------------------------------------------------------------------------------------

  const MOVES = {
    ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0],
    PageUp: [0, 0, 1], PageDown: [0, 0, -1],
  };

  function hasPlanes() {
    const context = document.createElement("canvas").getContext("webgl2");
    const lost = context && context.getExtension("WEBGL_lose_context");
    if (lost) lost.loseContext();
    return Boolean(context);
  }

  function numberText(value) {
    return Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
  }

  function fill(select, names) {
    select.replaceChildren(...names.map((name, index) => new Option(name, index)));
  }

  // One of the two pictures: which volume and which outlines of the subject, in which window.
  class Pane {
    constructor(element, planes) {
      this.element = element;
      this.planes = planes;
      for (const name of ["volume", "outlines", "level", "width"]) {
        this[name] = element.querySelector("[name=" + name + "]");
      }
      this.canvas = element.querySelector("canvas");
      const { Niivue, SHOW_RENDER, DRAG_MODE } = window.niivue;
      this.view = new Niivue({
        backColor: [0, 0, 0, 1], crosshairColor: [0.34, 0.71, 0.91, 0.8], crosshairWidth: 0.4,
        crosshairWidthUnit: "percent", fontMinPx: 14,
        show3Dcrosshair: false, multiplanarShowRender: SHOW_RENDER.NEVER, dragMode: DRAG_MODE.pan,
        isRadiologicalConvention: true, isColorbar: false, dragAndDropEnabled: false, loadingText: "",
        scrollRequiresFocus: true, atlasOutline: 1, logLevel: "error",
      });
      this.volume.addEventListener("change", () => planes.update());
      this.outlines.addEventListener("change", () => planes.update());
      for (const slider of [this.level, this.width]) {
        slider.addEventListener("input", () => {
          const level = range(this.level), width = range(this.width);
          planes.setWindow(this.entry().window, [level - width / 2, level + width / 2]);
        });
      }
      this.canvas.addEventListener("pointerdown", () => this.canvas.focus());
      this.canvas.addEventListener("keydown", (event) => {
        if (!MOVES[event.key]) return;
        event.preventDefault();
        this.view.moveCrosshairInVox(...MOVES[event.key]);
      });
    }

    async start(maps) {
      await this.view.attachToCanvas(this.canvas);
      for (const [name, map] of Object.entries(maps)) this.view.addColormap("page-" + name, map);
      this.view.onLocationChange = (place) => this.sayValue(place);
    }

    entry() {
      return this.planes.subject().volumes[range(this.volume)];
    }

    choose(subject, volume, outlines) {
      fill(this.volume, subject.volumes.map((entry) => entry.title));
      fill(this.outlines, ["none", ...subject.labels.map((entry) => entry.title)]);
      this.volume.value = Math.min(volume, subject.volumes.length - 1);
      this.outlines.value = Math.min(outlines, subject.labels.length);
    }

    async load() {
      const { NVImage } = window.niivue;
      const entry = this.entry(), labels = this.planes.subject().labels[range(this.outlines) - 1];
      const key = [range(this.planes.subjects), this.volume.value, this.outlines.value].join();
      if (key === this.shown) return;
      this.shown = key;
      const limits = this.planes.windows[entry.window].limits;
      const images = [await NVImage.loadFromBase64({
        base64: entry.data, name: "volume.nii.gz", cal_min: limits[0], cal_max: limits[1],
        colormap: entry.colours === "grey" ? "gray" : "page-" + entry.colours,
      })];
      if (labels) {
        const drawn = await NVImage.loadFromBase64({ base64: labels.data, name: "labels.nii.gz", opacity: 0.01 });
        drawn.setColormapLabel(labels.colours);
        images.push(drawn);
      }
      if (key !== this.shown) return;
      while (this.view.volumes.length) this.view.removeVolumeByIndex(0);
      for (const image of images) this.view.addVolume(image);
      this.canvas.setAttribute("aria-label", this.element.dataset.side + " picture: " + entry.title);
      this.showWindow();
    }

    showWindow() {
      const { limits: [low, high], reach: [least, most], unit } = this.planes.windows[this.entry().window];
      const step = (most - least) / 254;
      const values = [[this.level, (low + high) / 2, least, most], [this.width, high - low, step, 2 * (most - least)]];
      for (const [slider, value, first, last] of values) {
        Object.assign(slider, { min: first, max: last, step: "any" });
        slider.value = value;
        const text = (numberText(value) + " " + unit).trim();
        slider.nextElementSibling.textContent = text;
        slider.setAttribute("aria-valuetext", text);
      }
      const [image] = this.view.volumes;
      if (!image) return;
      image.cal_min = low;
      image.cal_max = high;
      this.view.updateGLVolume();
      this.view.createOnLocationChange();
    }

    sayValue(place) {
      const [first] = place.values, unit = this.planes.windows[this.entry().window].unit;
      if (!first) return;
      const [x, y, z] = Array.from(place.mm, (value) => value.toFixed(0));
      this.element.querySelector(".value").textContent =
        (numberText(first.value) + " " + unit).trim() + " at x " + x + ", y " + y + ", z " + z + " mm (right, front, head)";
    }
  }

  class Planes {
    constructor(element) {
      this.element = element;
      this.scripts = Array.from(element.querySelectorAll('script[type="application/json"]'));
      this.parsed = new Map();
      const first = this.subjectAt(0);
      this.windows = structuredClone(first.windows);
      this.maps = first.maps;
      for (const name of ["view", "zoom", "reset"]) this[name] = element.querySelector("[name=" + name + "]");
      this.subjects = element.querySelector("[name=subject]");
    }

    subjectAt(index) {
      if (!this.parsed.has(index)) this.parsed.set(index, dataOf(this.scripts[index]));
      return this.parsed.get(index);
    }

    subject() {
      return this.subjectAt(range(this.subjects));
    }

    async start() {
      await library("niivue");
      this.panes = Array.from(this.element.querySelectorAll(".pane"), (pane) => new Pane(pane, this));
      for (const pane of this.panes) await pane.start(this.maps);
      const [left, right] = this.panes.map((pane) => pane.view);
      left.broadcastTo([right], { "2d": true });
      right.broadcastTo([left], { "2d": true });
      this.choose();
      await this.update();
      this.subjects.addEventListener("change", () => this.update(this.choose()));
      this.view.addEventListener("change", () => {
        for (const pane of this.panes) pane.view.setSliceType(range(this.view));
      });
      this.zoom.addEventListener("input", () => this.zoomTo(range(this.zoom)));
      this.reset.addEventListener("click", () => {
        this.windows = structuredClone(this.subjectAt(0).windows);
        for (const pane of this.panes) {
          pane.view.scene.crosshairPos = [0.5, 0.5, 0.5];
          pane.showWindow();
        }
        this.zoomTo(1, true);
      });
      for (const pane of this.panes) pane.view.setSliceType(range(this.view));
      this.element.dataset.state = "ready";
    }

    // Truth beside prediction where there is a map, else the image with true beside predicted outlines.
    choose() {
      const subject = this.subject();
      const place = (word) => subject.volumes.findIndex((entry) => entry.title.endsWith(": " + word));
      const truth = place("truth"), prediction = place("prediction");
      const both = truth >= 0 && prediction >= 0;
      const owners = ["truth", "prediction"].map(
        (word) => subject.labels.findIndex((entry) => entry.title.endsWith(": " + word)) + 1);
      this.panes[0].choose(subject, both ? truth : 0, owners[0]);
      this.panes[1].choose(subject, both ? prediction : 0, owners[1]);
    }

    async update() {
      for (const pane of this.panes) await pane.load();
    }

    // Both pictures change, if both show a volume of that window.
    setWindow(name, limits) {
      this.windows[name].limits = limits;
      for (const pane of this.panes) if (pane.entry().window === name) pane.showWindow();
    }

    zoomTo(factor, centred) {
      this.zoom.value = factor;
      this.zoom.nextElementSibling.textContent = factor.toFixed(1);
      for (const pane of this.panes) {
        const [x, y, z] = centred ? [0, 0, 0] : pane.view.scene.pan2Dxyzmm;
        pane.view.setPan2Dxyzmm([x, y, z, factor]);
      }
    }
  }

  function planes(element) {
    const slices = document.querySelector("details.slices");
    if (!hasPlanes()) {
      say(element, "Three planes need WebGL 2, which this browser has not; here are the slices.");
      return;
    }
    element.hidden = false;
    if (slices) slices.open = false;
    // Not before it comes near: unpacking takes a moment.
    const watch = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      watch.disconnect();
      new Planes(element).start().catch((error) => {
        element.hidden = true;
        if (slices) slices.open = true;
        say(element, "Three planes cannot be shown here (" + error + "); here are the slices.");
      });
    }, { rootMargin: "400px" });
    watch.observe(element);
  }

  document.querySelectorAll(".viewer").forEach(viewer);
  document.querySelectorAll(".planes").forEach(planes);
  charts(Array.from(document.querySelectorAll(".chart")));
  // On paper nothing can be opened.
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details.slices").forEach((details) => { details.open = true; });
  });
})();
